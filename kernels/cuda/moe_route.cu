// Router: the k largest of E logits of every token, and their softmax. A warp takes a token; its logits stay in registers over the k rounds.
// A round asks for the largest (logit, lowest id) after the one chosen before, so nothing has to be marked as taken, and costs E / 32 comparisons
// of a lane and two reductions of a warp (redux.sync, one instruction each).
// Bytes: T (4 E + 8 k), for 35B 1.1 KB a token: 4096 tokens 4.5 MB, 1.3 us at 3.35 TB/s. One token is latency: a load, then k rounds of two
// dependent redux (about 25 clocks each): below 1 us for k = 8, so the launch decides. Registers: E / 32 logits and about 20.
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/view.h"

namespace crossover::cuda {
namespace {

constexpr int kTokensPerBlock = 4;  // small blocks: at a few hundred tokens every multiprocessor gets some
constexpr unsigned kNobody = ~0u;

// Order of logits as unsigned numbers, all above 0: -0 equals 0, a NaN is behind everything, so that ids are k different ones whatever comes.
__device__ __forceinline__ unsigned rank_of(float logit) {
  const unsigned bits = __float_as_uint(logit + 0.0f), rank = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  return logit != logit ? 1 : rank;
}
__device__ __forceinline__ float logit_of(unsigned rank) {
  if (rank == 1) return __uint_as_float(0x7fc00000u);
  return __uint_as_float(rank & 0x80000000u ? rank & 0x7fffffffu : ~rank);
}

// e^(a - b) where the difference in f32 would lose bits that count once it is large: what rounding took is put back to first order.
__device__ __forceinline__ float exp_of_difference(float a, float b) {
  const float difference = a - b, back = difference + b, lost = (a - back) - (b - (back - difference));
  const float power = expf(difference);
  return power > 0 && power < 1 ? power + power * lost : power;
}

// Ranks of a lane's logits lane, lane + 32, ..: in registers, or read anew in every round where there are more than those hold.
template <int kHeld>
class Ranks {
 public:
  __device__ Ranks(const float* logits, int experts, int lane) : logits_(logits), experts_(experts), lane_(lane) {
    float loaded[kHeld > 0 ? kHeld : 1];  // all of them before any is looked at: one trip to memory
#pragma unroll
    for (int i = 0; i < kHeld; ++i) loaded[i] = logits[min(i * kWarp + lane, experts - 1)];
#pragma unroll
    for (int i = 0; i < kHeld; ++i) held_[i] = i * kWarp + lane < experts ? rank_of(loaded[i]) : 0;
  }
  template <class Body>
  __device__ __forceinline__ void each(Body body) const {
    if constexpr (kHeld > 0) {
#pragma unroll
      for (int i = 0; i < kHeld; ++i) body(held_[i], static_cast<unsigned>(i * kWarp + lane_));
    } else {
      for (int e = lane_; e < experts_; e += kWarp) body(rank_of(logits_[e]), static_cast<unsigned>(e));
    }
  }

 private:
  const float* logits_;
  int experts_, lane_;
  unsigned held_[kHeld > 0 ? kHeld : 1];
};

struct Route {
  View<const float> logits;  // [T, E]
  std::int64_t k;
  bool normalize;
  std::int32_t* ids;         // [T, k]
  float* weights;            // [T, k]
};

template <int kHeld>
__global__ void __launch_bounds__(kTokensPerBlock* kWarp) route_tokens(Route op) {
  wait_for_launches_before();
  const std::int64_t token = static_cast<std::int64_t>(blockIdx.x) * kTokensPerBlock + threadIdx.x / kWarp;
  if (token >= op.logits.rows) return;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const Ranks<kHeld> ranks(op.logits.row(token), static_cast<int>(op.logits.dim), lane);
  std::int32_t* const ids = op.ids + token * op.k;
  float* const weights = op.weights + token * op.k;

  unsigned last = ~0u, last_id = 0;  // what the round before chose
  float top = 0, sum = 0;
  for (std::int64_t n = 0; n < op.k; ++n) {
    unsigned best = 0, best_id = kNobody;  // of this lane: ids rise, so the first of equals stays
    ranks.each([&](unsigned rank, unsigned id) {
      const bool after = rank < last || (rank == last && id > last_id);
      if (after && rank > best) best = rank, best_id = id;
    });
    last = __reduce_max_sync(kAllLanes, best);
    last_id = __reduce_min_sync(kAllLanes, best == last ? best_id : kNobody);
    const float logit = logit_of(last);
    if (n == 0) top = logit;
    const float power = exp_of_difference(logit, top);
    sum += power;
    if (lane == n % kWarp) ids[n] = static_cast<std::int32_t>(last_id), weights[n] = power;
  }
  if (!op.normalize) {
    sum = 0;
    ranks.each([&](unsigned rank, unsigned) { sum += rank == 0 ? 0.0f : exp_of_difference(logit_of(rank), top); });
    sum = warp_sum(sum);
  }
  for (std::int64_t n = lane; n < op.k; n += kWarp) weights[n] /= sum;  // each lane what it has written
}

}  // namespace

void moe_route(Context& ctx, ConstRows logits, std::int64_t k, bool normalize, std::span<std::int32_t> ids, std::span<float> weights) {
  const Route route{view(logits), k, normalize, ids.data(), weights.data()};
  const Shape shape{dim3(blocks_for(logits.rows, kTokensPerBlock)), dim3(kTokensPerBlock * kWarp)};
  if (logits.dim <= 8 * kWarp) launch(ctx, "moe_route", route_tokens<8>, shape, route);
  else if (logits.dim <= 16 * kWarp) launch(ctx, "moe_route", route_tokens<16>, shape, route);
  else launch(ctx, "moe_route", route_tokens<0>, shape, route);
}

}  // namespace crossover::cuda
