// The child side of bench/targets/child.h: one job on descriptor 0, phases and the sample as JSON lines on descriptor 3.
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "bench/commands/commands.h"
#include "bench/engine_job.h"
#include "bench/process/stack_signal.h"
#include "bench/targets/endpoint_job.h"
#include "kernels/trace.h"

namespace crossover::commands {
namespace {

// When this process was entered: the end of process.start_s.
const double kMainStarted_s = monotonic_s();

void write_line(int descriptor, std::string line) {
  line += '\n';
  for (std::size_t done = 0; done < line.size();) {
    const ssize_t n = ::write(descriptor, line.data() + done, line.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) throw std::runtime_error("the sample could not be written: was `crossover sample` started by hand?");
    done += static_cast<std::size_t>(n);
  }
}

void run(int descriptor) {
  print_stacks_on_signals();
  const std::string job{std::istreambuf_iterator<char>(std::cin), {}};
  const auto phase = [&](const std::string& name) { write_line(descriptor, nlohmann::json{{"phase", name}}.dump()); };
  const bool endpoint = nlohmann::json::parse(job).at("kind") == "endpoint";
  Sample sample = endpoint ? run_endpoint_job(job, phase) : run_engine_job(job, phase);
  sample.main_started_s = kMainStarted_s;
  write_line(descriptor, sample_to_json(sample).dump());
}

}  // namespace

void add_sample(Command app, int&) {
  auto descriptor = std::make_shared<int>(3), job = std::make_shared<int>(0);
  const Command sample = app.add_subcommand("sample", "Take one sample in this process (used by run)");
  sample.hide();
  sample.add_option("--job", *job, "descriptor of the job; only 0").range(0, 0);
  sample.add_option("--result", *descriptor, "descriptor that the sample is written to").range(3, 3);
  sample.callback([descriptor, job] { run(*descriptor); });
}

}  // namespace crossover::commands
