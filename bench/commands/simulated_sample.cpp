// One sample of a simulated program as a real process, so that `external` can be checked against a truth, and the stamps by which
// the harness's own cost is measured (bench/calibrate/overhead.h).
#include <fmt/format.h>

#include <memory>
#include <optional>

#include "bench/calibrate/calibrate.h"
#include "bench/commands/commands.h"
#include "kernels/trace.h"

namespace crossover::commands {
namespace {

const double kMainStarted_s = monotonic_s();

struct Options {
  std::string shape = "white", arm = "A";
  double effect_percent = 0;
  int sample = 0, pairs = 8;
  std::uint64_t seed = 1;
  std::optional<double> stamps_window_s;
};

// Works for so long, as what a sample times does.
void print_stamps(double window_s) {
  const double begin_s = monotonic_s();
  while (monotonic_s() < begin_s + window_s) {}
  fmt::print(R"({{"main_s": {}, "window_begin_s": {}, "window_end_s": {}}})" "\n", kMainStarted_s, begin_s, monotonic_s());
}

void print_sample(const Options& options) {
  SimulatedProgram program = noise_shape(options.shape, options.pairs).program;
  program.effect_ln = ln_of_percent(options.effect_percent), program.seed = options.seed;
  SampleRequest request;
  request.arm = options.arm.at(0), request.position = options.sample;
  request.control = options.sample >= 2 * options.pairs;  // comes after the plan
  const Sample sample = SimulatedTarget(program).take(request);
  fmt::print("took {} s\ncontrol {} s\nanswer {}\n", sample.metrics.at("wall_s"), sample.metrics.at("control_s"), sample.output_hash);
}

}  // namespace

void add_simulated_sample(Command app, int&) {
  const Command command = app.add_subcommand("simulated-sample", "Print one sample of a simulated program (for checking `external`)");
  command.hide();
  command.footer("Example: crossover simulated-sample --shape drift --arm B --sample 5 --effect-percent -3");
  const auto options = std::make_shared<Options>();
  command.add_option("--shape", options->shape, "of its noise").show_default();
  command.add_option("--arm", options->arm, "A or B").one_of({"A", "B"}).show_default();
  command.add_option("--sample", options->sample, "place in the plan, from 0").not_negative().show_default();
  command.add_option("--pairs", options->pairs, "of the plan").range(4, 100000).show_default();
  command.add_option("--seed", options->seed, "of its noise").show_default();
  command.add_option("--effect-percent", options->effect_percent, "of B against A, negative = faster").range(-99.0, 1000.0);
  command.add_option("--stamps", options->stamps_window_s, "instead: work for so long, print when main began and where that window lay")
      .range(0.0, 60.0)
      .type_name("SECONDS");
  command.callback([options] { options->stamps_window_s ? print_stamps(*options->stamps_window_s) : print_sample(*options); });
}

}  // namespace crossover::commands
