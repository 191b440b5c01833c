// Element types and non-owning views. A view never allocates and never frees.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace crossover {

enum class DType : std::uint8_t { kF32, kF16, kBF16, kQ8_0, kQ6_K, kQ4_0, kQ4_1, kQ5_0, kQ5_1 };
inline constexpr int kDTypeCount = 9;

struct DTypeInfo {
  const char* name;   // "q6_k": the spelling of the command line, the scenario and the result file
  int block_values;   // values per block; a row holds whole blocks
  int block_bytes;
};

const DTypeInfo& info(DType dtype);
inline const char* name(DType dtype) { return info(dtype).name; }
inline bool is_block_format(DType dtype) { return info(dtype).block_values > 1; }
std::optional<DType> parse_dtype(std::string_view name);

// Bytes of a row of `values`; std::invalid_argument when they are not whole blocks.
std::int64_t row_bytes(DType dtype, std::int64_t values);

// kPanels: the order of kernels/formats/panels.h, for weights of matrix products on the cpu backend.
enum class Layout : std::uint8_t { kRows, kPanels };
inline constexpr std::int64_t kPanelRows = 32;

// View of up to three dimensions: [rows, cols] or [experts, rows, cols]; a vector is [1, n]. In rows: row-major, the last contiguous.
struct Tensor {
  std::byte* data = nullptr;
  DType dtype = DType::kF32;
  std::array<std::int64_t, 3> shape{1, 0, 0};  // experts, rows, cols
  Layout layout = Layout::kRows;

  std::int64_t experts() const { return shape[0]; }
  std::int64_t rows() const { return shape[1]; }
  std::int64_t cols() const { return shape[2]; }
  std::int64_t values() const { return shape[0] * shape[1] * shape[2]; }
  std::int64_t row_stride() const { return row_bytes(dtype, cols()); }  // bytes
  std::int64_t stored_rows() const { return layout == Layout::kRows ? rows() : (rows() + kPanelRows - 1) / kPanelRows * kPanelRows; }  // of one expert
  std::int64_t bytes() const { return experts() * stored_rows() * row_stride(); }
  std::byte* row(std::int64_t r) const { return data + r * row_stride(); }  // in panels: a multiple of kPanelRows, where a panel begins
  Tensor expert(std::int64_t e) const { return {data + e * stored_rows() * row_stride(), dtype, {1, rows(), cols()}, layout}; }
  const float* f32() const { return reinterpret_cast<const float*>(data); }
  float* f32() { return reinterpret_cast<float*>(data); }
};
std::string describe(const Tensor& tensor);  // "q6_k [256, 1024, 2048]", for messages

// f32 activations [rows, dim]; consecutive rows lie `stride` floats apart (stride >= dim).
template <class T>
struct RowsOf {
  T* data = nullptr;
  std::int64_t rows = 0, dim = 0, stride = 0;

  RowsOf() = default;
  RowsOf(T* d, std::int64_t r, std::int64_t n) : data(d), rows(r), dim(n), stride(n) {}
  RowsOf(T* d, std::int64_t r, std::int64_t n, std::int64_t s) : data(d), rows(r), dim(n), stride(s) {}
  operator RowsOf<const T>() const { return {data, rows, dim, stride}; }
  T* row(std::int64_t r) const { return data + r * stride; }
  RowsOf slice(std::int64_t first, std::int64_t count) const { return {row(first), count, dim, stride}; }
  RowsOf columns(std::int64_t first, std::int64_t count) const { return {data + first, rows, count, stride}; }
};
using Rows = RowsOf<float>;
using ConstRows = RowsOf<const float>;

}  // namespace crossover
