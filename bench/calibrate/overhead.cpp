#include "bench/calibrate/overhead.h"

#include <fmt/format.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "bench/journal.h"
#include "bench/json_text.h"
#include "bench/process/process.h"
#include "kernels/trace.h"

namespace crossover {

namespace {

namespace fs = std::filesystem;

class TemporaryFolder {
 public:
  explicit TemporaryFolder(const fs::path& parent) {
    std::error_code failed;
    fs::create_directories(parent, failed);
    std::string name = (parent / "overhead-XXXXXX").string();
    if (!mkdtemp(name.data())) throw std::runtime_error(fmt::format("cannot make a folder in {}; name one that can be written", parent.string()));
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

// As large as what the engine reports of a short generation, some 30 kB of JSON.
Sample typical_sample() {
  Sample sample;
  sample.started_at = utc_now();
  for (int i = 0; i < 60; ++i) {
    const std::string name = fmt::format("forward.phase_{}_s", i);
    sample.metrics[name] = 0.123456789 * i;
    sample.phases.push_back({name, i % 2, 0.1 * i, 0.0123456789 * i, 0.02 * i, i - 1});
    sample.counters[name] = 1000.0 * i;
  }
  for (int row = 0; row < 32; ++row) {
    LogitRow logits;
    for (int i = 0; i < 16; ++i) logits.ids.push_back(1000 * row + i), logits.logits.push_back(12.3456789 - 0.1 * i);
    sample.top_logits.push_back(logits);
    sample.output_tokens.push_back(row);
  }
  return sample;
}

double processor_s() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) { return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec); };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

SampleStamps take_stamps(const fs::path& program, const std::vector<std::string>& environment, double window_s) {
  ProcessSpec spec;
  spec.argv = {program.string(), "simulated-sample", "--stamps", fmt::format("{}", window_s)};
  spec.environment = environment;
  spec.timeout_s = 60;
  const double before_s = processor_s();
  const ProcessResult process = run_process(spec);
  SampleStamps stamps;
  stamps.answered_s = monotonic_s(), stamps.harness_cpu_s = processor_s() - before_s;
  if (const std::string trouble = bad_end(process, spec.timeout_s); !trouble.empty())
    throw std::runtime_error(fmt::format("{} simulated-sample {}; is it this build of crossover?", program.string(), trouble));
  const nlohmann::json answer = parse_json(process.output, "the answer of simulated-sample");
  stamps.spawned_s = process.spawned_s, stamps.main_s = answer.at("main_s");
  stamps.window_begin_s = answer.at("window_begin_s"), stamps.window_end_s = answer.at("window_end_s");
  return stamps;
}

}  // namespace

std::vector<SampleStamps> measure_overhead(const fs::path& program, const fs::path& folder, int samples) {
  const TemporaryFolder temporary(folder);
  Journal journal(temporary.path(), {"overhead", ""}, false);
  Sample sample = typical_sample();
  std::vector<std::string> environment;
  for (char** entry = environ; *entry; ++entry) environment.emplace_back(*entry);
  std::vector<SampleStamps> list;
  constexpr double kShortWindow_s = 1e-3;
  for (int i = 0; i < samples; ++i) {
    SampleStamps stamps = take_stamps(program, environment, i + 1 < samples ? kShortWindow_s : kLongWindow_s);
    sample.position = i;
    stamps.journal_begin_s = monotonic_s();
    journal.append(sample);
    stamps.journal_end_s = monotonic_s();
    list.push_back(stamps);
  }
  return list;
}

OverheadSummary summarise(const std::vector<SampleStamps>& stamps) {
  if (stamps.size() < 2) throw std::invalid_argument("an overhead is measured with two samples or more");
  const auto part = [&](double (SampleStamps::*seconds)() const) {
    std::vector<double> values;
    for (const SampleStamps& sample : stamps) values.push_back((sample.*seconds)());
    std::sort(values.begin(), values.end());
    return OverheadPart{(values[(values.size() - 1) / 2] + values[values.size() / 2]) / 2, values.back()};
  };
  OverheadSummary out{part(&SampleStamps::start_s), part(&SampleStamps::finish_s), part(&SampleStamps::journal_s), part(&SampleStamps::overhead_s),
                      0, static_cast<int>(stamps.size()), 0};
  for (const SampleStamps& sample : stamps) out.clean_windows += sample.window_is_clean() ? 1 : 0;
  // The long sample's processor time over that of the others, whose windows are next to nothing.
  std::vector<double> cpu;
  for (const SampleStamps& sample : stamps) cpu.push_back(sample.harness_cpu_s);
  std::nth_element(cpu.begin(), cpu.begin() + static_cast<std::ptrdiff_t>((cpu.size() - 1) / 2), cpu.end() - 1);
  const SampleStamps& last = stamps.back();
  out.watching_share = std::max(0.0, last.harness_cpu_s - cpu[(cpu.size() - 1) / 2]) / (last.window_end_s - last.window_begin_s);
  return out;
}

}  // namespace crossover
