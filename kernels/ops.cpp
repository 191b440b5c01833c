// The checked entries. Nothing is written to a string until a check has failed.
#include "kernels/ops.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>
#include <utility>

#include "kernels/cost.h"

namespace crossover::op {
namespace {

struct Names {
  const char* op;
  std::string_view launches, bytes, flops;
};
#define CROSSOVER_NAMES(op) {#op, "launches." #op, "bytes." #op, "flops." #op}

void count(Context& context, const Names& names, cost::Cost cost) {
  context.counters.add(names.launches, 1);
  context.counters.add(names.bytes, cost.bytes);
  context.counters.add(names.flops, cost.flops);
}

[[noreturn]] void refuse(const Names& names, const char* operand, const std::string& asked, const std::string& found) {
  throw std::invalid_argument(std::string(names.op) + ": " + operand + ": asked for " + asked + ", found " + found);
}

std::string shape(std::int64_t rows, std::int64_t dim) { return "[" + std::to_string(rows) + ", " + std::to_string(dim) + "]"; }

void check_pointer(const Names& names, const char* operand, const void* data, bool needed) {
  if (needed && data == nullptr) refuse(names, operand, "memory", "a null pointer");
}

void check_rows(const Names& names, const char* operand, const ConstRows& x, std::int64_t rows, std::int64_t dim) {
  if (x.rows != rows || x.dim != dim || rows < 0 || dim < 0) refuse(names, operand, shape(rows, dim), shape(x.rows, x.dim));
  if (x.stride < dim) refuse(names, operand, "a stride of at least " + std::to_string(dim), std::to_string(x.stride));
  check_pointer(names, operand, x.data, rows > 0 && dim > 0);
}

// Of an operand that sets the shape of the others.
void check_rows(const Names& names, const char* operand, const ConstRows& x) { check_rows(names, operand, x, x.rows, x.dim); }

void check_matrix(const Names& names, const char* operand, const Tensor& tensor, std::int64_t experts, std::int64_t rows, std::int64_t cols) {
  const bool fits = tensor.experts() == experts && tensor.rows() == rows && tensor.cols() == cols;
  if (!fits || experts < 1 || rows < 0 || cols < 0)
    refuse(names, operand, "[" + std::to_string(experts) + ", " + std::to_string(rows) + ", " + std::to_string(cols) + "]", describe(tensor));
  if (cols % info(tensor.dtype).block_values != 0)
    refuse(names, operand, "rows of whole blocks of " + std::to_string(info(tensor.dtype).block_values) + " values", describe(tensor));
  check_pointer(names, operand, tensor.data, rows > 0 && cols > 0);
}

void check_at_least(const Names& names, const char* operand, std::int64_t least, std::int64_t value) {
  if (value < least) refuse(names, operand, "at least " + std::to_string(least), std::to_string(value));
}

void check_multiple(const Names& names, const char* operand, std::int64_t of, std::int64_t value) {
  if (value % of != 0) refuse(names, operand, "a multiple of " + std::to_string(of), std::to_string(value));
}

void check_epsilon(const Names& names, float eps) {
  if (!(eps >= 0)) refuse(names, "eps", "a value of at least 0", std::to_string(eps));
}

void check_count(const Names& names, const char* operand, std::int64_t asked, std::size_t found) {
  if (static_cast<std::size_t>(asked) != found) refuse(names, operand, std::to_string(asked) + " values", std::to_string(found));
}

void check_rotation(const Names& names, Rotation rotation, std::int64_t head_dim) {
  const bool power = head_dim >= 16 && head_dim <= 256 && (head_dim & (head_dim - 1)) == 0;
  if (rotation == Rotation::kHadamard && !power)
    refuse(names, "rotation fwht", "heads of a power of two from 16 to 256", std::to_string(head_dim));
  if (rotation == Rotation::kSigned && (head_dim < 128 || head_dim % 128 != 0))
    refuse(names, "rotation signed", "heads of a multiple of 128", std::to_string(head_dim));
}

bool empty(const ConstRows& x) { return x.rows == 0 || x.dim == 0; }

void check_heads(const Names& names, std::int64_t key_heads, std::int64_t value_heads, std::int64_t head_dim) {
  check_at_least(names, "key_heads", 0, key_heads);
  check_at_least(names, "value_heads", 0, value_heads);
  if (head_dim != 128) refuse(names, "head_dim", "128", std::to_string(head_dim));
  if (key_heads == 0 ? value_heads != 0 : value_heads % key_heads != 0)
    refuse(names, "value_heads", "a multiple of the " + std::to_string(key_heads) + " key heads", std::to_string(value_heads));
}

void check_scan(const Names& names, const GdnScan& scan, const Rows& out) {
  check_heads(names, scan.key_heads, scan.value_heads, scan.head_dim);
  const std::int64_t tokens = out.rows;
  check_rows(names, "out", out, tokens, scan.value_heads * scan.head_dim);
  check_rows(names, "q", scan.q, tokens, scan.key_heads * scan.head_dim);
  check_rows(names, "k", scan.k, tokens, scan.key_heads * scan.head_dim);
  check_rows(names, "v", scan.v, tokens, scan.value_heads * scan.head_dim);
  check_rows(names, "g", scan.g, tokens, scan.value_heads);
  check_rows(names, "beta", scan.beta, tokens, scan.value_heads);
  check_pointer(names, "state", scan.state, scan.value_heads > 0);
}

void check_optional(const Names& names, const char* operand, const Rows& x, std::int64_t rows, std::int64_t dim) {
  if (x.data != nullptr) check_rows(names, operand, x, rows, dim);
}

void check_mixer(const Names& names, const GdnMixer& mixer, const Rows& out) {
  check_heads(names, mixer.key_heads, mixer.value_heads, mixer.head_dim);
  const std::int64_t tokens = out.rows, heads = mixer.value_heads, dim = mixer.head_dim, channels = (2 * mixer.key_heads + heads) * dim;
  check_rows(names, "out", out, tokens, heads * dim);
  check_rows(names, "mixed", mixer.mixed, tokens, channels);
  check_matrix(names, "conv", mixer.conv, 1, channels, 4);
  if (mixer.conv.dtype != DType::kF32) refuse(names, "conv", "f32", describe(mixer.conv));
  check_rows(names, "a", mixer.a, tokens, heads);
  check_rows(names, "b", mixer.b, tokens, heads);
  check_rows(names, "z", mixer.z, tokens, heads * dim);
  check_epsilon(names, mixer.norm_eps);
  check_pointer(names, "ssm_a", mixer.ssm_a, heads > 0);
  check_pointer(names, "dt_bias", mixer.dt_bias, heads > 0);
  check_pointer(names, "norm", mixer.norm, heads > 0);
  check_pointer(names, "conv_state", mixer.conv_state, heads > 0);
  check_pointer(names, "state", mixer.state, heads > 0);
  check_optional(names, "conv_out", mixer.conv_out, tokens, channels);
  check_optional(names, "g", mixer.g, tokens, heads);
  check_optional(names, "beta", mixer.beta, tokens, heads);
}

// Also refuses an id that no expert has; the count of different experts is what the weights' traffic depends on. Of ids that the host cannot
// read: as many as there can be.
std::int64_t count_experts(Context& context, const Names& names, const MoeExperts& moe) {
  const std::int64_t experts = moe.gate.experts();
  if (!context.ops.host_memory) return std::min(experts, static_cast<std::int64_t>(moe.ids.size()));
  std::byte* hit = context.workspace.bytes("op.experts_hit", static_cast<std::size_t>(experts));
  std::fill_n(hit, experts, std::byte{0});
  std::int64_t different = 0;
  for (const std::int32_t id : moe.ids) {
    if (id < 0 || id >= experts) refuse(names, "ids", "ids of 0 .. " + std::to_string(experts - 1), std::to_string(id));
    different += hit[id] == std::byte{0};
    hit[id] = std::byte{1};
  }
  return different;
}

}  // namespace

void embed(Context& context, const Tensor& table, std::int64_t first_row, std::span<const std::int32_t> ids, Rows out) {
  static constexpr Names kNames CROSSOVER_NAMES(embed);
  check_matrix(kNames, "table", table, 1, table.rows(), table.cols());
  check_at_least(kNames, "first_row", 0, first_row);
  check_rows(kNames, "out", out, out.rows, table.cols());
  check_count(kNames, "ids", out.rows, ids.size());
  if (empty(out)) return;
  count(context, kNames, cost::embed(table, out));
  context.ops.embed(context, table, first_row, ids, out);
}

void rms_norm(Context& context, ConstRows x, const float* weight, float eps, Rows out) {
  static constexpr Names kNames CROSSOVER_NAMES(rms_norm);
  check_rows(kNames, "x", x);
  check_rows(kNames, "out", out, x.rows, x.dim);
  check_pointer(kNames, "weight", weight, x.dim > 0);
  check_epsilon(kNames, eps);
  if (empty(x)) return;
  count(context, kNames, cost::rms_norm(x));
  context.ops.rms_norm(context, x, weight, eps, out);
}

void add_rms_norm(Context& context, Rows x, ConstRows y, const float* weight, float eps, Rows out) {
  static constexpr Names kNames CROSSOVER_NAMES(add_rms_norm);
  check_rows(kNames, "x", x);
  check_rows(kNames, "y", y, x.rows, x.dim);
  check_rows(kNames, "out", out, x.rows, x.dim);
  check_pointer(kNames, "weight", weight, x.dim > 0);
  check_epsilon(kNames, eps);
  if (empty(x)) return;
  count(context, kNames, cost::add_rms_norm(x));
  context.ops.add_rms_norm(context, x, y, weight, eps, out);
}

void l2_norm(Context& context, ConstRows x, float eps, float scale, Rows out) {
  static constexpr Names kNames CROSSOVER_NAMES(l2_norm);
  check_rows(kNames, "x", x);
  check_rows(kNames, "out", out, x.rows, x.dim);
  check_epsilon(kNames, eps);
  if (empty(x)) return;
  count(context, kNames, cost::l2_norm(x));
  context.ops.l2_norm(context, x, eps, scale, out);
}

void matmul(Context& context, ConstRows x, const Tensor& weight, Rows out) {
  static constexpr Names kNames CROSSOVER_NAMES(matmul);
  check_rows(kNames, "x", x);
  check_matrix(kNames, "weight", weight, 1, weight.rows(), x.dim);
  check_rows(kNames, "out", out, x.rows, weight.rows());
  if (empty(out)) return;
  count(context, kNames, cost::matmul(x, weight, out));
  context.ops.matmul(context, x, weight, out);
}

void matmuls(Context& context, ConstRows x, std::span<const Projection> projections) {
  static constexpr Names kNames CROSSOVER_NAMES(matmuls);
  check_rows(kNames, "x", x);
  if (projections.size() > kMaxProjections)
    refuse(kNames, "projections", "at most " + std::to_string(kMaxProjections), std::to_string(projections.size()));
  bool any = false;
  for (const Projection& p : projections) {
    check_matrix(kNames, "weight", p.weight, 1, p.weight.rows(), x.dim);
    if (p.up.data) check_matrix(kNames, "up", p.up, 1, p.weight.rows(), x.dim);
    check_rows(kNames, "out", p.out, x.rows, p.weight.rows());
    any |= !empty(p.out);
  }
  if (!any) return;
  count(context, kNames, cost::matmuls(x, projections));
  context.ops.matmuls(context, x, projections);
}

void add(Context& context, Rows x, ConstRows y) {
  static constexpr Names kNames CROSSOVER_NAMES(add);
  check_rows(kNames, "x", x);
  check_rows(kNames, "y", y, x.rows, x.dim);
  if (empty(x)) return;
  count(context, kNames, cost::add(x));
  context.ops.add(context, x, y);
}

void add_gated(Context& context, Rows x, ConstRows y, ConstRows gate) {
  static constexpr Names kNames CROSSOVER_NAMES(add_gated);
  check_rows(kNames, "x", x);
  check_rows(kNames, "y", y, x.rows, x.dim);
  check_rows(kNames, "gate", gate, x.rows, 1);
  if (empty(x)) return;
  count(context, kNames, cost::add_gated(x));
  context.ops.add_gated(context, x, y, gate);
}

void swiglu(Context& context, ConstRows gate, ConstRows up, Rows out) {
  static constexpr Names kNames CROSSOVER_NAMES(swiglu);
  check_rows(kNames, "out", out);
  check_rows(kNames, "gate", gate, out.rows, out.dim);
  check_rows(kNames, "up", up, out.rows, out.dim);
  if (empty(out)) return;
  count(context, kNames, cost::swiglu(out));
  context.ops.swiglu(context, gate, up, out);
}

void sigmoid_gate(Context& context, Rows x, ConstRows gate) {
  static constexpr Names kNames CROSSOVER_NAMES(sigmoid_gate);
  check_rows(kNames, "x", x);
  check_rows(kNames, "gate", gate, x.rows, x.dim);
  if (empty(x)) return;
  count(context, kNames, cost::sigmoid_gate(x));
  context.ops.sigmoid_gate(context, x, gate);
}

void conv1d_silu(Context& context, ConstRows x, const Tensor& weight, float* state, Rows out) {
  static constexpr Names kNames CROSSOVER_NAMES(conv1d_silu);
  check_rows(kNames, "x", x);
  check_rows(kNames, "out", out, x.rows, x.dim);
  check_matrix(kNames, "weight", weight, 1, x.dim, 4);
  if (weight.dtype != DType::kF32) refuse(kNames, "weight", "f32", describe(weight));
  check_pointer(kNames, "state", state, x.dim > 0);
  if (empty(x)) return;
  count(context, kNames, cost::conv1d_silu(x, weight));
  context.ops.conv1d_silu(context, x, weight, state, out);
}

void gdn_gates(Context& context, ConstRows a, ConstRows b, const float* ssm_a, const float* dt_bias, Rows g, Rows beta) {
  static constexpr Names kNames CROSSOVER_NAMES(gdn_gates);
  check_rows(kNames, "a", a);
  check_rows(kNames, "b", b, a.rows, a.dim);
  check_rows(kNames, "g", g, a.rows, a.dim);
  check_rows(kNames, "beta", beta, a.rows, a.dim);
  check_pointer(kNames, "ssm_a", ssm_a, a.dim > 0);
  check_pointer(kNames, "dt_bias", dt_bias, a.dim > 0);
  if (empty(a)) return;
  count(context, kNames, cost::gdn_gates(a));
  context.ops.gdn_gates(context, a, b, ssm_a, dt_bias, g, beta);
}

void gdn_recurrent(Context& context, const GdnScan& scan, Rows out) {
  static constexpr Names kNames CROSSOVER_NAMES(gdn_recurrent);
  check_scan(kNames, scan, out);
  if (empty(out)) return;
  count(context, kNames, cost::gdn_recurrent(scan, out));
  context.ops.gdn_recurrent(context, scan, out);
}

void gdn_chunked(Context& context, const GdnScan& scan, Rows out) {
  static constexpr Names kNames CROSSOVER_NAMES(gdn_chunked);
  check_scan(kNames, scan, out);
  if (empty(out)) return;
  count(context, kNames, cost::gdn_chunked(scan, out));
  context.ops.gdn_chunked(context, scan, out);
}

void gdn_mixer(Context& context, const GdnMixer& mixer, Rows out) {
  static constexpr Names kNames CROSSOVER_NAMES(gdn_mixer);
  check_mixer(kNames, mixer, out);
  if (empty(out)) return;
  count(context, kNames, cost::gdn_mixer(mixer, out));
  context.ops.gdn_mixer(context, mixer, out);
}

void gated_rms_norm(Context& context, ConstRows x, const float* weight, ConstRows z, float eps, Rows out) {
  static constexpr Names kNames CROSSOVER_NAMES(gated_rms_norm);
  check_rows(kNames, "x", x);
  check_rows(kNames, "z", z, x.rows, x.dim);
  check_rows(kNames, "out", out, x.rows, x.dim);
  check_pointer(kNames, "weight", weight, x.dim > 0);
  check_epsilon(kNames, eps);
  if (empty(x)) return;
  count(context, kNames, cost::gated_rms_norm(x));
  context.ops.gated_rms_norm(context, x, weight, z, eps, out);
}

void rope_angles(Context& context, std::int64_t first_position, double theta, Rows out) {
  static constexpr Names kNames CROSSOVER_NAMES(rope_angles);
  check_at_least(kNames, "first_position", 0, first_position);
  if (!(theta > 0)) refuse(kNames, "theta", "a value above 0", std::to_string(theta));
  check_rows(kNames, "out", out);
  check_multiple(kNames, "dim of out", 2, out.dim);
  if (empty(out)) return;
  count(context, kNames, cost::rope_angles(out));
  context.ops.rope_angles(context, first_position, theta, out);
}

void norm_rope(Context& context, Rows x, const float* weight, float eps, std::int64_t heads, ConstRows angles) {
  static constexpr Names kNames CROSSOVER_NAMES(norm_rope);
  check_rows(kNames, "x", x);
  check_pointer(kNames, "weight", weight, x.dim > 0);
  check_epsilon(kNames, eps);
  check_at_least(kNames, "heads", 1, heads);
  check_multiple(kNames, "rows of x", heads, x.rows);
  check_rows(kNames, "angles", angles, x.rows / heads, angles.dim);
  check_multiple(kNames, "dim of angles", 2, angles.dim);
  check_at_least(kNames, "dim of x", angles.dim, x.dim);
  if (empty(x)) return;
  count(context, kNames, cost::norm_rope(x, angles));
  context.ops.norm_rope(context, x, weight, eps, heads, angles);
}

void rotate(Context& context, Rows x, Rotation rotation, bool back) {
  static constexpr Names kNames CROSSOVER_NAMES(rotate);
  check_rows(kNames, "x", x);
  check_rotation(kNames, rotation, x.dim);
  if (empty(x) || rotation == Rotation::kNone) return;
  count(context, kNames, cost::rotate(x, rotation));
  context.ops.rotate(context, x, rotation, back);
}

void kv_write(Context& context, ConstRows x, const KvCache& cache, std::int64_t first_row) {
  static constexpr Names kNames CROSSOVER_NAMES(kv_write);
  check_rows(kNames, "x", x);
  check_matrix(kNames, "cache", cache.rows, 1, cache.rows.rows(), x.dim);
  check_at_least(kNames, "first_row", 0, first_row);
  if (x.rows > cache.rows.rows() - first_row)
    refuse(kNames, "cache", "room for rows " + std::to_string(first_row) + " + " + std::to_string(x.rows), describe(cache.rows));
  check_rotation(kNames, cache.rotation, cache.head_dim);
  if (cache.rotation != Rotation::kNone) check_multiple(kNames, "dim of x", cache.head_dim, x.dim);
  if (empty(x)) return;
  count(context, kNames, cost::kv_write(x, cache));
  context.ops.kv_write(context, x, cache, first_row);
}

void attention(Context& context, const Attention& a, Rows out) {
  static constexpr Names kNames CROSSOVER_NAMES(attention);
  check_at_least(kNames, "heads", 1, a.heads);
  check_at_least(kNames, "kv_heads", 1, a.kv_heads);
  check_multiple(kNames, "heads", a.kv_heads, a.heads);
  check_at_least(kNames, "past", 0, a.past);
  check_rows(kNames, "out", out);
  check_multiple(kNames, "rows of out", a.heads, out.rows);
  check_rows(kNames, "q", a.q, out.rows, out.dim);
  if (a.gate.data) check_rows(kNames, "gate", a.gate, out.rows, out.dim);
  for (const auto& [operand, cache] : {std::pair{"keys", &a.keys}, std::pair{"values", &a.values}}) {
    const Tensor& rows = cache->rows;
    check_matrix(kNames, operand, rows, 1, rows.rows(), a.kv_heads * out.dim);
    if (out.dim % info(rows.dtype).block_values != 0)  // a head's columns are read by themselves
      refuse(kNames, operand, "heads of whole blocks of " + std::to_string(info(rows.dtype).block_values), std::to_string(out.dim));
    if (out.rows / a.heads > rows.rows() - a.past)
      refuse(kNames, operand, std::to_string(a.past) + " + " + std::to_string(out.rows / a.heads) + " rows", describe(rows));
    check_rotation(kNames, cache->rotation, out.dim);
    if (cache->rotation != Rotation::kNone && cache->head_dim != out.dim)
      refuse(kNames, operand, "heads of " + std::to_string(out.dim) + " rotated", std::to_string(cache->head_dim));
  }
  if (empty(out)) return;
  count(context, kNames, cost::attention(a, out));
  context.ops.attention(context, a, out);
}

void moe_route(Context& context, ConstRows logits, std::int64_t k, bool normalize, std::span<std::int32_t> ids, std::span<float> weights) {
  static constexpr Names kNames CROSSOVER_NAMES(moe_route);
  check_rows(kNames, "logits", logits);
  check_at_least(kNames, "k", 1, k);
  check_at_least(kNames, "experts (dim of logits)", k, logits.dim);
  check_count(kNames, "ids", logits.rows * k, ids.size());
  check_count(kNames, "weights", logits.rows * k, weights.size());
  if (empty(logits)) return;
  count(context, kNames, cost::moe_route(logits, k));
  context.ops.moe_route(context, logits, k, normalize, ids, weights);
}

void moe_experts(Context& context, const MoeExperts& moe, Rows out) {
  static constexpr Names kNames CROSSOVER_NAMES(moe_experts);
  check_rows(kNames, "x", moe.x);
  check_rows(kNames, "out", out, moe.x.rows, moe.x.dim);
  const std::int64_t experts = moe.gate.experts(), width = moe.gate.rows();
  check_matrix(kNames, "gate", moe.gate, experts, width, moe.x.dim);
  check_matrix(kNames, "up", moe.up, experts, width, moe.x.dim);
  check_matrix(kNames, "down", moe.down, experts, moe.x.dim, width);
  check_count(kNames, "weights", static_cast<std::int64_t>(moe.ids.size()), moe.weights.size());
  if (empty(out)) return;
  check_multiple(kNames, "number of ids", moe.x.rows, static_cast<std::int64_t>(moe.ids.size()));
  count(context, kNames, cost::moe_experts(moe, count_experts(context, kNames, moe), out));
  context.ops.moe_experts(context, moe, out);
}

}  // namespace crossover::op
