// After the load nothing is allocated: passes run without asking the system for memory, whose time nobody could tell from the engine's.
// The first of a kind adds the names of what it counts.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "engine/checkpoint/synth.h"
#include "engine/engine.h"
#include "engine/tests/checkpoint_files.h"

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // they replace the same operators

namespace {

std::atomic<std::int64_t> allocated_bytes{0};  // in this test binary

void* counted(std::size_t bytes, std::size_t alignment) {
  allocated_bytes.fetch_add(static_cast<std::int64_t>(bytes), std::memory_order_relaxed);
  void* memory = std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
  if (!memory) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(std::size_t bytes) { return counted(bytes ? bytes : 1, __STDCPP_DEFAULT_NEW_ALIGNMENT__); }
void* operator new(std::size_t bytes, std::align_val_t alignment) { return counted(bytes ? bytes : 1, static_cast<std::size_t>(alignment)); }
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

namespace crossover {
namespace {

struct Case {
  const char* preset;
  DType weights;
  int ranks, threads;
};

class Allocation : public ::testing::TestWithParam<Case> {};

TEST_P(Allocation, PassesAllocateNothing) {
  const Case& c = GetParam();
  const test::TempFolder folder;
  SynthOptions synth;
  synth.preset = c.preset;
  write_synth(synth, folder / "model");
  EngineOptions options;
  options.model = folder / "model";
  options.weights = c.weights;
  options.ranks = c.ranks;
  options.threads = c.threads;
  options.capacity_tokens = 256;
  Engine engine(options);
  std::vector<std::int32_t> prompt(70);  // more than one tile and one chunk of the scan
  for (std::size_t i = 0; i < prompt.size(); ++i) prompt[i] = static_cast<std::int32_t>(3 + 5 * i);
  const auto bytes = [&](std::size_t tokens) {
    const std::int64_t before = allocated_bytes.load();
    engine.feed({prompt.data(), tokens});
    return allocated_bytes.load() - before;
  };
  constexpr std::int64_t kNames = 16 << 10;
  const std::int64_t first = bytes(prompt.size());
  EXPECT_GT(first, 0) << "the hook does not see the names";
  EXPECT_LT(first, kNames) << "in the first prefill";
  EXPECT_LT(bytes(1), kNames) << "in the first decode step";
  EXPECT_LT(bytes(13), kNames) << "in a pass of a few tokens";
  EXPECT_EQ(bytes(1), 0) << "in a decode step";
  EXPECT_EQ(bytes(prompt.size()), 0) << "in a second prefill";
}

INSTANTIATE_TEST_SUITE_P(Models, Allocation,
                         ::testing::Values(Case{"tiny-dense", DType::kQ6_K, 1, 2}, Case{"tiny-moe", DType::kQ6_K, 1, 2},
                                           Case{"tiny-moe", DType::kBF16, 1, 2}, Case{"tiny-moe", DType::kQ6_K, 2, 4}),
                         [](const auto& test) {
                           return std::string(test.param.preset + 5) + "_" + name(test.param.weights) + "_" + std::to_string(test.param.ranks) + "_ranks";
                         });

}  // namespace
}  // namespace crossover

#endif
