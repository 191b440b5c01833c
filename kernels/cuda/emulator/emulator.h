// The CUDA language for a host compiler, so that device code runs, is debugged and goes through the address sanitizer without a GPU.
// A block's threads are fibers of the calling thread; a barrier or a warp's collective switches to the next. Between two of them the fibers
// run in an order drawn from a seed: code that lacks a barrier gives other results under another seed. Deadlocks, collectives that lanes
// reach at different places and asynchronous copies that nobody waited for are errors or wrong results here as they are there.
// Tests only. What Hopper adds is in warpgroup.h. Not emulated: clusters, TMA, memory ordering between blocks (blocks run one after another, in order).
#pragma once

#include <math.h>  // device code calls expf and the like without std::

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <type_traits>

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline
#define __noinline__
#define __restrict__
#define __launch_bounds__(...)
#define __grid_constant__
#define __shared__ static thread_local
#define __align__(n) alignas(n)

struct uint3 { unsigned x, y, z; };
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) int2 { int x, y; };
struct alignas(16) int4 { int x, y, z, w; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline int2 make_int2(int x, int y) { return {x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

namespace crossover::cuda::emulated {

struct Position {
  uint3 thread, block;
  dim3 block_dim, grid_dim;
};
const Position& position();

void sync_threads();
int sync_threads_count(bool predicate);

// Every lane of `mask` in the caller's warp comes here; the last one runs act(lanes): lanes[i] is what lane i gave, null outside the mask.
using Collective = void (*)(void* const* lanes, unsigned mask);
void collective(unsigned mask, void* mine, Collective act);

std::byte* shared_memory();

void wait_for_launches();

void queue_copy(void* to, const void* from);
void commit_copies();
void wait_copies(int pending);

// Runs body once per thread of the grid. std::runtime_error on a deadlock. after_launches: a kernel, whose threads do nothing before they have waited
// for the launches before; device memory is closed to them until then.
struct Shape {
  dim3 grid, block;
  std::size_t shared_bytes;
  bool after_launches = false;
};
void run_grid(const char* kernel, const Shape& shape, const std::function<void()>& body);
// As CUDA does before a launch: std::runtime_error for more dynamic shared memory than `kernel` is allowed, which a Device raises.
void check_shared(const char* name, const void* kernel, std::size_t bytes);
void set_seed(std::uint64_t seed);  // of the order of fibers in launches to come

template <class T>
T shuffle(unsigned mask, T value, int source_lane) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 8);
  struct Lane { T value; int source; T result; } lane{value, source_lane, value};
  collective(mask, &lane, [](void* const* lanes, unsigned members) {
    for (int i = 0; i < 32; ++i)
      if (members >> i & 1) {
        Lane& to = *static_cast<Lane*>(lanes[i]);
        const int from = to.source & 31;
        if (members >> from & 1) to.result = static_cast<Lane*>(lanes[from])->value;
      }
  });
  return lane.result;
}
int lane_id();

}  // namespace crossover::cuda::emulated

#define threadIdx (::crossover::cuda::emulated::position().thread)
#define blockIdx (::crossover::cuda::emulated::position().block)
#define blockDim (::crossover::cuda::emulated::position().block_dim)
#define gridDim (::crossover::cuda::emulated::position().grid_dim)

inline void __syncthreads() { ::crossover::cuda::emulated::sync_threads(); }
inline int __syncthreads_count(int predicate) { return ::crossover::cuda::emulated::sync_threads_count(predicate != 0); }
inline int __syncthreads_or(int predicate) { return __syncthreads_count(predicate) > 0; }
inline void __threadfence() {}
inline void __threadfence_block() {}
void __syncwarp(unsigned mask = 0xffffffffu);
unsigned __ballot_sync(unsigned mask, int predicate);
unsigned __match_any_sync(unsigned mask, int value);
unsigned __reduce_max_sync(unsigned mask, unsigned value);
unsigned __reduce_min_sync(unsigned mask, unsigned value);
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }

