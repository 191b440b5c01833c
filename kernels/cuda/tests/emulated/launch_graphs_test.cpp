// Launches that wait and go to the stream as graphs: the same results as one by one, whatever changes from pass to pass. The kernels here do not commute.
#include "kernels/cuda/launch_graphs.h"

#include <gtest/gtest.h>

#include <bit>
#include <vector>

#include "kernels/buffer.h"
#include "kernels/cuda/emulator/machine.h"
#include "kernels/cuda/emulator/memory.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/runtime.h"

namespace crossover::cuda {
namespace {

constexpr int kValues = 4, kThreads = 2;

struct Step {
  float factor, summand;
  bool operator==(const Step&) const = default;
};

__global__ void scale_and_add(float* values, Step step) {
  wait_for_launches_before();
  float& value = values[blockIdx.x * blockDim.x + threadIdx.x];
  value = value * step.factor + step.summand;
}
__global__ void square(float* values, int lane) {
  wait_for_launches_before();
  if (static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x) == lane) values[lane] = values[lane] * values[lane] * 0.25f;
}
__global__ void copy_first(const float* from, float* to, float factor) {
  wait_for_launches_before();
  if (blockIdx.x + threadIdx.x == 0) *to = *from * factor;
}
__global__ void never_meets(float*, int) {
  wait_for_launches_before();
  if (threadIdx.x == 0) __syncthreads();
  else __syncwarp();
}

// What a pass does: Step, or a square of one value.
struct Asked {
  Step step{};
  int squared = -1;
  int blocks = kValues / kThreads;
};

class LaunchGraphsTest : public testing::Test {
 protected:
  LaunchGraphsTest() { workspace.before_release([this] { device.hand_over(); }); }
  ~LaunchGraphsTest() override { emulated::refuse_graphs_after(-1); }

  void ask(const Asked& asked) {
    const Shape shape{dim3(static_cast<unsigned>(asked.blocks)), dim3(kThreads)};
    if (asked.squared >= 0) launch(context, "square", square, shape, values(), asked.squared);
    else launch(context, "scale_and_add", scale_and_add, shape, values(), asked.step);
  }
  void ask(const std::vector<Asked>& pass) {
    for (const Asked& asked : pass) ask(asked);
  }
  float* values() { return reinterpret_cast<float*>(memory.data()); }
  void set(const std::vector<float>& to) { device.upload(memory.data(), reinterpret_cast<const std::byte*>(to.data()), kValues * sizeof(float)); }
  std::vector<float> get() {
    std::vector<float> now(kValues);
    device.download(reinterpret_cast<std::byte*>(now.data()), memory.data(), kValues * sizeof(float));
    return now;
  }

  // The values after each pass, from 1, 2, 3, 4: one by one, and as graphs.
  std::vector<std::vector<float>> after(const std::vector<std::vector<Asked>>& passes, bool as_graphs) {
    std::vector<std::vector<float>> found;
    set({1, 2, 3, 4});
    for (const auto& pass : passes) {
      if (as_graphs) graphs.run(false, [&] { ask(pass); });
      else ask(pass);
      found.push_back(get());
    }
    return found;
  }
  void expect_same(const std::vector<std::vector<Asked>>& passes) {
    const std::int64_t before = device.launches();
    const auto expected = after(passes, false);
    const std::int64_t alone = device.launches() - before;
    EXPECT_EQ(after(passes, true), expected);
    EXPECT_EQ(device.launches() - before, 2 * alone);
  }

