#include "bench/targets/child.h"

#include <fmt/format.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <sstream>
#include <stdexcept>

#include "bench/json_text.h"
#include "bench/machine/sample_conditions.h"
#include "bench/process/oom_kills.h"
#include "bench/process/process.h"
#include "bench/process/stack_signal.h"
#include "bench/targets/failed_sample.h"

namespace crossover {

namespace {

// Through the parent, so that every sample runs the build that the run began with, even where it is replaced meanwhile.
std::string this_program() { return fmt::format("/proc/{}/exe", getpid()); }

struct Answer {
  std::string sample;  // the last line that is no phase
  std::string last_phase;
};

Answer split_answer(const std::string& lines) {
  Answer answer;
  std::istringstream in(lines);
  for (std::string line; std::getline(in, line);) {
    if (line.empty()) continue;
    if (!line.starts_with("{\"phase\":")) {
      answer.sample = line;
      continue;
    }
    const auto phase = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (phase.is_object() && phase["phase"].is_string()) answer.last_phase = phase["phase"].get<std::string>();
  }
  return answer;
}

Sample read_answer(const ProcessResult& process, const Answer& answer, double timeout_s) {
  Sample sample;
  sample.failure = bad_end(process, timeout_s);
  if (!sample.ok()) return sample;
  if (answer.sample.empty()) {
    sample.failure = "the process ended without a sample";
    return sample;
  }
  try {
    return sample_from_json(parse_json(answer.sample, "the sample"));
  } catch (const std::exception& error) {
    sample.failure = fmt::format("the process wrote garbage for a sample: {}", error.what());
  }
  return sample;
}

}  // namespace

Sample take_child_sample(const SampleRequest& request, const std::string& job_json) {
  const std::string program = request.program.empty() ? this_program() : request.program.string();
  ProcessSpec spec;
  spec.argv = {program, "sample", "--job", "0", "--result", "3"};
  spec.environment = request.environment;
  spec.input = job_json;
  spec.wants_result = true;
  spec.timeout_s = request.timeout_s;
  spec.cpus = request.cpus;
  spec.priority = request.priority;
  spec.counted = true;
  spec.stack_signal = kStackSignal;
  const std::optional<std::int64_t> kills_before = oom_kills();
  const ProcessResult process = run_process(spec);
  const Answer answer = split_answer(process.result);
  Sample sample = read_answer(process, answer, request.timeout_s);
  sample.exit = process.exit_code, sample.signal = process.signal;
  note_process(process, sample);
  if (!sample.ok()) {
    sample.last_phase = answer.last_phase;
    describe_failure(sample, process, kills_before);
    return sample;
  }
  if (sample.main_started_s) sample.metrics["process.start_s"] = *sample.main_started_s - process.spawned_s;
  if (process.peak_bytes) sample.metrics["memory.peak_bytes"] = static_cast<double>(*process.peak_bytes);
  return sample;
}

}  // namespace crossover
