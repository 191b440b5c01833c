// Rows on their way between GPUs, rounded to bfloat16 and back. Bound by memory, 6 bytes a value; a decoded token's row (hidden 5120: 30 KB)
// costs a launch, a prompt's (2048 tokens: 63 MB) what the bytes cost. Eight values a thread: 32 bytes on one side, 16 on the other.
#include "kernels/cuda/bf16_copy.h"

#include "kernels/cuda/launch.h"
#include "kernels/cuda/view.h"

namespace crossover::cuda {
namespace {

constexpr int kThreads = 256, kPerThread = 8;

__global__ void __launch_bounds__(kThreads) round_to_bf16(const float* from, std::uint16_t* to, std::int64_t n) {
  wait_for_launches_before();
  const std::int64_t at = (static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kPerThread;
  if (at + kPerThread <= n) {
    const Values<4> low = load<4>(from + at), high = load<4>(from + at + 4);
    *reinterpret_cast<uint4*>(to + at) = make_uint4(pack_bf16(low.v[0], low.v[1]), pack_bf16(low.v[2], low.v[3]), pack_bf16(high.v[0], high.v[1]),
                                                    pack_bf16(high.v[2], high.v[3]));
  } else {
    for (std::int64_t i = at; i < n; ++i) to[i] = to_bf16(from[i]).bits;
  }
}

__global__ void __launch_bounds__(kThreads) widen_bf16(const std::uint16_t* from, float* to, std::int64_t n) {
  wait_for_launches_before();
  const std::int64_t at = (static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kPerThread;
  if (at + kPerThread <= n) {
    const uint4 packed = *reinterpret_cast<const uint4*>(from + at);
    const unsigned words[4] = {packed.x, packed.y, packed.z, packed.w};
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const unsigned a = words[2 * half], b = words[2 * half + 1];
      store<4>(to + at + 4 * half, {{__uint_as_float(a << 16), __uint_as_float(a & 0xffff0000u), __uint_as_float(b << 16), __uint_as_float(b & 0xffff0000u)}});
    }
  } else {
    for (std::int64_t i = at; i < n; ++i) to[i] = to_float(Bf16{from[i]});
  }
}

Shape shape_of(std::int64_t n) { return {dim3(blocks_for(n, kThreads * kPerThread)), dim3(kThreads)}; }

}  // namespace

void to_bf16(Context& ctx, const float* from, std::uint16_t* to, std::int64_t n) {
  if (n > 0) launch(ctx, "to_bf16", round_to_bf16, shape_of(n), from, to, n);
}
void from_bf16(Context& ctx, const std::uint16_t* from, float* to, std::int64_t n) {
  if (n > 0) launch(ctx, "from_bf16", widen_bf16, shape_of(n), from, to, n);
}

}  // namespace crossover::cuda
