// What device code may use: CUDA's own language where nvcc compiles, its emulation (emulator/emulator.h) where a host compiler does.
// The same .cu files become the backend of a GPU and, for tests on machines without one, a program whose threads are fibers.
// Below, the few intrinsics that need PTX, each with the meaning that the emulation has too.
#pragma once

#include <cstddef>
#include <cstdint>

#ifdef CROSSOVER_CUDA_EMULATED
#include "kernels/cuda/emulator/emulator.h"
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

namespace crossover::cuda {

inline constexpr int kWarp = 32;
inline constexpr unsigned kAllLanes = 0xffffffffu;

// Bits of a bfloat16 or a half. Arithmetic is done in f32; rounding is to nearest, ties to even.
struct Bf16 { std::uint16_t bits; };
struct Half { std::uint16_t bits; };

#ifndef CROSSOVER_CUDA_EMULATED

__device__ __forceinline__ float to_float(Bf16 x) { return __uint_as_float(static_cast<unsigned>(x.bits) << 16); }
__device__ __forceinline__ float to_float(Half x) { return __half2float(__ushort_as_half(x.bits)); }
__device__ __forceinline__ Bf16 to_bf16(float x) { return {__bfloat16_as_ushort(__float2bfloat16_rn(x))}; }
__device__ __forceinline__ Half to_half(float x) { return {__half_as_ushort(__float2half_rn(x))}; }

// First in every kernel. A launch may overlap the one before it (Device::overlap_launches): once the blocks of that one have all begun, its own come onto the
// device where there is room and wait here until the others have ended and what they wrote can be read. A launch that ends waited for the one before
// it, so what follows is after all that was launched before, as without overlap; then this does nothing.
__device__ __forceinline__ void wait_for_launches_before() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// Two bf16 in a register, `low` in bits 0..15: the order of a tensor core's fragments.
__device__ __forceinline__ unsigned pack_bf16(float low, float high) {
  unsigned packed;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
}

// The same of halves; and a * b + c of both halves, rounded once.
__device__ __forceinline__ unsigned pack_half(float low, float high) {
  unsigned packed;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
}
__device__ __forceinline__ unsigned fma_halves(unsigned a, unsigned b, unsigned c) {
  unsigned d;
  asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
  return d;
}

// 2^x, relative error below 2^-22; -inf gives 0.
__device__ __forceinline__ float fast_exp2(float x) {
  float y;
  asm("ex2.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// x, of which the compiler knows nothing: what follows from it is computed here instead of being kept in registers around a loop.
__device__ __forceinline__ int computed_here(int x) {
  asm volatile("" : "+r"(x));
  return x;
}

// Memory of the block whose size the launch says; 128-byte aligned. One per kernel.
template <class T>
__device__ __forceinline__ T* dynamic_shared() {
  extern __shared__ __align__(128) unsigned char crossover_shared[];
  return reinterpret_cast<T*>(crossover_shared);
}

// d [16, 8] += a [16, 16] b [16, 8], f32 sums. Fragments of PTX mma.m16n8k16: with g = lane / 4, t = lane % 4, a holds rows g and g + 8 at
// columns 2t, 2t + 1 and 2t + 8, 2t + 9 (a[0]: row g, low columns; a[1]: row g + 8, low; a[2]: row g, high; a[3]: row g + 8, high);
// b holds column g at rows 2t, 2t + 1 (b[0]) and 2t + 8, 2t + 9 (b[1]); d holds row g columns 2t, 2t + 1 (d[0], d[1]), row g + 8 the others.
__device__ __forceinline__ void mma_bf16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Pairs of bf16: a * b + c, each rounded once.
__device__ __forceinline__ unsigned fma_bf16_pairs(unsigned a, unsigned b, unsigned c) {
  unsigned d;
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
  return d;
}

// The same of halves.
__device__ __forceinline__ void mma_half(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// An 8 x 8 matrix of 16-bit values in registers, transposed: lane l holds row l / 4, columns 2 (l % 4) and the next.
__device__ __forceinline__ unsigned transpose_matrix(unsigned pair) {
  unsigned transposed;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(transposed) : "r"(pair));
  return transposed;
}

// Four matrices of 8 x 8 16-bit values: lane l gives the address of row l % 8 of matrix l / 8 (16-byte aligned); r[i] receives row lane / 4,
// columns 2 (lane % 4) and the next of matrix i. transposed: of the transposed matrix.
__device__ __forceinline__ void load_matrices(unsigned (&r)[4], const void* shared_row) {
  const auto at = static_cast<unsigned>(__cvta_generic_to_shared(shared_row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}
__device__ __forceinline__ void load_matrices_transposed(unsigned (&r)[4], const void* shared_row) {
  const auto at = static_cast<unsigned>(__cvta_generic_to_shared(shared_row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}

// 16 bytes from global to shared memory, both 16-byte aligned, without registers; there once a wait names the group it was committed in.
__device__ __forceinline__ void copy_async_16(void* shared, const void* global) {
  const auto at = static_cast<unsigned>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(at), "l"(global) : "memory");
}
__device__ __forceinline__ void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Until at most `Pending` of this thread's newest groups are under way. Other threads see the bytes after a barrier.
template <int Pending>
__device__ __forceinline__ void copy_async_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory"); }

#endif

// Sums and maxima over the lanes of a warp; every lane gets the result. The order of additions is fixed.
__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) x += __shfl_xor_sync(kAllLanes, x, offset);
  return x;
}
__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, offset));
  return x;
}

// Sum over a block of whole warps; every thread gets it. `partial` holds a float per warp; all threads call.
__device__ __forceinline__ float block_sum(float x, float* partial) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp, warps = static_cast<int>(blockDim.x) / kWarp;
  x = warp_sum(x);
  if (lane == 0) partial[warp] = x;
  __syncthreads();
  x = warp_sum(lane < warps ? partial[lane] : 0.0f);
  __syncthreads();  // so that the next call may write partial
  return x;
}

__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }
__device__ __forceinline__ float silu(float x) { return x * sigmoid(x); }

}  // namespace crossover::cuda
