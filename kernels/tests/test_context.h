// What every test of operations needs: a Context for one backend x instruction set x thread count, and memory that shows a read
// or a write outside an operand.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory_resource>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "kernels/cpu/isa.h"
#include "kernels/cpu/micro.h"
#include "kernels/formats/formats.h"
#include "kernels/ops.h"

namespace crossover::testing {

// Memory that operations read or write. A test program of a device makes the default resource one that its device reaches.
template <class T>
using Operand = std::pmr::vector<T>;

inline constexpr MemorySource kOperandMemory{
    [](std::size_t bytes) { return static_cast<std::byte*>(std::pmr::get_default_resource()->allocate(bytes, 256)); },
    [](std::byte* memory, std::size_t bytes) { std::pmr::get_default_resource()->deallocate(memory, bytes, 256); }};

struct Backend {
  const Ops& (*ops)();
  std::optional<cpu::Isa> isa;  // cpu backend only
  int threads = 1;
  const cpu::Micro* micro = nullptr;  // instead of that of isa
  const char* variant = "";           // its name behind that of isa
};

inline std::string name(const Backend& backend) {
  if (!backend.isa) return "reference";
  return std::string("cpu_") + cpu::name(*backend.isa) + backend.variant + "_" + std::to_string(backend.threads) + "_threads";
}
inline void PrintTo(const Backend& backend, std::ostream* out) { *out << name(backend); }
inline std::string test_name(const ::testing::TestParamInfo<Backend>& info) { return name(info.param); }

inline Backend reference_backend() { return {reference_ops, std::nullopt, 1}; }

// Not the reference itself.
inline std::vector<Backend> tested_backends() {
  std::vector<Backend> backends;
  for (const cpu::Isa isa : cpu::usable_isas())
    for (const int threads : {1, 2}) backends.push_back({cpu_ops, isa, threads});
  return backends;
}

class TestContext {
 public:
  explicit TestContext(const Backend& backend)
      : pool_(backend.threads), workspace_(kOperandMemory),
        context{backend.ops(), pool_, workspace_, counters, nullptr, backend.micro ? backend.micro : backend.isa ? &cpu::micro(*backend.isa) : nullptr} {}
  TestContext(const TestContext&) = delete;
  TestContext& operator=(const TestContext&) = delete;

 private:
  ThreadPool pool_;
  Workspace workspace_;

 public:
  Counters counters;
  Context context;
  operator Context&() { return context; }
};

using Random = std::mt19937_64;

// Without <random>'s distributions, whose values differ between standard libraries.
inline float uniform(Random& random, float low, float high) {
  return low + (high - low) * static_cast<float>(random() >> 40) * 0x1p-24f;
}
// Bell-shaped, standard deviation 1, within +-3.5: the sum of four uniform values.
inline float normal(Random& random) {
  std::int64_t sum = 0;
  for (int i = 0; i < 2; ++i) {
    const std::uint64_t bits = random();
    sum += static_cast<std::int32_t>(bits) + static_cast<std::int64_t>(static_cast<std::int32_t>(bits >> 32));
  }
  return static_cast<float>(sum) * (0.8660254f * 0x1p-31f);
}

// Rows of f32 with `pad` floats between them and guards at both ends, all NaN: reading one poisons the result, writing one is
// told by written_outside.
class Grid {
 public:
  Grid(std::int64_t rows, std::int64_t dim, std::int64_t pad = 0)
      : rows_(rows), dim_(dim), stride_(dim + pad),
        values_(static_cast<std::size_t>(rows * (dim + pad) + 2 * kGuard), std::numeric_limits<float>::quiet_NaN()) {}

  Grid& fill(Random& random, float scale = 1) {
    return set([&](std::int64_t, std::int64_t) { return scale * normal(random); });
  }
  template <class ValueOf>
  Grid& set(ValueOf value_of) {
    for (std::int64_t r = 0; r < rows_; ++r)
      for (std::int64_t i = 0; i < dim_; ++i) at(r, i) = value_of(r, i);
    return *this;
  }

  float& at(std::int64_t r, std::int64_t i) { return values_[static_cast<std::size_t>(kGuard + r * stride_ + i)]; }
  float at(std::int64_t r, std::int64_t i) const { return values_[static_cast<std::size_t>(kGuard + r * stride_ + i)]; }
  std::int64_t row_count() const { return rows_; }
  std::int64_t dim() const { return dim_; }
  float* data() { return values_.data() + kGuard; }
  operator Rows() { return {data(), rows_, dim_, stride_}; }
  operator ConstRows() const { return {values_.data() + kGuard, rows_, dim_, stride_}; }

  // Offset in floats of the first write outside the operand, if there was one.
  std::optional<std::int64_t> written_outside() const {
    for (std::size_t i = 0; i < values_.size(); ++i) {
      const std::int64_t offset = static_cast<std::int64_t>(i) - kGuard;
      const bool inside = offset >= 0 && offset < rows_ * stride_ && offset % stride_ < dim_;
      if (!inside && !std::isnan(values_[i])) return offset;
    }
    return std::nullopt;
  }
  void expect_gaps_untouched() const { EXPECT_EQ(written_outside(), std::nullopt) << "written outside the operand"; }

