#include "engine/load/progress.h"

#include <gtest/gtest.h>

#include <string>

#include "engine/engine.h"
#include "engine/load/quantize_file.h"
#include "engine/tests/checkpoint_files.h"

namespace crossover {
namespace {

using test::TempFolder;

class LoadProgressOf : public testing::TestWithParam<const char*> {};

// Whatever the schedule: at the end everything that was expected is done, counted once for each rank.
TEST_P(LoadProgressOf, EndsWhereItSaidItWould) {
  const TempFolder folder;
  SynthOptions synth;
  synth.preset = "tiny-moe";
  synth.vocab = 512;
  write_synth(synth, folder / "model");
  Knobs knobs;
  knobs.set("CROSSOVER_QUANT_SCHEDULE", GetParam(), "test");

  LoadProgress of_file;
  QuantizeOptions quantize;
  quantize.threads = 3;
  quantize.knobs = knobs;
  quantize.progress = &of_file;
  const QuantizeReport report = quantize_checkpoint(folder / "model", folder / "q6_k.gguf", quantize);
  const LoadProgress::State file = of_file.state();
  EXPECT_EQ(file.total_bytes, report.bytes);
  EXPECT_EQ(file.done_bytes, file.total_bytes);
  EXPECT_EQ(file.total_tensors, static_cast<std::int64_t>(open_checkpoint(folder / "model").tensors.size()));
  EXPECT_EQ(file.done_tensors, file.total_tensors);
  EXPECT_EQ(std::string(file.phase), "cache_write");  // the last thing it does

  LoadProgress of_load;
  EngineOptions options;
  options.model = folder / "model";
  options.weights = DType::kQ6_K;
  options.ranks = 2, options.threads = 3;
  options.capacity_tokens = 32;
  options.knobs = knobs;
  options.progress = &of_load;
  const Engine engine(options);
  const LoadProgress::State load = of_load.state();
  EXPECT_EQ(load.total_bytes, engine.total_weight_bytes());
  EXPECT_EQ(load.done_bytes, load.total_bytes);
  EXPECT_GT(load.total_tensors, file.total_tensors);
  EXPECT_EQ(load.done_tensors, load.total_tensors);
}

INSTANTIATE_TEST_SUITE_P(Schedules, LoadProgressOf, testing::Values("serial", "expert-spawn", "expert-per-thread", "chunk-queue", "pool"));

}  // namespace
}  // namespace crossover
