// Hopper's part of the emulation: products by descriptors against plain ones, and that what would go wrong on a GPU is seen.
#include "kernels/cuda/warpgroup.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "kernels/formats/formats.h"

namespace crossover::cuda {
namespace {

constexpr std::size_t kShared = 64 * 1024;
constexpr int kRows = 64, kDepth = 16, kKeys = 80, kColumns = 256;

void run(const std::function<void()>& body, unsigned threads = kWarpgroup) { emulated::run_grid("test", {dim3(1), dim3(threads), kShared}, body); }
std::string failure(const std::function<void()>& body) {
  try {
    run(body);
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "";
}
int thread() { return static_cast<int>(threadIdx.x); }
float a_at(int row, int k) { return static_cast<float>((row * 5 + k * 3) % 11 - 5); }
float b_at(int column, int k) { return static_cast<float>((column * 7 + k) % 13 - 6); }
float product_at(int row, int column) {
  float sum = 0;
  for (int k = 0; k < kDepth; ++k) sum += a_at(row, k) * b_at(column, k);
  return sum;
}

template <class E>
std::uint16_t bits(float x) { return std::is_same_v<E, Half> ? f32_to_f16(x) : f32_to_bf16(x); }

// At a multiple of 1024 of the window of shared memory.
std::uint8_t* aligned_memory() {
  auto* const memory = dynamic_shared<std::uint8_t>();
  return memory + (1024 - shared_address(memory) % 1024) % 1024;
}
// Rows of 128 bytes; value (row, i).
template <class E>
void store(std::uint8_t* panel, int row, int i, float x) { *reinterpret_cast<std::uint16_t*>(panel + panel_at(row, i / 8) + i % 8 * 2) = bits<E>(x); }

// A and b as rows of their 16 values, `begin` bytes into a row: a at the begin of memory, b behind it.
template <class E>
void store_k_major(std::uint8_t* memory, int begin) {
  if (thread() > 0) return;
  for (int row = 0; row < kRows; ++row)
    for (int k = 0; k < kDepth; ++k) store<E>(memory, row, begin / 2 + k, a_at(row, k));
  for (int key = 0; key < kKeys; ++key)
    for (int k = 0; k < kDepth; ++k) store<E>(memory + kRows * 128, key, begin / 2 + k, b_at(key, k));
}

template <class E>
void expect_k_major_product() {
  for (const int begin : {0, 32, 96}) {
    std::vector<float> got(kRows * kKeys);
    run([&] {
      std::uint8_t* const memory = aligned_memory();
      store_k_major<E>(memory, begin);
      fence_proxy();
      __syncthreads();
      float d[kKeys / 2];
      const std::uint64_t a = matrix_descriptor(shared_address(memory)), b = matrix_descriptor(shared_address(memory + kRows * 128));
      fence_registers();
      multiply_shared<E, false>(d, a + descriptor_step(begin), b + descriptor_step(begin));
      multiply_shared<E, true>(d, a + descriptor_step(begin), b + descriptor_step(begin));
      commit_products();
      EXPECT_TRUE(std::isnan(d[0])) << "before the wait";
      wait_products<0>();
      const int warp = thread() / 32, lane = thread() % 32;
      for (int i = 0; i < kKeys / 2; ++i)
        got[static_cast<std::size_t>((warp * 16 + lane / 4 + i % 4 / 2 * 8) * kKeys + i / 4 * 8 + lane % 4 * 2 + i % 2)] = d[i];
    });
    for (int row = 0; row < kRows; ++row)
      for (int key = 0; key < kKeys; ++key)
        ASSERT_EQ(got[static_cast<std::size_t>(row * kKeys + key)], 2 * product_at(row, key)) << begin << ": " << row << " " << key;
  }
}

TEST(EmulatedWarpgroup, MultipliesRowsOfKValues) {
  expect_k_major_product<Bf16>();
  expect_k_major_product<Half>();
}

// b as 16 rows of 256 values in four panels, `panel_bytes` apart.
template <class E>
void expect_mn_major_product(int panel_bytes) {
  std::vector<float> got(kRows * kColumns);
  run([&] {
    std::uint8_t* const memory = aligned_memory();
    if (thread() == 0)
      for (int column = 0; column < kColumns; ++column)
        for (int k = 0; k < kDepth; ++k) store<E>(memory + column / 64 * panel_bytes, k, column % 64, b_at(column, k));
    fence_proxy();
    __syncthreads();
    const int warp = thread() / 32, g = thread() % 32 / 4, t = thread() % 4;
    unsigned a[4];
    for (int i = 0; i < 4; ++i) {
      const int row = warp * 16 + g + i % 2 * 8, k = 2 * t + i / 2 * 8;
      a[i] = bits<E>(a_at(row, k)) | static_cast<unsigned>(bits<E>(a_at(row, k + 1))) << 16;
    }
    float d[kColumns / 2];
    for (float& x : d) x = 0.5f;
    fence_registers();
    multiply_registers<E>(d, a, matrix_descriptor(shared_address(memory), panel_bytes));
    commit_products();
    wait_products<0>();
    for (int i = 0; i < kColumns / 2; ++i) got[static_cast<std::size_t>((warp * 16 + g + i % 4 / 2 * 8) * kColumns + i / 4 * 8 + t * 2 + i % 2)] = d[i];
  });
  for (int row = 0; row < kRows; ++row)
    for (int column = 0; column < kColumns; ++column)
      ASSERT_EQ(got[static_cast<std::size_t>(row * kColumns + column)], product_at(row, column) + 0.5f) << row << " " << column;
}

TEST(EmulatedWarpgroup, MultipliesRowsOfColumns) {
  expect_mn_major_product<Bf16>(2048);
  expect_mn_major_product<Half>(80 * 128);
}

// A in registers against b as rows of their 16 values, `begin` bytes into a row; d starts at half and adds both products.
constexpr int kTokens = 128;
void fragment_of_a(unsigned (&a)[4]) {
  const int warp = thread() / 32, g = thread() % 32 / 4, t = thread() % 4;
  for (int i = 0; i < 4; ++i) {
    const int row = warp * 16 + g + i % 2 * 8, k = 2 * t + i / 2 * 8;
    a[i] = bits<Bf16>(a_at(row, k)) | static_cast<unsigned>(bits<Bf16>(a_at(row, k + 1))) << 16;
  }
}
void store_tokens(std::uint8_t* memory, int begin) {
  if (thread() > 0) return;
  for (int token = 0; token < kTokens; ++token)
    for (int k = 0; k < kDepth; ++k) store<Bf16>(memory, token, begin / 2 + k, b_at(token, k));
}

TEST(EmulatedWarpgroup, MultipliesRegistersByRowsOfKValues) {
  for (const int begin : {0, 32, 64, 96}) {
    std::vector<float> got(kRows * kTokens);
    run([&] {
      std::uint8_t* const memory = aligned_memory() + 1024;
      store_tokens(memory, begin);
      fence_proxy();
      __syncthreads();
      unsigned a[4];
      fragment_of_a(a);
      float d[kTokens / 8][4];
      for (auto& tile : d)
        for (float& x : tile) x = 0.5f;
      const std::uint64_t b = matrix_descriptor(shared_address(memory)) + descriptor_step(begin);
      fence_registers();
      multiply_by_rows(d, a, b);
      commit_products();
      multiply_by_rows(d, a, b);
      commit_products();
      wait_products<1>();
      EXPECT_TRUE(std::isnan(d[15][3])) << "the second is under way";
      wait_products<0>();
      const int warp = thread() / 32, lane = thread() % 32;
      for (int tile = 0; tile < kTokens / 8; ++tile)
        for (int i = 0; i < 4; ++i)
          got[static_cast<std::size_t>((warp * 16 + lane / 4 + i / 2 * 8) * kTokens + tile * 8 + lane % 4 * 2 + i % 2)] = d[tile][i];
    });
    for (int row = 0; row < kRows; ++row)
      for (int token = 0; token < kTokens; ++token)
        ASSERT_EQ(got[static_cast<std::size_t>(row * kTokens + token)], 2 * product_at(row, token) + 0.5f) << begin << ": " << row << " " << token;
  }
}

// One product with a in registers, of which one changes before or behind the wait that ends it; the later product may still run.
std::string failure_of_registers(bool before_wait, bool of_the_later) {
  return failure([=] {
    std::uint8_t* const memory = aligned_memory();
    store_tokens(memory, 0);
    fence_proxy();
    __syncthreads();
    unsigned first[4], second[4];
    fragment_of_a(first), fragment_of_a(second);
    float d[kTokens / 8][4] = {}, e[kTokens / 8][4] = {};
    const std::uint64_t b = matrix_descriptor(shared_address(memory));
    fence_registers();
    multiply_by_rows(d, first, b);
    commit_products();
    multiply_by_rows(e, second, b);
    commit_products();
    unsigned& changed = (of_the_later ? second : first)[2];
    if (before_wait && thread() == 77) changed ^= 0x8000u;
    wait_products<1>();
    if (!before_wait && thread() == 77) changed ^= 0x8000u;
    wait_products<0>();
  });
}

TEST(EmulatedWarpgroup, SeesRegistersThatChangeUnderAProduct) {
  EXPECT_EQ(failure_of_registers(false, false), "");
  EXPECT_NE(failure_of_registers(true, false).find("registers changed under a wgmma"), std::string::npos);
  EXPECT_NE(failure_of_registers(false, true).find("registers changed under a wgmma"), std::string::npos);
}

// PTX's canonical layouts, written out for each swizzle: where the 16 bytes of (row, k) lie when rows of 16, 32, 64 or 128 bytes stand in
// groups of eight, 0x1000 apart along what a row is, 0x400 along what it is not.
TEST(EmulatedWarpgroup, DescriptorsNameTheCanonicalLayouts) {
  struct Mode { std::uint64_t bits; int units; };
  run([] {
    if (thread() > 0) return;
    std::uint8_t* const memory = aligned_memory();
    for (const auto& [mode, units] : {Mode{0, 1}, Mode{3, 2}, Mode{2, 4}, Mode{1, 8}})
      for (const bool mn_major : {false, true}) {
        const std::uint64_t stride = units == 1 && mn_major ? 0x1000 : 0x400, leading = units == 1 && mn_major ? 0x400 : 0x1000;
        const std::uint64_t descriptor = mode << 62 | stride >> 4 << 32 | leading >> 4 << 16 | shared_address(memory) >> 4;
        for (int row = 0; row < 72; ++row)
          for (int k = 0; k < kDepth; ++k) {
            const int along = mn_major ? row : k, across = mn_major ? k : row;  // along a row of memory, from row to row
            if (!mn_major && along / 8 >= units && units > 1) continue;
            const int unit = along / 8 % units, swizzled = unit ^ (across % 8 * units / 8);
            std::uint8_t* const at = memory + along / 8 / units * 0x1000 + across / 8 * 0x400 + across % 8 * units * 16 + swizzled * 16 + along % 8 * 2;
            *reinterpret_cast<std::uint16_t*>(at) = static_cast<std::uint16_t>(row * 100 + k);
            ASSERT_EQ(emulated::operand_bits(descriptor, mn_major, row, k), row * 100 + k) << units << " units, " << mn_major << ": " << row << " " << k;
          }
      }
  });
}

// One product of zeros by one wrong step or none.
enum class Step { kNone, kNoFence, kWrittenMeanwhile, kNotWaited, kBaseOffset, kOtherWarp, kOutside, kUnfencedCopy, kFencedCopy };
std::string failure_of(Step step) {
  return failure([step] {
    alignas(16) static constexpr std::uint8_t kZeros[16] = {};
    std::uint8_t* const memory = aligned_memory();
    auto* const barrier = reinterpret_cast<std::uint64_t*>(memory + 32 * 1024);
    if (thread() == 0) std::fill_n(memory, 32 * 1024, std::uint8_t{0}), barrier_init(barrier, kWarpgroup);
    fence_proxy();
    __syncthreads();
    if (step == Step::kUnfencedCopy || step == Step::kFencedCopy) {
      copy_async_16(memory + thread() * 16, kZeros);
      barrier_arrive_after_copies(barrier);
      barrier_wait(barrier, 0);
      if (step == Step::kFencedCopy) fence_proxy();
    }
    float d[kKeys / 2];
    std::uint64_t a = matrix_descriptor(shared_address(memory));
    if (step == Step::kBaseOffset) a |= std::uint64_t{1} << 49;
    if (step == Step::kOutside) a += descriptor_step(60 * 1024);
    if (step == Step::kOtherWarp && thread() >= 96) a += descriptor_step(32);
    if (step != Step::kNoFence) fence_registers();
    multiply_shared<Bf16, false>(d, a, matrix_descriptor(shared_address(memory)));
    commit_products();
    if (step == Step::kWrittenMeanwhile) memory[thread()] = 1;
    if (step != Step::kNotWaited) wait_products<0>();
  });
}

TEST(EmulatedWarpgroup, SeesWhatWouldGoWrong) {
  EXPECT_EQ(failure_of(Step::kNone), "");
  EXPECT_EQ(failure_of(Step::kFencedCopy), "");
  EXPECT_NE(failure_of(Step::kNoFence).find("without wgmma.fence"), std::string::npos);
  EXPECT_NE(failure_of(Step::kWrittenMeanwhile).find("changed under a wgmma"), std::string::npos);
  EXPECT_NE(failure_of(Step::kNotWaited).find("before its wgmma are waited for"), std::string::npos);
  EXPECT_NE(failure_of(Step::kBaseOffset).find("base offset"), std::string::npos);
  EXPECT_NE(failure_of(Step::kOtherWarp).find("different products"), std::string::npos);
  EXPECT_NE(failure_of(Step::kOutside).find("out of the block's shared memory"), std::string::npos);
  EXPECT_NE(failure_of(Step::kUnfencedCopy).find("without fence.proxy.async"), std::string::npos);
}

TEST(EmulatedWarpgroup, ABarrierCountsCopiesAndPhases) {
  alignas(16) const std::int32_t source[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  std::vector<int> got;
  run([&] {
    auto* const shared = dynamic_shared<std::int32_t>();
    auto* const barriers = reinterpret_cast<std::uint64_t*>(shared + 64);  // full, free
    if (thread() == 0) barrier_init(barriers, 32), barrier_init(barriers + 1, 32);
    __syncthreads();
    for (int round = 0; round < 2; ++round) {
      if (thread() < 32) {
        barrier_wait(barriers + 1, round ^ 1);
        if (thread() == 7) copy_async_16(shared, source + 4 * round);
        barrier_arrive_after_copies(barriers);
      } else {
        barrier_wait(barriers, round);
        if (thread() == 40) got.push_back(shared[0]);
        barrier_arrive(barriers + 1);
      }
    }
  }, 64);
  EXPECT_EQ(got, (std::vector<int>{1, 5}));
  EXPECT_NE(failure([] {
    auto* const barrier = dynamic_shared<std::uint64_t>();
    if (thread() == 0) barrier_init(barrier, kWarpgroup);
    __syncthreads();
    if (thread() > 0) barrier_arrive(barrier), barrier_wait(barrier, 0);
  }).find("127 at an mbarrier"), std::string::npos);
}

}  // namespace
}  // namespace crossover::cuda
