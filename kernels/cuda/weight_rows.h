// Raw bytes of rows of weights on their way to shared memory.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/blocks.h"
#include "kernels/cuda/device.h"
#include "kernels/tensor.h"

namespace crossover::cuda {

// Rows of one weight matrix (or of one expert's). Only bytes in [data, end) are touched.
struct WeightRows {
  const std::byte* data;
  const std::byte* end;
  std::int64_t stride;  // bytes
  std::int64_t rows;

  __device__ const std::byte* row(std::int64_t r) const { return r < rows ? data + r * stride : nullptr; }
};
inline WeightRows weight_rows(const Tensor& weight) {
  return {weight.data, weight.data + weight.rows() * weight.row_stride(), weight.row_stride(), weight.rows()};
}

template <DType kType>
inline constexpr bool kPlainType = kType == DType::kF16 || kType == DType::kBF16;

// A slice of a row is kept from the 16-byte chunk that holds its first byte, so as many bytes off as it is in memory.
__device__ __forceinline__ int misalignment(const std::byte* at) { return static_cast<int>(reinterpret_cast<std::uintptr_t>(at) & 15); }

// Shared memory for a slice of so many bytes: an odd number of chunks, so that the words of eight rows lie on all 32 banks.
__host__ __device__ constexpr int chunks_of(int slice_bytes) { return (slice_bytes + 14 + 15) / 16; }
__host__ __device__ constexpr int slot_bytes(int slice_bytes) { return (chunks_of(slice_bytes) | 1) * 16; }

// 16 bytes, asynchronously where all of them belong to the matrix; its first and last chunk may be shared with other memory.
__device__ __forceinline__ void copy_chunk(std::byte* to, const std::byte* from, const std::byte* begin, const std::byte* end) {
  if (from >= begin && from + 16 <= end) return copy_async_16(to, from);
  for (int i = 0; i < 16; i += 2)
    if (from + i >= begin && from + i < end) *reinterpret_cast<std::uint16_t*>(to + i) = *reinterpret_cast<const std::uint16_t*>(from + i);
}

// By eight lanes, `lane` of them: `bytes` of at most kSliceBytes.
template <int kSliceBytes>
__device__ __forceinline__ void copy_row(std::byte* to, const std::byte* from, int bytes, int lane, const WeightRows& matrix) {
  const int skew = misalignment(from);
#pragma unroll
  for (int chunk = 0; chunk < chunks_of(kSliceBytes); chunk += 8) {
    const int at = (chunk + lane) * 16;
    if (at < skew + bytes) copy_chunk(to + at, from - skew + at, matrix.data, matrix.end);
  }
}

// The same of a row whose neighbours on both sides belong to the matrix too, so that no chunk needs a look. to, from: of this lane's first chunk, which
// lies lane * 16 bytes past the slice's first byte; kWhole: bytes is kSliceBytes.
template <int kSliceBytes, bool kWhole>
__device__ __forceinline__ void copy_inner_row(std::byte* to, const std::byte* from, int bytes, int lane) {
  const int end = misalignment(from) + (kWhole ? kSliceBytes : bytes);
  const auto* const chunks = reinterpret_cast<const std::byte*>(reinterpret_cast<std::uintptr_t>(from) & ~std::uintptr_t{15});
#pragma unroll
  for (int chunk = 0; chunk < chunks_of(kSliceBytes); chunk += 8)
    if ((kWhole && (chunk + 8) * 16 <= kSliceBytes) || (chunk + lane) * 16 < end) copy_async_16(to + chunk * 16, chunks + chunk * 16);
}

}  // namespace crossover::cuda
