#include <fmt/format.h>
#include <fmt/ranges.h>


#include "bench/commands/commands.h"
#include "bench/progress.h"
#include "engine/checkpoint/synth.h"
#include "kernels/trace.h"

namespace crossover::commands {
namespace {

struct Arguments {
  SynthOptions synth;
  std::string out, dtype = "bf16";
};

void run(Arguments& arguments) {
  const std::optional<DType> dtype = parse_dtype(arguments.dtype);
  if (!dtype) throw std::invalid_argument(fmt::format("--dtype takes bf16 or f32, not '{}'", arguments.dtype));
  arguments.synth.dtype = *dtype;
  Progress progress;
  std::uint64_t bytes = 0;
  const double begin_s = monotonic_s();
  write_synth(arguments.synth, arguments.out, [&](std::uint64_t done, std::uint64_t total) {
    bytes = total;
    progress.show("synth, MiB", static_cast<std::int64_t>(done >> 20), static_cast<std::int64_t>(total >> 20));
  });
  const double seconds = monotonic_s() - begin_s;
  fmt::print("{}: {} bytes in {:.2f} s, {:.0f} MB/s\n", arguments.out, bytes, seconds, static_cast<double>(bytes) * 1e-6 / seconds);
}

}  // namespace

void add_synth(Command app, int&) {
  auto arguments = std::make_shared<Arguments>();
  const Command synth = app.add_subcommand("synth", "Write a synthetic Hugging Face checkpoint with the tensor shapes of a real model");
  synth.footer("Example: crossover synth qwen3.5-0.8b --out /tmp/model --layers 8");
  SynthOptions& options = arguments->synth;
  synth.add_option("PRESET", options.preset, fmt::format("one of {}", fmt::join(synth_presets(), ", "))).required();
  synth.add_option("--out", arguments->out, "the folder to write; it must not exist or be empty").required();
  synth.add_option("--layers", options.layers, "depth in whole groups of 4").positive();
  synth.add_option("--vocab", options.vocab, "vocabulary rows").positive();
  synth.add_option("--experts", options.experts, "experts of a MoE preset").positive();
  synth.add_option("--seed", options.seed, "same seed, same bytes on every machine").show_default();
  synth.add_option("--dtype", arguments->dtype, "bf16 or f32").show_default();
  synth.callback([arguments] { run(*arguments); });
}

}  // namespace crossover::commands
