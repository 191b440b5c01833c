// Operands as kernels see them. For .cu files.
#pragma once

#include <cstdint>

#include "kernels/cuda/device.h"
#include "kernels/tensor.h"

namespace crossover::cuda {

// RowsOf for device code: f32 [rows, dim], consecutive rows `stride` floats apart.
template <class T>
struct View {
  T* data;
  std::int64_t rows, dim, stride;
  __device__ T* row(std::int64_t r) const { return data + r * stride; }
};
inline View<float> view(const Rows& x) { return {x.data, x.rows, x.dim, x.stride}; }
inline View<const float> view(const ConstRows& x) { return {x.data, x.rows, x.dim, x.stride}; }

inline bool aligned_16(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer) % 16 == 0; }

// Whether every row begins at 16 bytes and is whole groups of four.
template <class T>
bool in_fours(const RowsOf<T>& x) { return aligned_16(x.data) && x.stride % 4 == 0 && x.dim % 4 == 0; }

// Four or one consecutive values in one access.
template <int N>
struct Values { float v[N]; };

template <int N>
__device__ __forceinline__ Values<N> load(const float* from) {
  if constexpr (N == 4) {
    const float4 x = *reinterpret_cast<const float4*>(from);
    return {{x.x, x.y, x.z, x.w}};
  } else {
    return {{*from}};
  }
}

template <int N>
__device__ __forceinline__ void store(float* to, const Values<N>& x) {
  if constexpr (N == 4) *reinterpret_cast<float4*>(to) = make_float4(x.v[0], x.v[1], x.v[2], x.v[3]);
  else *to = x.v[0];
}

}  // namespace crossover::cuda
