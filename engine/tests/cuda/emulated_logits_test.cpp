// How logits leave an emulated GPU.
#include <gtest/gtest.h>

#include "engine/engine.h"
#include "engine/logits_room.h"
#include "engine/tests/reference_model.h"
#include "kernels/cuda/emulator/machine.h"

namespace crossover::test {
namespace {

TEST(LogitsOfAGpu, LandInPinnedMemoryThatALoadAskedFor) {
  const ReferenceModel& model = reference_models().front();
  EngineOptions options = options_for(model);
  options.backend = "cuda", options.weights = DType::kBF16, options.rehearses = false;
  options.knobs.set("CROSSOVER_LOGITS", "all", "test");
  {
    Engine engine(options);
    const auto row = static_cast<std::int64_t>(engine.config().vocab * static_cast<std::int64_t>(sizeof(float)));
    EXPECT_EQ(cuda::emulated::pinned_bytes(), row);
    const std::span<const float> last = engine.feed(std::vector<std::int32_t>(model.prompt.begin(), model.prompt.begin() + 3));
    EXPECT_EQ(cuda::emulated::pinned_bytes(), 3 * row);
    EXPECT_LE(max_error(last.data(), {model.golden.at("logits").values.begin() + 2 * engine.config().vocab, model.golden.at("logits").values.begin() + 3 * engine.config().vocab}),
              0.05);  // bf16 products
  }
  EXPECT_EQ(cuda::emulated::pinned_bytes(), 0);
}

TEST(LogitsOfAGpu, LieInOrdinaryMemoryWhereTheyAreMany) {
  const std::int64_t vocab = static_cast<std::int64_t>(LogitsRoom::kMostPinnedBytes / sizeof(float) / 4);
  LogitsRoom gpu(true), host(false);
  EXPECT_EQ(gpu.rows(4, vocab).stride, vocab);
  EXPECT_EQ(cuda::emulated::pinned_bytes(), static_cast<std::int64_t>(LogitsRoom::kMostPinnedBytes));
  EXPECT_EQ(gpu.rows(5, vocab).rows, 5);
  EXPECT_EQ(cuda::emulated::pinned_bytes(), 0);
  const Rows more = gpu.rows(2, vocab);  // what there is
  more.row(1)[vocab - 1] = 1;
  EXPECT_EQ(gpu.rows(5, vocab).data, more.data);
  host.rows(1, 8);
  EXPECT_EQ(cuda::emulated::pinned_bytes(), 0);
}

}  // namespace
}  // namespace crossover::test
