// What the forms of the gated delta rule read: the rows of a scan as given (GdnScan), or what a mixer makes of its projections
// (GdnMixer): convolution, SiLU, L2 norms and gates, made where they are used so that none of it goes out to memory. For .cu files.
#pragma once

#include "kernels/cuda/gdn_plan.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/view.h"

namespace crossover::cuda {

inline constexpr int kGdnDim = 128;
inline constexpr int kGdnLaneValues = kGdnDim / kWarp;  // of a head's row

struct GdnInputs {
  View<const float> q, k, v, g, beta;                                                                    // of a scan
  View<const float> mixed, a, b;                                                                         // of a mixer, and all below
  const float *taps = nullptr, *conv_state = nullptr, *ssm_a = nullptr, *dt_bias = nullptr;              // [C, 4], [3, C], [nv], [nv]
  View<float> conv_out, g_out, beta_out;                                                                 // no data: nobody asked
  std::int64_t tokens = 0;
  int key_heads = 0, value_heads = 0;
  bool tiled = true;
  bool fours = false;  // rows may be read four values at a time

  __host__ __device__ int ratio() const { return value_heads / key_heads; }
  __device__ int key_head(int value_head) const { return tiled ? value_head % key_heads : value_head / ratio(); }
  __device__ int value_head(int key_head, int i) const { return tiled ? i * key_heads + key_head : key_head * ratio() + i; }
};

enum class GdnPart : std::uint8_t { kQuery, kKey, kValue };

__device__ __forceinline__ Values<4> load_four(const float* from, bool fours) {
  if (fours) return load<4>(from);
  return {{from[0], from[1], from[2], from[3]}};
}
__device__ __forceinline__ void store_four(float* to, const Values<4>& x, bool fours) {
  if (fours) return store<4>(to, x);
#pragma unroll
  for (int i = 0; i < 4; ++i) to[i] = x.v[i];
}

// 2^-21 of the result, or of e^-20 below it: a mixer's front has 67 million of these for 8192 tokens, where exact exp and division would take as long as
// the bytes.
__device__ __forceinline__ float fast_silu(float x) { return __fdividef(x, 1.0f + fast_exp2(-1.4426950408889634f * x)); }

// The one order of a convolution's sum, so that every form gives the same bits.
__device__ __forceinline__ float convolve(float x0, float x1, float x2, float x3, const Values<4>& taps) {
  return fast_silu(fmaf(taps.v[3], x3, fmaf(taps.v[2], x2, fmaf(taps.v[1], x1, taps.v[0] * x0))));
}

// Channels c .. c + 3 of a head's rows first .. first + kTokens - 1; zeros past the last token. All rows are asked for before any is used:
// kTokens + 3 loads of 16 bytes a lane are under way at once. shown: this caller writes conv_out.
template <int kTokens, bool kMixes>
__device__ void read_rows(const GdnInputs& in, GdnPart part, int head, std::int64_t first, int c, bool shown, Values<4> (&y)[kTokens]) {
  if constexpr (!kMixes) {
    const View<const float>& x = part == GdnPart::kQuery ? in.q : part == GdnPart::kKey ? in.k : in.v;
#pragma unroll
    for (int t = 0; t < kTokens; ++t)
      y[t] = first + t < in.tokens ? load_four(x.row(first + t) + head * kGdnDim + c, in.fours) : Values<4>{};
  } else {
    const int before = part == GdnPart::kQuery ? 0 : part == GdnPart::kKey ? in.key_heads : 2 * in.key_heads;
    const std::int64_t channel = static_cast<std::int64_t>(before + head) * kGdnDim + c;
    Values<4> x[kTokens + 3], taps[4];
#pragma unroll
    for (int t = 0; t < kTokens + 3; ++t) {
      const std::int64_t at = first + t - 3;
      x[t] = at >= in.tokens ? Values<4>{} : load_four(at < 0 ? in.conv_state + (at + 3) * in.mixed.dim + channel : in.mixed.row(at) + channel, in.fours);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) taps[i] = load_four(in.taps + 4 * (channel + i), in.fours);
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float sum = convolve(x[t].v[i], x[t + 1].v[i], x[t + 2].v[i], x[t + 3].v[i], taps[i]);
        y[t].v[i] = first + t < in.tokens ? sum : 0.0f;
      }
      if (shown && in.conv_out.data && first + t < in.tokens) store_four(in.conv_out.row(first + t) + channel, y[t], false);
    }
  }
}