 private:
  static constexpr std::int64_t kGuard = 16;
  std::int64_t rows_, dim_, stride_;
  Operand<float> values_;
};

// A matrix in any element type; exactly as long as its values.
class Matrix {
 public:
  Matrix(DType dtype, std::int64_t experts, std::int64_t rows, std::int64_t cols)
      : bytes_(static_cast<std::size_t>(experts * rows * row_bytes(dtype, cols))), tensor_{bytes_.data(), dtype, {experts, rows, cols}} {}
  Matrix(DType dtype, std::int64_t rows, std::int64_t cols) : Matrix(dtype, 1, rows, cols) {}
  Matrix(const Matrix& other) : bytes_(other.bytes_), tensor_(other.tensor_) { tensor_.data = bytes_.data(); }
  Matrix& operator=(const Matrix&) = delete;

  // Values of about `scale`. Blocks get random codes under random block scales: faster than quantizing, and every code occurs.
  Matrix& fill(Random& random, float scale = 1) {
    if (is_block_format(tensor_.dtype)) return fill_blocks(random, scale);
    std::vector<float> values(static_cast<std::size_t>(tensor_.values()));
    for (float& value : values) value = scale * normal(random);
    return quantize(values);
  }
  Matrix& quantize(const std::vector<float>& values) {
    if (!values.empty()) quantize_fn(tensor_.dtype)(values.data(), tensor_.data, tensor_.values());
    return *this;
  }
  std::vector<float> values() const {
    std::vector<float> values(static_cast<std::size_t>(tensor_.values()));
    if (!values.empty()) dequantize_fn(tensor_.dtype)(tensor_.data, values.data(), tensor_.values());
    return values;
  }
  const Operand<std::byte>& bytes() const { return bytes_; }
  const Tensor& tensor() const { return tensor_; }
  operator const Tensor&() const { return tensor_; }

 private:
  struct BlockFields {
    std::size_t scale_at;
    float codes;    // spread of code * scale for a block scale of 1
    float minimum;  // second half-precision field, in block scales; 0 = there is none
  };
  static BlockFields fields(DType dtype) {
    switch (dtype) {
      case DType::kQ8_0: return {0, 74, 0};
      case DType::kQ6_K: return {208, 74 * 18, 0};
      case DType::kQ4_0: return {0, 4.6f, 0};
      case DType::kQ4_1: return {0, 4.6f, -7.5f};
      case DType::kQ5_0: return {0, 9.2f, 0};
      default: return {0, 9.2f, -15.5f};
    }
  }
  Matrix& fill_blocks(Random& random, float scale) {
    const BlockFields block = fields(tensor_.dtype);
    const auto size = static_cast<std::size_t>(info(tensor_.dtype).block_bytes);
    std::uint64_t bits = 0;
    for (std::size_t i = 0; i < bytes_.size(); ++i) {
      bits = i % 8 == 0 ? random() : bits >> 8;
      bytes_[i] = static_cast<std::byte>(bits & 0xff);
    }
    for (std::size_t at = 0; at < bytes_.size(); at += size) {
      const float block_scale = scale / block.codes * uniform(random, 0.5f, 1.5f);
      put_half(at + block.scale_at, block_scale);
      if (block.minimum != 0) put_half(at + block.scale_at + 2, block_scale * block.minimum * uniform(random, 0.8f, 1.2f));
    }
    return *this;
  }
  void put_half(std::size_t at, float value) {
    const std::uint16_t half = f32_to_f16(value);
    bytes_[at] = static_cast<std::byte>(half & 0xff);
    bytes_[at + 1] = static_cast<std::byte>(half >> 8);
  }

  Operand<std::byte> bytes_;
  Tensor tensor_;
};

// max |found - expected| / max |expected| over all values; infinite when one of them is not a number or only one is infinite.
inline double relative_error(const Grid& found, const Grid& expected) {
  double difference = 0, magnitude = 0;
  for (std::int64_t r = 0; r < expected.row_count(); ++r)
    for (std::int64_t i = 0; i < expected.dim(); ++i) {
      const double e = expected.at(r, i), d = found.at(r, i) == expected.at(r, i) ? 0 : std::fabs(found.at(r, i) - e);
      if (!std::isfinite(d)) return std::numeric_limits<double>::infinity();
      difference = std::max(difference, d);
      magnitude = std::max(magnitude, std::fabs(e));
    }
  return difference == 0 ? 0 : difference / magnitude;
}

// Largest |found - expected| / |expected| of single values; values below `floor` (1e-28: far under
// anything a model adds up) count as floor.
inline double elementwise_error(const Grid& found, const Grid& expected, double floor = 1e-28) {
  double worst = 0;
  for (std::int64_t r = 0; r < expected.row_count(); ++r)
    for (std::int64_t i = 0; i < expected.dim(); ++i) {
      const double e = expected.at(r, i), d = found.at(r, i) == expected.at(r, i) ? 0 : std::fabs(found.at(r, i) - e);
      if (!std::isfinite(d)) return std::numeric_limits<double>::infinity();
      worst = std::max(worst, d / std::max(std::fabs(e), floor));
    }
  return worst;
}

}  // namespace crossover::testing
