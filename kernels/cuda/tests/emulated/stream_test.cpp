// A stream beside the one that a device begins with: what it was asked for is done when somebody has waited, in the order asked.
#include "kernels/cuda/emulator/stream.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "kernels/buffer.h"
#include "kernels/cuda/quantize.h"
#include "kernels/cuda/runtime.h"
#include "kernels/formats/formats.h"
#include "kernels/tests/format_inputs.h"

namespace crossover::testing {
namespace {

using Bytes = std::vector<std::byte>;
constexpr MemorySource kDeviceMemory{cuda::allocate, cuda::release};

class CudaBeside : public ::testing::Test {
 protected:
  Bytes held(const Buffer& memory) {
    Bytes bytes(memory.size());
    device_.download(bytes.data(), memory.data(), bytes.size());
    return bytes;
  }
  Buffer zeros(std::size_t bytes) {
    Buffer memory(bytes, kDeviceMemory);
    device_.clear(memory.data(), bytes);
    return memory;
  }

  cuda::Device device_{0};
};

TEST_F(CudaBeside, BytesArriveWhenSomebodyWaits) {
  const std::unique_ptr<cuda::Device> beside = device_.beside();
  Bytes sent(100, std::byte{7});
  const Buffer memory = zeros(100);
  beside->upload(memory.data(), sent.data(), sent.size());
  std::fill(sent.begin(), sent.end(), std::byte{8});  // they were taken
  EXPECT_EQ(held(memory), Bytes(100, std::byte{0}));
  device_.synchronize();  // not the stream that was asked
  EXPECT_EQ(held(memory), Bytes(100, std::byte{0}));
  beside->wait_for_upload();
  EXPECT_EQ(held(memory), Bytes(100, std::byte{7}));
}

TEST_F(CudaBeside, RowsArriveInPlaceByOneCopy) {
  const Buffer memory = zeros(6 * 4 * sizeof(float));
  std::vector<float> sent(6 * 4), found(3 * 9, -1);
  for (std::size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<float>(i);
  device_.upload(memory.data(), reinterpret_cast<const std::byte*>(sent.data()), sent.size() * sizeof(float));
  const std::int64_t before = device_.copies();
  device_.download_rows(Rows(found.data() + 2, 3, 5, 9), ConstRows(reinterpret_cast<const float*>(memory.data()) + 1, 3, 5, 8));
  EXPECT_EQ(device_.copies(), before + 1);
  for (int row = 0; row < 3; ++row)
    for (int i = 0; i < 9; ++i) EXPECT_EQ(found[static_cast<std::size_t>(9 * row + i)], i >= 2 && i < 7 ? static_cast<float>(8 * row + 1 + i - 2) : -1) << row << ' ' << i;
  device_.download_rows(Rows(found.data(), 0, 5), ConstRows(nullptr, 0, 5));
  EXPECT_EQ(device_.copies(), before + 1);
}

TEST_F(CudaBeside, StagingIsUsedAgainWhenItsCopyIsDone) {
  const std::unique_ptr<cuda::Device> beside = device_.beside();
  beside->reserve_staging(64);
  EXPECT_EQ(beside->staging_bytes(), 64U);
  const Buffer first = zeros(64), second = zeros(64);
  beside->upload(first.data(), Bytes(64, std::byte{1}).data(), 64);
  beside->upload(second.data(), Bytes(64, std::byte{2}).data(), 64);
  EXPECT_EQ(held(first), Bytes(64, std::byte{1}));
  EXPECT_EQ(held(second), Bytes(64, std::byte{0}));
  beside->synchronize();
  EXPECT_EQ(held(second), Bytes(64, std::byte{2}));
  EXPECT_EQ(beside->staging_bytes(), 64U);
}

TEST_F(CudaBeside, AKernelFollowsTheUploadItReads) {
  const std::unique_ptr<cuda::Device> beside = device_.beside();
  const std::vector<float> values = adversarial_values(kAdversaries[0], 2);
  const auto count = static_cast<std::int64_t>(values.size());
  const Buffer rows = zeros(values.size() * sizeof(float)), blocks = zeros(static_cast<std::size_t>(row_bytes(DType::kQ6_K, count)));
  beside->upload(rows.data(), reinterpret_cast<const std::byte*>(values.data()), rows.size());
  cuda::quantize_q6_k(*beside, DType::kF32, rows.data(), count, blocks.data());
  beside->wait_for_upload();
  EXPECT_EQ(held(blocks), Bytes(blocks.size()));  // the rows are there, the blocks are not
  Bytes expected(blocks.size()), found(blocks.size());
  quantize_fn(DType::kQ6_K)(values.data(), expected.data(), count);
  beside->download(found.data(), blocks.data(), found.size());
  EXPECT_EQ(found, expected);
}

TEST_F(CudaBeside, GoesWhenItsWorkIsDone) {
  const Buffer memory = zeros(16);
  device_.beside()->upload(memory.data(), Bytes(16, std::byte{3}).data(), 16);
  EXPECT_EQ(held(memory), Bytes(16, std::byte{3}));
}

}  // namespace
}  // namespace crossover::testing
