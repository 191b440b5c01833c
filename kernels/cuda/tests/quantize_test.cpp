// Q6_K made on the device, byte for byte against the plain loops and against ggml's own blocks.
#include "kernels/cuda/quantize.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <limits>
#include <stdexcept>

#include "kernels/buffer.h"
#include "kernels/cuda/runtime.h"
#include "kernels/formats/formats.h"
#include "kernels/tests/format_inputs.h"
#include "kernels/tests/tree_data.h"

namespace crossover::testing {
namespace {

using Bytes = std::vector<std::byte>;

// The rows begin `offset` bytes past an address that any load could want.
Bytes quantized_on_device(DType from, const Bytes& rows, std::int64_t values, std::size_t offset = 0) {
  cuda::Device device(0);
  const MemorySource source{cuda::allocate, cuda::release};
  const auto bytes = static_cast<std::size_t>(row_bytes(DType::kQ6_K, values));
  const Buffer stored(rows.size() + offset, source), blocks(bytes + 2, source);
  device.upload(stored.data() + offset, rows.data(), rows.size());
  cuda::quantize_q6_k(device, from, stored.data() + offset, values, blocks.data() + 2);
  Bytes found(bytes);
  device.download(found.data(), blocks.data() + 2, bytes);
  return found;
}

Bytes stored_as(DType type, const std::vector<float>& values) {
  const auto count = static_cast<std::int64_t>(values.size());
  Bytes stored(static_cast<std::size_t>(row_bytes(type, count)));
  quantize_fn(type)(values.data(), stored.data(), count);
  return stored;
}

Bytes expected_of(DType from, const Bytes& stored, std::int64_t values) {
  std::vector<float> wide(static_cast<std::size_t>(values));
  dequantize_fn(from)(stored.data(), wide.data(), values);
  return stored_as(DType::kQ6_K, wide);
}

class CudaQuantize : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string why;
    if (cuda::device_count(&why) == 0) GTEST_SKIP() << why;
  }
};

TEST_F(CudaQuantize, BytesEqualPlainLoops) {
  for (const Adversary& adversary : kAdversaries) {
    const std::vector<float> values = adversarial_values(adversary, 24);
    const auto count = static_cast<std::int64_t>(values.size());
    for (const DType from : {DType::kF32, DType::kF16, DType::kBF16}) {
      const Bytes stored = stored_as(from, values);
      std::vector<float> wide(values.size());
      dequantize_fn(from)(stored.data(), wide.data(), count);
      if (first_not_finite(wide.data(), count) >= 0) continue;  // beyond the type's range
      EXPECT_EQ(quantized_on_device(from, stored, count), expected_of(from, stored, count)) << adversary.name << " from " << name(from);
    }
  }
}

TEST_F(CudaQuantize, RowsBeginAnywhereTheirTypeMay) {
  const std::vector<float> values = adversarial_values(kAdversaries[0], 3);
  const auto count = static_cast<std::int64_t>(values.size());
  for (const DType from : {DType::kF32, DType::kF16, DType::kBF16}) {
    const Bytes stored = stored_as(from, values);
    EXPECT_EQ(quantized_on_device(from, stored, count, from == DType::kF32 ? 4 : 2), expected_of(from, stored, count)) << name(from);
  }
}

void expect_as_ggml(const std::string& folder) {
  const std::vector<float> values = read_floats(folder + "/super.f32");
  ASSERT_FALSE(values.empty()) << folder;
  EXPECT_EQ(quantized_on_device(DType::kF32, stored_as(DType::kF32, values), static_cast<std::int64_t>(values.size())), read_file(folder + "/q6_k.bin"));
}

TEST_F(CudaQuantize, CommittedBlocksEqualGgml) { expect_as_ggml(test::tree_data("kernels/tests/data/formats")); }

TEST_F(CudaQuantize, GoldenBlocksEqualGgml) {
  const char* golden = std::getenv("CROSSOVER_GOLDEN");
  if (!golden) GTEST_SKIP() << "CROSSOVER_GOLDEN names no folder of golden data";
  expect_as_ggml(std::string(golden) + "/quant");
}

// What quantize_q6_k says of values that are not finite.
std::uint64_t told(DType from, const std::vector<float>& values) {
  cuda::Device device(0);
  const MemorySource source{cuda::allocate, cuda::release};
  const Bytes stored = stored_as(from, values);
  const auto count = static_cast<std::int64_t>(values.size());
  const Buffer rows(stored.size(), source), blocks(static_cast<std::size_t>(row_bytes(DType::kQ6_K, count)), source), word(sizeof(std::uint64_t), source);
  device.upload(rows.data(), stored.data(), stored.size());
  device.clear(word.data(), word.size());
  cuda::quantize_q6_k(device, from, rows.data(), count, blocks.data(), reinterpret_cast<std::uint64_t*>(word.data()));
  std::uint64_t from_end = 0;
  device.download(reinterpret_cast<std::byte*>(&from_end), word.data(), word.size());
  return from_end;
}

TEST_F(CudaQuantize, TheFirstValueThatIsNotFiniteIsTold) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> finite(30 * 256, 3e4f);  // more blocks than run at once on the emulated device
  for (const DType from : {DType::kF32, DType::kF16, DType::kBF16}) {
    EXPECT_EQ(told(from, finite), 0U) << name(from);
    for (const std::size_t first : {std::size_t{0}, std::size_t{263}, finite.size() - 1}) {
      std::vector<float> values = finite;
      values[first] = first % 2 ? -kInfinity : kNan;
      EXPECT_EQ(told(from, values), values.size() - first) << name(from);
      for (std::size_t later = first + 1; later < values.size(); later += 101) values[later] = kNan;
      EXPECT_EQ(told(from, values), values.size() - first) << name(from);
    }
  }
}

TEST_F(CudaQuantize, RefusesWhatItCannotRead) {
  EXPECT_THROW(quantized_on_device(DType::kQ8_0, Bytes(272), 256), std::invalid_argument);
  cuda::Device device(0);
  EXPECT_THROW(cuda::quantize_q6_k(device, DType::kF32, nullptr, 255, nullptr), std::invalid_argument);
}

}  // namespace
}  // namespace crossover::testing
