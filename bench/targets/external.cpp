#include "bench/targets/external.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <nlohmann/json.hpp>
#include <stdexcept>

#include "bench/machine/sample_conditions.h"
#include "bench/metric_text.h"
#include "bench/process/child_environment.h"
#include "bench/process/oom_kills.h"
#include "bench/process/process.h"
#include "bench/regex.h"
#include "bench/sha256.h"
#include "bench/targets/failed_sample.h"

namespace crossover {

namespace {

using nlohmann::json;

std::vector<std::string> command_of(const json& words, const SampleRequest& request) {
  std::vector<std::string> argv;
  for (const json& word : words)
    argv.push_back(fill_placeholders(word.get<std::string>(), request.arm, request.position, request.nonce));
  return argv;
}

ProcessResult run(const json& words, const SampleRequest& request, bool counted) {
  ProcessSpec spec;
  spec.argv = command_of(words, request);
  spec.environment = request.environment;
  spec.timeout_s = request.timeout_s;
  spec.cpus = request.cpus;
  spec.priority = request.priority;
  spec.counted = counted;
  return run_process(spec);
}

const std::string& text_of(const json& source, const ProcessResult& process) {
  const bool error = source.value("from", "stdout") == "stderr";
  if (error ? process.truncated_error : process.truncated_output)
    throw std::runtime_error("it printed more than 16 MiB; print less");
  return error ? process.error : process.output;
}

double measure(const std::string& name, const json& metric, const ProcessResult& process) {
  if (metric.contains("json")) return number_at(metric["json"], text_of(metric, process));
  if (metric.contains("regex")) return number_matching(metric["regex"], text_of(metric, process));
  return name == "wall_s" ? process.wall_s : name == "user_s" ? process.user_s : process.system_s;
}

void read_metrics(const json& workload, const ProcessResult& process, Sample& sample) {
  for (const auto& [name, metric] : workload["metrics"].items()) {
    try {
      sample.metrics[name] = measure(name, metric, process);
    } catch (const std::runtime_error& error) {
      throw std::runtime_error(fmt::format("metric {}: {}", name, error.what()));
    }
  }
  if (process.peak_bytes) sample.metrics.try_emplace("memory.peak_bytes", static_cast<double>(*process.peak_bytes));
  const auto output = workload.find("output");
  if (output == workload.end()) return;
  const auto match = last_match((*output)["regex"], text_of(*output, process));
  if (!match) throw std::runtime_error(fmt::format("no match of the output regex '{}'", (*output)["regex"].get<std::string>()));
  sample.output_hash = sha256_text(*match);
}

class External : public Target {
 public:
  void prepare(const SampleRequest& request) override {
    const json workload = json::parse(request.workload);
    for (const auto& [name, metric] : workload["metrics"].items()) {
      if (metric.contains("regex")) check_pattern(metric["regex"]);
      if (metric.contains("json")) check_pointer(name, metric["json"]);
    }
    if (workload.contains("output")) check_pattern(workload["output"]["regex"]);
  }

  std::vector<std::filesystem::path> files(const SampleRequest& request) override {
    const json workload = json::parse(request.workload);
    std::vector<std::filesystem::path> list;
    for (const json& file : workload["files"]) list.emplace_back(file.get<std::string>());
    if (list.empty() && workload["page_cache"] != "as-is")
      throw std::invalid_argument("page_cache is " + workload["page_cache"].dump() + " and the workload names no files to act on");
    return list;
  }

  void before(const SampleRequest& request) override { side_command("prepare", request); }

  Sample take(const SampleRequest& request) override {
    const json workload = json::parse(request.workload);
    const std::optional<std::int64_t> kills_before = oom_kills();
    const ProcessResult process = run(workload["command"], request, /*counted=*/true);
    Sample sample;
    sample.exit = process.exit_code, sample.signal = process.signal;
    note_process(process, sample);
    sample.failure = bad_end(process, request.timeout_s);
    try {
      if (sample.ok()) read_metrics(workload, process, sample);
    } catch (const std::runtime_error& error) {
      sample.metrics.clear();
      sample.failure = error.what();
    }
    if (!sample.ok()) describe_failure(sample, process, kills_before);
    return sample;
  }

  void after(const SampleRequest& request) override { side_command("cleanup", request); }

 private:
  static void check_pointer(const std::string& metric, const std::string& pointer) {
    try {
      check_json_pointer(pointer);
    } catch (const std::invalid_argument& error) {
      throw std::invalid_argument(fmt::format("metric {}: {}", metric, error.what()));
    }
  }

  static void side_command(const char* which, const SampleRequest& request) {
    const json workload = json::parse(request.workload);
    if (!workload.contains(which)) return;
    const ProcessResult process = run(workload[which], request, /*counted=*/false);
    const std::string trouble = bad_end(process, request.timeout_s);
    if (!trouble.empty() && !process.interrupted)
      throw std::runtime_error(fmt::format("the {} command '{}' {}", which, fmt::join(command_of(workload[which], request), " "), trouble));
  }
};

}  // namespace

std::unique_ptr<Target> make_external_target() { return std::make_unique<External>(); }

}  // namespace crossover