  Device device{0};
  Buffer memory{kValues * sizeof(float), {allocate, release}};
  ThreadPool pool{1};
  Workspace workspace{{allocate, release}};
  Counters counters;
  Context context{cuda_ops(), pool, workspace, counters, nullptr, nullptr, &device};
  LaunchGraphs graphs{device};
};

std::vector<Asked> steps(int count, float seed) {
  std::vector<Asked> pass;
  for (int i = 0; i < count; ++i) {
    const float x = seed + static_cast<float>(i % 7) * 0.125f;
    pass.push_back(i % 5 == 4 ? Asked{{}, i % kValues} : Asked{{0.5f + x / 16, x}});
  }
  return pass;
}

TEST_F(LaunchGraphsTest, LaunchesWaitUntilSomebodyWantsTheStream) {
  set({1, 2, 3, 4});
  graphs.run(false, [&] {
    ask(steps(3, 1));
    EXPECT_EQ(graphs.started(), 0);
    EXPECT_EQ(device.launches(), 3);  // counted when asked for
    get();
    EXPECT_EQ(graphs.started(), 1);
    ask(steps(2, 1));
    set({1, 1, 1, 1});
    EXPECT_EQ(graphs.started(), 2);
    EXPECT_EQ(get(), std::vector<float>(kValues, 1));  // what was asked for before is over
    ask(steps(1, 1));
    device.clear(memory.data(), memory.size());
    EXPECT_EQ(get(), std::vector<float>(kValues, 0));
    ask(steps(1, 1)), (void)device.stream();
    EXPECT_EQ(graphs.started(), 4);
    ask(steps(1, 1)), device.synchronize();
    EXPECT_EQ(graphs.started(), 5);
    Mark mark;
    ask(steps(1, 1)), mark.set(device);
    EXPECT_EQ(graphs.started(), 6);
    ask(steps(1, 1));
  });
  EXPECT_EQ(graphs.started(), 7);
  EXPECT_EQ(device.queue(), nullptr);
  ask(steps(2, 1));
  EXPECT_EQ(graphs.started(), 7);
}

TEST_F(LaunchGraphsTest, APassThatComesAgainIsMadeOnce) {
  const std::vector<Asked> pass = steps(10, 1);
  expect_same({pass, pass, pass, pass});
  EXPECT_EQ(graphs.started(), 4);
  EXPECT_EQ(graphs.made(), 1);
  EXPECT_EQ(graphs.changed(), 0);
}

TEST_F(LaunchGraphsTest, WhatDiffersIsChanged) {
  std::vector<std::vector<Asked>> passes(4, steps(10, 1));
  passes[1][3].step.summand = 5;                            // an argument
  passes[2] = passes[1], passes[2][7].blocks = 1;           // the grid
  passes[3] = passes[2], passes[3][5] = Asked{{}, 2};       // the kernel
  expect_same(passes);
  EXPECT_EQ(graphs.made(), 1);
  EXPECT_EQ(graphs.changed(), 3);
}

TEST_F(LaunchGraphsTest, AnotherNumberOfLaunchesIsAnotherGraph) {
  expect_same({steps(10, 1), steps(11, 1), steps(11, 2), steps(9, 1), steps(1, 3), steps(10, 1)});
  EXPECT_EQ(graphs.made(), 5);
  expect_same({steps(10, 2), {}, steps(10, 2)});
  EXPECT_EQ(graphs.made(), 5);
}

// One launch more near the beginning moves all that follow: those of full graphs are changed, only the last graph is another.
TEST_F(LaunchGraphsTest, LongPassesAreSeveralGraphs) {
  std::vector<Asked> shorter = steps(100, 1), longer = shorter;
  longer.insert(longer.begin() + 3, Asked{{0.75f, 0.5f}});
  expect_same({shorter, longer, longer});
  EXPECT_EQ(graphs.started(), 3 * 3);  // 16, 32, the rest
  EXPECT_EQ(graphs.made(), 3 + 1);
  const std::int64_t started = graphs.started();
  graphs.run(false, [&] { ask(steps(1000, 1)); });
  EXPECT_EQ(graphs.started() - started, 7);  // 16, 32, 64, 128, 256, 256, 248
}

TEST_F(LaunchGraphsTest, TwoSequencesTakeTurns) {
  std::vector<std::vector<Asked>> passes;
  for (int token = 0; token < 12; ++token) passes.push_back(steps(token % 2 ? 20 : 40 + token / 8, static_cast<float>(token)));
  expect_same(passes);
}

// A block that launches name, and that grows before they have run.
TEST_F(LaunchGraphsTest, ABlockGrowsOnlyWhenWhatReadsItIsOver) {
  float* const small = workspace.floats("grows", 4);
  const float three = 3;
  device.upload(reinterpret_cast<std::byte*>(small), reinterpret_cast<const std::byte*>(&three), sizeof three);
  graphs.run(false, [&] {
    launch(context, "copy_first", copy_first, {dim3(1), dim3(1)}, small, values(), 2.0f);
    float* const large = workspace.floats("grows", 4096);
    EXPECT_NE(large, small);
    launch(context, "copy_first", copy_first, {dim3(1), dim3(1)}, values(), large, 2.0f);
    launch(context, "copy_first", copy_first, {dim3(1), dim3(1)}, large, values() + 1, 2.0f);
  });
  EXPECT_EQ(get()[0], 6);
  EXPECT_EQ(get()[1], 24);
}

// A function's limit is one for all its launches: a smaller one asked for last must not refuse a larger one that waits.
TEST_F(LaunchGraphsTest, LaunchesOfOneKernelNeedDifferentSharedMemory) {
  const auto ask_for = [&](std::size_t kib) {
    launch(context, "scale_and_add", scale_and_add, {dim3(kValues / kThreads), dim3(kThreads), kib << 10}, values(), Step{2, 0});
  };
  set({1, 2, 3, 4});
  graphs.run(true, [&] { ask_for(100), ask_for(60), ask_for(1); });
  EXPECT_EQ(get(), (std::vector<float>{8, 16, 24, 32}));
  EXPECT_THROW(ask_for(164), std::runtime_error);  // more than a block of this device may have
}

// What the test of blocks that grow would show without it.
TEST(EmulatorMemory, ReleasedBytesAreJunk) {
  Device device(0);
  std::byte* const kept = allocate(64);
  std::byte* const gone = allocate(64);
  device.clear(gone, 64);
  release(gone, 64);
  float read = 0;
  device.download(reinterpret_cast<std::byte*>(&read), gone, sizeof read);
  EXPECT_EQ(std::bit_cast<std::uint32_t>(read), ~0u);
  release(kept, 64);
}

// Whatever call is refused, every launch has run once, and those that follow go one by one.
TEST_F(LaunchGraphsTest, WhereGraphsAreRefusedLaunchesRunOneByOne) {
  std::vector<std::vector<Asked>> passes(3, steps(20, 1));
  passes[1][2].step.summand = 5, passes[1][18].step.summand = 6;
  const auto expected = after(passes, false);
  constexpr int kCalls = 4 + 4 + 4;  // two graphs made and started; changed and started; changed back and started
  for (int calls = 0; calls <= kCalls; ++calls) {
    LaunchGraphs own(device);
    emulated::refuse_graphs_after(calls);
    set({1, 2, 3, 4});
    for (std::size_t pass = 0; pass < passes.size(); ++pass) {
      own.run(false, [&] { ask(passes[pass]); });
      EXPECT_EQ(get(), expected[pass]) << calls;
    }
    EXPECT_EQ(own.refusal().empty(), calls == kCalls) << calls;
    EXPECT_EQ(own.started(), calls / 2) << calls;
    emulated::refuse_graphs_after(-1);
  }
}

TEST_F(LaunchGraphsTest, AGraphThatMustBeIsAnErrorWhereItIsRefused) {
  set({1, 2, 3, 4});
  emulated::refuse_graphs_after(0);
  EXPECT_THROW(graphs.run(true, [&] { ask(steps(3, 1)); }), GraphRefused);
  EXPECT_EQ(get(), (std::vector<float>{1, 2, 3, 4}));
  EXPECT_EQ(device.queue(), nullptr);
  emulated::refuse_graphs_after(-1);
  expect_same({steps(3, 1)});
  EXPECT_TRUE(graphs.refusal().empty());
}

TEST_F(LaunchGraphsTest, APassThatFailsLeavesNothingWaiting) {
  set({1, 2, 3, 4});
  EXPECT_THROW(graphs.run(false,
                          [&] {
                            ask(steps(3, 1));
                            throw std::invalid_argument("as an operation would");
                          }),
               std::invalid_argument);
  EXPECT_EQ(device.queue(), nullptr);
  EXPECT_EQ(get(), (std::vector<float>{1, 2, 3, 4}));
  expect_same({steps(5, 1), steps(5, 2)});
}

// The failure of a kernel is not one of graphs; where nobody may throw, it waits for who may.
TEST_F(LaunchGraphsTest, AKernelsFailureShowsWhenThePassEnds) {
  const auto fails = [&](bool quietly) {
    launch(context, "never_meets", never_meets, {dim3(1), dim3(2)}, values(), 0);
    if (quietly) {
      EXPECT_FALSE(device.hand_over_quietly());
    }
    ask(steps(2, 1));
  };
  for (const bool quietly : {false, true}) {
    try {
      graphs.run(false, [&] { fails(quietly); });
      ADD_FAILURE() << "nothing was thrown";
    } catch (const GraphRefused&) {
      ADD_FAILURE() << "taken for a refusal";
    } catch (const std::runtime_error& error) {
      EXPECT_NE(std::string(error.what()).find("deadlock in never_meets"), std::string::npos) << error.what();
    }
    EXPECT_TRUE(graphs.refusal().empty());
  }
  expect_same({steps(5, 1), steps(5, 2)});
}

TEST(LaunchListTest, ComparesKernelShapeAndBytes) {
  const Launch launch{"one", "kernel", {1, 2, 3}, {4, 5, 6}, 7};
  LaunchList list;
  list.add(launch, 1.5f, std::int64_t{2});
  const auto same = [&](const Launch& other, auto... arguments) {
    LaunchList with;
    with.add(other, arguments...);
    return list.same(0, with);
  };
  EXPECT_TRUE(same(launch, 1.5f, std::int64_t{2}));
  EXPECT_FALSE(same(launch, 1.5f, std::int64_t{3}));
  EXPECT_FALSE(same(launch, 1.5f, 2));
  EXPECT_FALSE(same(launch, 1.5f));
  EXPECT_FALSE(same(launch, 1.5f, std::int64_t{2}, 0));
  Launch other = launch;
  other.grid[1] = 9;
  EXPECT_FALSE(same(other, 1.5f, std::int64_t{2}));
  other = launch, other.shared_bytes = 8;
  EXPECT_FALSE(same(other, 1.5f, std::int64_t{2}));
  other = launch, other.kernel = "another";
  EXPECT_FALSE(same(other, 1.5f, std::int64_t{2}));
}

TEST(LaunchListTest, KeepsArgumentsByValueAndInOrder) {
  LaunchList list, copy;
  int first = 1;
  list.add(Launch{"a"}, first, 2.5);
  first = 7;
  list.add(Launch{"b"}, Step{3, 4});
  for (int i = 0; i < 100; ++i) list.add(Launch{"more"}, i);  // the bytes move
  copy.add(list, 1);
  copy.add(list, 0);
  EXPECT_EQ(*static_cast<int*>(copy.arguments(1)[0]), 1);
  EXPECT_EQ(*static_cast<double*>(copy.arguments(1)[1]), 2.5);
  EXPECT_EQ(*static_cast<Step*>(copy.arguments(0)[0]), (Step{3, 4}));
  EXPECT_STREQ(copy[0].name, "b");
  EXPECT_EQ(*static_cast<int*>(list.arguments(101)[0]), 99);
}

}  // namespace
}  // namespace crossover::cuda
