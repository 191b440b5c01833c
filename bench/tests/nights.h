// Result files of many nights, without running anything.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "bench/history/history.h"
#include "bench/history/run_record.h"
#include "bench/random.h"
#include "bench/tests/simulation.h"

namespace crossover {

double uniform(Random& random);
double normal(Random& random);  // Box and Muller

std::string night_time(int night);

struct Night {
  int at = 0;                 // its place in time
  std::string commit = "abc"; // empty: a build that does not know its own
  double level_s = 1;         // of both arms
  double noise_ln = 0.01;     // between the samples
};

// As the harness would write it.
nlohmann::ordered_json night_result(const Night& night, const nlohmann::json& asked = scenario_json());

// Of the engine's kind, whose build is what is measured: one metric in both arms, a mean of n samples each.
RunRecord night_run(int night, const std::string& commit, double a_ln, double b_ln, double sd_ln = 0.01, const std::string& cell = "");

}  // namespace crossover
