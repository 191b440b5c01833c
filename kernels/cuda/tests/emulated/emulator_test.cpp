// The emulation itself: what device code relies on holds, and its mistakes are seen.
#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "kernels/cuda/device.h"
#include "kernels/cuda/runtime.h"
#include "kernels/formats/formats.h"

namespace crossover::cuda {
namespace {

void run(unsigned blocks, unsigned threads, const std::function<void()>& body, std::size_t shared = 0) {
  emulated::run_grid("test", {dim3(blocks), dim3(threads), shared}, body);
}
int thread() { return static_cast<int>(threadIdx.x); }

TEST(Emulator, RunsEveryThreadOfEveryBlockOnce) {
  std::vector<int> seen(5 * 96);
  run(5, 96, [&] { ++seen[blockIdx.x * blockDim.x + threadIdx.x]; });
  EXPECT_EQ(seen, std::vector<int>(5 * 96, 1));
}

TEST(Emulator, BarrierSeparatesWritesFromReads) {
  std::vector<int> got(256);
  run(1, 256, [&] {
    int* const shared = dynamic_shared<int>();
    for (int round = 0; round < 3; ++round) {
      shared[thread()] = thread() + round;
      __syncthreads();
      got[static_cast<std::size_t>(thread())] = shared[255 - thread()];
      __syncthreads();
    }
  }, 256 * sizeof(int));
  for (int i = 0; i < 256; ++i) EXPECT_EQ(got[static_cast<std::size_t>(i)], 255 - i + 2);
}

TEST(Emulator, AMissingBarrierShowsUnderSomeSeed) {
  std::set<std::vector<int>> results;
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    std::vector<int> got(64);
    emulated::set_seed(seed);
    run(1, 64, [&] {
      int* const shared = dynamic_shared<int>();
      shared[thread()] = thread();
      got[static_cast<std::size_t>(thread())] = shared[63 - thread()];
    }, 64 * sizeof(int));
    results.insert(got);
  }
  EXPECT_GT(results.size(), 1u);
}

TEST(Emulator, ADeadlockIsAnError) {
  EXPECT_THROW(run(1, 64, [] { if (thread() < 32) __syncthreads(); }), std::runtime_error);
  EXPECT_THROW(run(1, 32, [] { if (thread() != 7) __syncwarp(); }), std::runtime_error);
}

// What a launch that overlaps the one before it relies on.
TEST(Emulator, AKernelWaitsForTheLaunchesBeforeItDoesAnything) {
  const auto kernel = [](const std::function<void()>& body) { emulated::run_grid("test", {dim3(2), dim3(64), 0, true}, body); };
  int* const memory = reinterpret_cast<int*>(allocate(2 * 64 * sizeof(int)));
  const auto write = [&] { memory[blockIdx.x * blockDim.x + threadIdx.x] = thread(); };
  kernel([&] { wait_for_launches_before(), write(); });
  EXPECT_THROW(kernel([] { if (thread() != 9) wait_for_launches_before(); }), std::runtime_error);
  EXPECT_THROW(kernel([] {}), std::runtime_error);
  EXPECT_DEATH(kernel([&] { write(), wait_for_launches_before(); }), "");
  release(reinterpret_cast<std::byte*>(memory), 2 * 64 * sizeof(int));
}

TEST(Emulator, DifferentCollectivesOfOneWarpAreAnError) {
  EXPECT_THROW(run(1, 32, [] {
    if (thread() < 16) __syncwarp();
    else (void)__ballot_sync(kAllLanes, 1);
  }), std::runtime_error);
}

TEST(Emulator, ShufflesAndBallots) {
  std::vector<int> up(32), down(32), cross(32), from(32), half(32);
  unsigned votes = 0;
  run(1, 32, [&] {
    const auto i = static_cast<std::size_t>(thread());
    up[i] = __shfl_up_sync(kAllLanes, thread(), 1), down[i] = __shfl_down_sync(kAllLanes, thread(), 4);
    cross[i] = __shfl_xor_sync(kAllLanes, thread(), 5), from[i] = __shfl_sync(kAllLanes, thread(), 9), half[i] = __shfl_sync(kAllLanes, thread(), 3, 16);
    votes = __ballot_sync(kAllLanes, thread() % 3 == 0);
  });
  for (int i = 0; i < 32; ++i) {
    const auto at = static_cast<std::size_t>(i);
    EXPECT_EQ(up[at], i == 0 ? 0 : i - 1);
    EXPECT_EQ(down[at], i + 4 < 32 ? i + 4 : i);
    EXPECT_EQ(cross[at], i ^ 5);
    EXPECT_EQ(from[at], 9);
    EXPECT_EQ(half[at], i / 16 * 16 + 3);
    EXPECT_EQ(votes >> i & 1, i % 3 == 0 ? 1u : 0u);
  }
}

TEST(Emulator, MatchesAndReductions) {
  std::vector<unsigned> same(32), largest(32), smallest(32);
  run(1, 32, [&] {
    const auto i = static_cast<std::size_t>(thread());
    same[i] = __match_any_sync(kAllLanes, thread() % 5);
    largest[i] = __reduce_max_sync(kAllLanes, static_cast<unsigned>(thread() * 7 % 32)), smallest[i] = __reduce_min_sync(kAllLanes, static_cast<unsigned>(thread() + 3));
  });
  for (int i = 0; i < 32; ++i) {
    const auto at = static_cast<std::size_t>(i);
    for (int j = 0; j < 32; ++j) EXPECT_EQ(same[at] >> j & 1, i % 5 == j % 5 ? 1u : 0u);
    EXPECT_EQ(largest[at], 31u);
    EXPECT_EQ(smallest[at], 3u);
  }
}

TEST(Emulator, AnAsynchronousCopyIsThereAfterItsWaitAndNotBefore) {
  alignas(16) const std::int32_t source[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  std::vector<int> before, after;
  run(1, 1, [&] {
    int* const shared = dynamic_shared<int>();
    copy_async_16(shared, source), copy_async_commit();
    copy_async_16(shared + 4, source + 4), copy_async_commit();
    copy_async_wait<1>();
    before = {shared[0], shared[4]};
    copy_async_wait<0>();
    after = {shared[0], shared[4]};
  }, 32);
  EXPECT_EQ(before[0], 1);
  EXPECT_NE(before[1], 5);
  EXPECT_EQ(after, (std::vector<int>{1, 5}));
}

// Fragments by PTX's tables: a product of matrices whose values name their places.
TEST(Emulator, MatrixFragmentsMultiply) {
  float a[16][16], b[16][8], d[16][8] = {};
  for (int i = 0; i < 16; ++i)
    for (int j = 0; j < 16; ++j) a[i][j] = static_cast<float>((i * 3 + j) % 7 - 3);
  for (int i = 0; i < 16; ++i)
    for (int j = 0; j < 8; ++j) b[i][j] = static_cast<float>((i + 5 * j) % 9 - 4);
  alignas(16) std::uint16_t rows_a[16][16], rows_b[16][8];
  for (int i = 0; i < 16; ++i) {
    for (int j = 0; j < 16; ++j) rows_a[i][j] = f32_to_bf16(a[i][j]);
    for (int j = 0; j < 8; ++j) rows_b[i][j] = f32_to_bf16(b[i][j]);
  }
  run(1, 32, [&] {
    const int lane = thread();
    unsigned fa[4], fb[4];
    load_matrices(fa, &rows_a[lane % 16][lane / 16 * 8]);
    load_matrices_transposed(fb, &rows_b[lane % 16][0]);
    float sum[4] = {1, 1, 1, 1};
    mma_bf16(sum, fa, {fb[0], fb[1]});
    for (int i = 0; i < 4; ++i) d[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2] = sum[i];
  });
  for (int i = 0; i < 16; ++i)
    for (int j = 0; j < 8; ++j) {
      float expected = 1;
      for (int k = 0; k < 16; ++k) expected += a[i][k] * b[k][j];
      EXPECT_EQ(d[i][j], expected) << i << " " << j;
    }
}

TEST(EmulatorMemory, TheHostCannotReachIt) {
  Device device(0);
  std::byte* const memory = allocate(64);
  device.clear(memory, 64);
  std::byte copy[64]{std::byte{1}};
  device.download(copy, memory, 64);
  EXPECT_EQ(copy[0], std::byte{0});
  EXPECT_EQ(held_bytes(), 64);
  EXPECT_DEATH(*reinterpret_cast<volatile char*>(memory) = 1, "");
  release(memory, 64);
  EXPECT_EQ(held_bytes(), 0);
}

TEST(Emulator, AMatrixInRegistersIsTransposed) {
  std::vector<unsigned> got(32);
  run(1, 32, [&] {
    const unsigned row = threadIdx.x / 4, column = threadIdx.x % 4 * 2;
    got[threadIdx.x] = transpose_matrix((row * 8 + column) | (row * 8 + column + 1) << 16);
  });
  for (unsigned l = 0; l < 32; ++l) {
    const unsigned row = l / 4, column = l % 4 * 2;
    EXPECT_EQ(got[l], (column * 8 + row) | ((column + 1) * 8 + row) << 16) << l;
  }
}

TEST(Emulator, HalvesMultiplyAndRoundOnce) {
  EXPECT_EQ(fma_halves(pack_half(3, 1024 + 200), pack_half(0.5f, 1), pack_half(1, -1152)), pack_half(2.5f, 72));
  // (1 + 2^-10)^2 - 1 = 2^-9 + 2^-20: a product rounded first would lose the last bit.
  const float one = 1 + 0x1p-10f;
  EXPECT_EQ(fma_halves(pack_half(one, one), pack_half(one, one), pack_half(-1, -1)), pack_half(0x1p-9f + 0x1p-20f, 0x1p-9f + 0x1p-20f));
  EXPECT_NE(pack_half(0x1p-9f + 0x1p-19f, 0), pack_half(0x1p-9f, 0));
}

TEST(Emulator, FragmentsOfHalvesMultiplyToo) {
  std::vector<float> sums(32);
  run(1, 32, [&] {
    const float t = static_cast<float>(threadIdx.x % 4), g = static_cast<float>(threadIdx.x / 4);  // a[i][k] = 1, b[k][n] = n for k < 8, else 0
    float d[4] = {0.25f, 0, 0, 0};
    mma_half(d, {pack_half(1, 1), pack_half(1, 1), pack_half(1, 1), pack_half(1, 1)}, {pack_half(g, g), 0});
    EXPECT_EQ(d[1], 8 * (2 * t + 1));
    sums[threadIdx.x] = d[0];
  });
  for (std::size_t l = 0; l < 32; ++l) EXPECT_EQ(sums[l], 8.0f * static_cast<float>(l % 4 * 2) + 0.25f);
}

}  // namespace
}  // namespace crossover::cuda
