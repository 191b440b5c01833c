#include <fmt/format.h>
#include <unistd.h>


#include "bench/commands/commands.h"
#include "bench/load_watch.h"
#include "bench/machine/usable_cores.h"
#include "engine/load/quantize_file.h"

namespace crossover::commands {
namespace {

struct Arguments {
  std::string model, out, type = "q6_k", schedule;
  int threads = 0;
};

void run(const Arguments& arguments) {
  QuantizeOptions options;
  const std::optional<DType> type = parse_dtype(arguments.type);
  if (!type) throw std::invalid_argument(fmt::format("--type takes q6_k, q8_0, bf16 or f32, not '{}'", arguments.type));
  options.type = *type;
  options.threads = arguments.threads ? arguments.threads : usable_cores();
  options.knobs.set_from_environment(environ);
  if (!arguments.schedule.empty()) options.knobs.set("CROSSOVER_QUANT_SCHEDULE", arguments.schedule, "command line");
  LoadProgress progress;
  options.progress = &progress;
  const QuantizeReport report = [&] {
    const LoadWatch watch("quantize", progress);
    return quantize_checkpoint(arguments.model, arguments.out, options);
  }();
  fmt::print("{}: {} bytes, {:.1f} Mweights in {:.2f} s, {:.1f} Mweights/s\n", arguments.out, report.bytes, static_cast<double>(report.weights) * 1e-6,
             report.total_s, static_cast<double>(report.weights) * 1e-6 / report.total_s);
  for (const PhaseShare& phase : report.phases) fmt::print("  {:<12} {:8.3f} s of wall time, {:8.3f} thread-seconds\n", phase.name, phase.share_s, phase.busy_s);
}

}  // namespace

void add_quantize(Command app, int&) {
  auto arguments = std::make_shared<Arguments>();
  const Command quantize = app.add_subcommand("quantize", "Write a checkpoint as a GGUF file that llama.cpp reads too");
  quantize.footer("Example: crossover quantize MODEL --out model-q6_k.gguf --type q6_k");
  quantize.add_option("MODEL", arguments->model, "checkpoint directory or .gguf file").required();
  quantize.add_option("--out", arguments->out, "the GGUF file to write").required();
  quantize.add_option("--type", arguments->type, "q6_k, q8_0, bf16, f16, f32, q4_0, q4_1, q5_0 or q5_1").show_default();
  quantize.add_option("--threads", arguments->threads, "default: all allowed cores").positive();
  quantize.add_option("--schedule", arguments->schedule, "serial, expert-spawn, expert-per-thread, chunk-queue or pool; sets CROSSOVER_QUANT_SCHEDULE");
  quantize.callback([arguments] { run(*arguments); });
}

}  // namespace crossover::commands
