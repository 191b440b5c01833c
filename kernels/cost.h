// Bytes and floating-point operations of one call of each operation: what a perfect implementation moves and computes, so that a
// measured rate has a bound to stand beside. Bytes: every operand read once from memory and every result written once, however
// often caches serve it again. Flops: multiply and add count one each; exp, sqrt and division count one.
#pragma once

#include <cstdint>

#include "kernels/ops.h"

namespace crossover::cost {

struct Cost {
  std::int64_t bytes = 0, flops = 0;
};

template <class T>
std::int64_t bytes(const RowsOf<T>& rows) { return rows.rows * rows.dim * static_cast<std::int64_t>(sizeof(float)); }

// One table row read and one f32 row written per token.
inline Cost embed(const Tensor& table, const Rows& out) { return {out.rows * table.row_stride() + bytes(out), 0}; }

// Square and sum, then two products per value.
inline Cost rms_norm(const ConstRows& x) { return {2 * bytes(x) + 4 * x.dim, 4 * x.rows * x.dim}; }
// x and y are read, x and the result written.
inline Cost add_rms_norm(const Rows& x) { return {4 * bytes(x) + 4 * x.dim, 5 * x.rows * x.dim}; }
inline Cost l2_norm(const ConstRows& x) { return {2 * bytes(x), 3 * x.rows * x.dim}; }
// The same with the gate read: silu is exp, add, division, product; one more product applies it.
inline Cost gated_rms_norm(const ConstRows& x) { return {3 * bytes(x) + 4 * x.dim, 9 * x.rows * x.dim}; }

// 2*T*N*K; the weight dominates the bytes until T is in the hundreds.
inline Cost matmul(const ConstRows& x, const Tensor& weight, const Rows& out) {
  return {bytes(x) + weight.bytes() + bytes(out), 2 * x.rows * weight.rows() * weight.cols()};
}

// x is read once for all; a gated projection multiplies twice and adds the 5 of swiglu.
inline Cost matmuls(const ConstRows& x, std::span<const Projection> projections) {
  Cost total{bytes(x), 0};
  for (const Projection& p : projections) {
    const std::int64_t matrices = p.up.data ? 2 : 1, outs = x.rows * p.weight.rows();
    total.bytes += p.weight.bytes() + p.up.bytes() + bytes(p.out);
    total.flops += outs * (matrices * 2 * p.weight.cols() + (p.up.data ? 5 : 0));
  }
  return total;
}

inline Cost add(const Rows& x) { return {3 * bytes(x), x.rows * x.dim}; }
inline Cost add_gated(const Rows& x) { return {3 * bytes(x) + 4 * x.rows, 2 * x.rows * x.dim + 3 * x.rows}; }
inline Cost swiglu(const Rows& out) { return {3 * bytes(out), 5 * out.rows * out.dim}; }
inline Cost sigmoid_gate(const Rows& x) { return {3 * bytes(x), 4 * x.rows * x.dim}; }

// Four taps of a product and a sum per channel and token, and 4 of silu; the state of three tokens is read and written.
inline Cost conv1d_silu(const ConstRows& x, const Tensor& weight) {
  return {2 * bytes(x) + weight.bytes() + 2 * 3 * 4 * x.dim, 12 * x.rows * x.dim};
}

// softplus: add, exp, add, log; product; sigmoid: exp, add, division.
inline Cost gdn_gates(const ConstRows& a) { return {4 * bytes(a) + 2 * 4 * a.dim, 8 * a.rows * a.dim}; }

inline std::int64_t gdn_bytes(const GdnScan& scan, const Rows& out) {
  const std::int64_t state = scan.value_heads * scan.head_dim * scan.head_dim * 4;
  return bytes(scan.q) + bytes(scan.k) + bytes(scan.v) + bytes(scan.g) + bytes(scan.beta) + bytes(out) + 2 * state;
}

// 7*dk*dv per token and value head: the decay is one product per state value, k.S, the outer product and q.S two each.
inline Cost gdn_recurrent(const GdnScan& scan, const Rows& out) {
  return {gdn_bytes(scan, out), out.rows * scan.value_heads * 7 * scan.head_dim * scan.head_dim};
}

// Chunks of C = 16 tokens, D = dk = dv, per token and value head: 6 D^2 for K S, Q S and the update, C D for the triangular system,
// C D for the lower triangle of Q K^T times what tokens write; and 2 C D per key head for the lower triangles of K K^T and Q K^T.
inline Cost gdn_chunked(const GdnScan& scan, const Rows& out) {
  const std::int64_t dim = scan.head_dim, chunk = 16;
  return {gdn_bytes(scan, out), out.rows * (scan.value_heads * (6 * dim * dim + 2 * chunk * dim) + scan.key_heads * 2 * chunk * dim)};
}

// Every activation read once and the result written once, the states and the weights of the convolution read and the states written.
// Flops: those of the parts, the delta rule counted token by token whatever form runs (7*dk*dv).
inline Cost gdn_mixer(const GdnMixer& mixer, const Rows& out) {
  const std::int64_t dim = mixer.head_dim, states = mixer.value_heads * dim * dim + 3 * mixer.mixed.dim;
  const std::int64_t keys = out.rows * 2 * mixer.key_heads * dim;
  return {bytes(mixer.mixed) + mixer.conv.bytes() + bytes(mixer.a) + bytes(mixer.b) + bytes(mixer.z) + 2 * 4 * states + bytes(out),
          12 * out.rows * mixer.mixed.dim + 3 * keys + 8 * out.rows * mixer.value_heads + 9 * out.rows * out.dim +
              out.rows * mixer.value_heads * 7 * dim * dim};
}

// An angle, its cos and its sin.
inline Cost rope_angles(const Rows& out) { return {bytes(out), 3 * out.rows * out.dim / 2}; }
// Four products and two sums per pair of angles besides the norm.
inline Cost norm_rope(const Rows& x, const ConstRows& angles) {
  return {2 * bytes(x) + 4 * x.dim + bytes(angles), x.rows * (4 * x.dim + 3 * angles.dim)};
}

// A sum per value and butterfly stage and one product; two more products where signs change.
inline std::int64_t rotation_flops(Rotation rotation, std::int64_t values, std::int64_t head_dim) {
  std::int64_t stages = 0;
  for (std::int64_t n = rotation == Rotation::kSigned ? 128 : head_dim; n > 1; n /= 2) ++stages;
  return rotation == Rotation::kNone ? 0 : values * (stages + (rotation == Rotation::kSigned ? 3 : 1));
}
inline Cost rotate(const Rows& x, Rotation rotation) { return {2 * bytes(x), rotation_flops(rotation, x.rows * x.dim, x.dim)}; }

inline Cost kv_write(const ConstRows& x, const KvCache& cache) {
  return {bytes(x) + x.rows * cache.rows.row_stride(), rotation_flops(cache.rotation, x.rows * x.dim, cache.head_dim)};
}

// q.k and p.v are 4*hd per query head and visible key, the softmax 5; query t sees past + t + 1 keys. K and
// V are read once: a kv head's rows serve all query heads of its group. The gate is four per value.
inline Cost attention(const Attention& a, const Rows& out) {
  const std::int64_t tokens = out.rows / a.heads, visible = tokens * a.past + tokens * (tokens + 1) / 2, values = out.rows * out.dim;
  const std::int64_t cache = (a.past + tokens) * (a.keys.rows.row_stride() + a.values.rows.row_stride());
  const std::int64_t turned = rotation_flops(a.keys.rotation, values, out.dim) + rotation_flops(a.values.rotation, values, out.dim);
  return {bytes(a.q) + cache + bytes(out) + bytes(a.gate), a.heads * visible * (4 * out.dim + 5) + turned + (a.gate.data ? 4 * values : 0)};
}

// max, subtract, exp, sum per logit.
inline Cost moe_route(const ConstRows& logits, std::int64_t k) {
  return {bytes(logits) + logits.rows * k * 8, 4 * logits.rows * logits.dim};
}

// Three matrices of 2*Im*H per token and expert, 5*Im of swiglu, 2*H of the weighted sum; the weights of an expert are read once,
// and only when a token chose it.
inline Cost moe_experts(const MoeExperts& moe, std::int64_t experts_hit, const Rows& out) {
  const std::int64_t width = moe.gate.rows(), hidden = moe.x.dim, pairs = static_cast<std::int64_t>(moe.ids.size());
  const std::int64_t expert = width * (moe.gate.row_stride() + moe.up.row_stride()) + hidden * moe.down.row_stride();
  return {bytes(moe.x) + pairs * 8 + experts_hit * expert + bytes(out), pairs * (6 * width * hidden + 5 * width + 2 * hidden)};
}

}  // namespace crossover::cost