// Rows of queries or keys as the rule takes them: a mixer's get length 1, queries D^-1/2. A lane holds channels 4 lane ..; all lanes call.
template <int kTokens, bool kMixes>
__device__ void read_key_rows(const GdnInputs& in, GdnPart part, int head, std::int64_t first, bool shown, Values<4> (&y)[kTokens]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  read_rows<kTokens, kMixes>(in, part, head, first, lane * kGdnLaneValues, shown, y);
  if constexpr (kMixes) {
    const float scale = part == GdnPart::kQuery ? 0.08838834764831845f : 1.0f;
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
      float squares = 0;
#pragma unroll
      for (int i = 0; i < 4; ++i) squares += y[t].v[i] * y[t].v[i];
      const float factor = scale / sqrtf(warp_sum(squares) + kGdnKeyEps);
#pragma unroll
      for (int i = 0; i < 4; ++i) y[t].v[i] *= factor;
    }
  }
}

struct GdnGates { float g, beta; };

__device__ __forceinline__ GdnGates gates_of(float a, float b, float ssm_a, float dt_bias) {
  const float x = a + dt_bias;
  return {ssm_a * (fmaxf(x, 0.0f) + log1pf(expf(-fabsf(x)))), sigmoid(b)};
}

template <bool kMixes>
__device__ GdnGates read_gates(const GdnInputs& in, int value_head, std::int64_t t, bool shown) {
  if constexpr (!kMixes) {
    return {in.g.row(t)[value_head], in.beta.row(t)[value_head]};
  } else {
    const GdnGates gates = gates_of(in.a.row(t)[value_head], in.b.row(t)[value_head], in.ssm_a[value_head], in.dt_bias[value_head]);
    if (shown && in.g_out.data) in.g_out.row(t)[value_head] = gates.g;
    if (shown && in.beta_out.data) in.beta_out.row(t)[value_head] = gates.beta;
    return gates;
  }
}

// What follows the rule in a mixer.
struct GdnFinish {
  View<const float> z;
  const float* norm = nullptr;  // [D]
  float eps = 0;
  bool fours = false;  // of z, the norm's weights and out
};

// norm(o) * weight * silu(z) of one token and head, by a warp and in place; past the L1 cache, since other blocks may have written o.
__device__ __forceinline__ void finish_row(const GdnFinish& finish, const View<float>& out, std::int64_t t, int value_head) {
  const int c = static_cast<int>(threadIdx.x) % kWarp * kGdnLaneValues;
  float* const o = out.row(t) + value_head * kGdnDim + c;
  Values<4> x;
  if (finish.fours) {
    const float4 all = __ldcg(reinterpret_cast<const float4*>(o));
    x = {{all.x, all.y, all.z, all.w}};
  } else {
    x = {{__ldcg(o), __ldcg(o + 1), __ldcg(o + 2), __ldcg(o + 3)}};
  }
  const Values<4> weight = load_four(finish.norm + c, finish.fours), z = load_four(finish.z.row(t) + value_head * kGdnDim + c, finish.fours);
  float squares = 0;
#pragma unroll
  for (int i = 0; i < 4; ++i) squares += x.v[i] * x.v[i];
  const float factor = 1.0f / sqrtf(warp_sum(squares) / static_cast<float>(kGdnDim) + finish.eps);
#pragma unroll
  for (int i = 0; i < 4; ++i) x.v[i] *= factor * weight.v[i] * fast_silu(z.v[i]);
  store_four(o, x, finish.fours);
}

// The last three rows of (state [3, C], inputs) become the state; one channel. Nobody else reads or writes this channel now.
__device__ __forceinline__ void keep_inputs_of(const View<const float>& x, float* state, std::int64_t channel) {
  float kept[3];
#pragma unroll
  for (int i = 0; i < 3; ++i) {
    const std::int64_t t = x.rows - 3 + i;
    kept[i] = t < 0 ? state[(t + 3) * x.dim + channel] : x.row(t)[channel];
  }
#pragma unroll
  for (int i = 0; i < 3; ++i) state[i * x.dim + channel] = kept[i];
}

GdnInputs gdn_inputs(const GdnScan& scan, std::int64_t tokens);
GdnInputs gdn_inputs(const GdnMixer& mixer);

// One launch over all keys' channels: the state of a convolution for the next call.
void keep_inputs(Context& ctx, ConstRows x, float* state);

// The rule over all tokens; out [T, nv*D]. Token by token, of a mixer with `finish` (few tokens) all the rest of it in the same launch.
void recur(Context& ctx, const GdnInputs& in, bool mixes, float* state, Rows out, const GdnFinish* finish, float* conv_state);
inline constexpr std::int64_t kGdnFinishTokens = 8;  // most that recur finishes: its last block's warps take their rows one after the other

// By chunks, the tokens of one segment; `out` of the whole call.
void scan_segment(Context& ctx, const GdnInputs& in, bool mixes, bool f32_products, const GdnSegment& segment, float* state, Rows out);

}  // namespace crossover::cuda
