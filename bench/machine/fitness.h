// Is this machine fit to measure on? Each thing that is known to disturb a comparison gets a grade, with what to do about it.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "bench/machine/machine_facts.h"

namespace crossover {

enum class Grade { kGood, kFair, kPoor, kUnknown };  // nothing to do; matters for effects of a few percent; matters for any; not told

const char* grade_text(Grade grade);

struct Finding {
  std::string name;     // "governor"
  Grade grade = Grade::kUnknown;
  std::string found;    // "powersave"
  std::string advice;   // one sentence; empty where nothing is to be done
  std::string command;  // that does it, as root where it must be; empty where no command can
};

// In the order of how much each of them usually costs a comparison.
std::vector<Finding> grade_machine(const MachineFacts& facts);

Grade overall(const std::vector<Finding>& findings);  // the worst; unknown ones do not count

// The one with a command that helps most: the first among the worst. Null where no command helps.
const Finding* most_helpful(const std::vector<Finding>& findings);

nlohmann::ordered_json findings_to_json(const std::vector<Finding>& findings);

}  // namespace crossover
