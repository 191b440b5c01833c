// A sample of a server as one process takes it, and the servers that answer it.
#pragma once

#include <string>
#include <vector>

#include "bench/targets/endpoint_job.h"
#include "bench/tests/loopback_server.h"
#include "bench/tests/simulation.h"

namespace crossover {

inline LoopbackServer::Handler tokens(TokenPlan plan) {
  return [plan](const LoopbackRequest& request) { return token_reply(request, plan); };
}

inline nlohmann::json endpoint_scenario(const std::string& url) {
  return {{"schema", "crossover.scenario/1"},
          {"name", "endpoint"},
          {"workload", {{"kind", "endpoint"}, {"url", url}, {"prompt_tokens", 5}, {"generate_tokens", 4}}},
          {"arms", {{"A", {{"program", CROSSOVER_PROGRAM}}}, {"B", {{"program", CROSSOVER_PROGRAM}}}}},
          {"plan", {{"pairs", 2}, {"seed", 3}}}};
}

// The job as the target hands it to the process of a sample.
inline nlohmann::json job_for(const std::string& url, const nlohmann::json& more = nlohmann::json::object()) {
  nlohmann::json scenario = endpoint_scenario(url);
  scenario["workload"].update(more);
  nlohmann::json job = nlohmann::json::parse(scenario_from(scenario).cells[0].a.workload);
  job.update({{"nonce", "0123456789abcdef"}, {"prompt_seed", 1}, {"arm", "A"}, {"sample", 3}, {"environment_proxy", false}});
  return job;
}

inline Sample ask(const nlohmann::json& job, std::vector<std::string>* phases = nullptr) {
  return run_endpoint_job(job.dump(), [&](const std::string& phase) {
    if (phases) phases->push_back(phase);
  });
}

inline Sample ask(const LoopbackServer& server, const nlohmann::json& more = nlohmann::json::object()) { return ask(job_for(server.url(), more)); }

}  // namespace crossover
