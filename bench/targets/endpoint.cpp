#include "bench/targets/endpoint.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <random>
#include <stdexcept>

#include "bench/process/interrupt.h"
#include "bench/sha256.h"
#include "bench/targets/child.h"

namespace crossover {

using nlohmann::json;

void EndpointTarget::prepare(const SampleRequest& request) {
  const Sample first = take(request);
  if (first.ok() || interrupted()) return;
  throw std::runtime_error(fmt::format("the first request of arm {}, before the plan, failed: {}{}", request.arm, first.failure,
                                       first.last_phase.empty() ? "" : " (in phase " + first.last_phase + ")"));
}

Sample EndpointTarget::take(const SampleRequest& request) {
  json job = json::parse(request.workload);
  // Not by the plan alone: a planned sample may be asked for again, after a rehearsal or an interruption.
  job["nonce"] = sha256_text(fmt::format("{} {} {}", salt_, requests_++, request.nonce)).substr(0, 16);
  job["prompt_seed"] = request.prompt_seed;
  job["arm"] = std::string(1, request.arm), job["sample"] = request.position;
  job["environment_proxy"] = environment_proxy_;
  Sample sample = take_child_sample(request, job.dump());
  sample.metrics.erase("memory.peak_bytes");  // of the process that asks, which says nothing about the server
  return sample;
}

std::string random_salt() {
  std::random_device device;
  std::string salt;
  for (int i = 0; i < 4; ++i) salt += fmt::format("{:08x}", device());
  return salt;
}

}  // namespace crossover