template <class T>
T __shfl_sync(unsigned mask, T value, int lane, int width = 32) {
  const int me = ::crossover::cuda::emulated::lane_id();
  return ::crossover::cuda::emulated::shuffle(mask, value, (me & ~(width - 1)) | (lane & (width - 1)));
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32) {
  const int me = ::crossover::cuda::emulated::lane_id(), from = me ^ lanes;
  return ::crossover::cuda::emulated::shuffle(mask, value, from / width > me / width ? me : from);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, int delta, int width = 32) {
  const int me = ::crossover::cuda::emulated::lane_id(), from = me + delta;
  return ::crossover::cuda::emulated::shuffle(mask, value, from / width == me / width ? from : me);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, int delta, int width = 32) {
  const int me = ::crossover::cuda::emulated::lane_id(), from = me - delta;
  return ::crossover::cuda::emulated::shuffle(mask, value, from >= 0 && from / width == me / width ? from : me);
}

// Blocks and fibers take turns on one thread, so plain memory is atomic.
template <class T>
T atomicAdd(T* at, T value) { const T old = *at; *at = old + value; return old; }
template <class T>
T atomicMax(T* at, T value) { const T old = *at; if (value > old) *at = value; return old; }
template <class T>
T __ldg(const T* at) { return *at; }
template <class T>
T __ldcs(const T* at) { return *at; }
template <class T>
T __ldcg(const T* at) { return *at; }

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x)); }
inline float __uint_as_float(unsigned x) { float y; std::memcpy(&y, &x, 4); return y; }
inline unsigned __float_as_uint(float x) { unsigned y; std::memcpy(&y, &x, 4); return y; }
inline float __int_as_float(int x) { float y; std::memcpy(&y, &x, 4); return y; }
inline int __float_as_int(float x) { int y; std::memcpy(&y, &x, 4); return y; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fdividef(float a, float b) { return a / b; }
inline float __frcp_rn(float a) { return 1.0f / a; }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline int __float2int_rn(float x) { return static_cast<int>(std::nearbyint(x)); }
unsigned __byte_perm(unsigned a, unsigned b, unsigned selector);
inline int __dp4a(int a, int b, int sum) {
  for (int i = 0; i < 4; ++i) sum += static_cast<std::int8_t>(static_cast<unsigned>(a) >> 8 * i) * static_cast<std::int8_t>(static_cast<unsigned>(b) >> 8 * i);
  return sum;
}
template <class T>
constexpr T min(T a, T b) { return b < a ? b : a; }
template <class T>
constexpr T max(T a, T b) { return a < b ? b : a; }

namespace crossover::cuda {

struct Bf16;
struct Half;
float to_float(Bf16 x);
float to_float(Half x);
Bf16 to_bf16(float x);
Half to_half(float x);
unsigned pack_bf16(float low, float high);
unsigned fma_bf16_pairs(unsigned a, unsigned b, unsigned c);
unsigned pack_half(float low, float high);
unsigned fma_halves(unsigned a, unsigned b, unsigned c);
inline void wait_for_launches_before() { emulated::wait_for_launches(); }
inline int computed_here(int x) { return x; }
inline float fast_exp2(float x) { return std::exp2(x); }
template <class T>
T* dynamic_shared() { return reinterpret_cast<T*>(emulated::shared_memory()); }
void mma_bf16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]);
void mma_half(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]);
unsigned transpose_matrix(unsigned pair);
void load_matrices(unsigned (&r)[4], const void* shared_row);
void load_matrices_transposed(unsigned (&r)[4], const void* shared_row);
inline void copy_async_16(void* shared, const void* global) { emulated::queue_copy(shared, global); }
inline void copy_async_commit() { emulated::commit_copies(); }
template <int Pending>
void copy_async_wait() { emulated::wait_copies(Pending); }

}  // namespace crossover::cuda
