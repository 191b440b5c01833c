// Sparse experts: tokens are sorted by expert, each expert multiplies its rows once, and a token's results are added in ascending
// expert id. Nothing depends on the order in which threads finish.
#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/micro.h"
#include "kernels/cpu/multiply.h"

namespace crossover::cpu {
namespace {

constexpr std::int64_t kTaskValues = 16 * 1024;  // f32 values of one task of a row operation

// Keeps the k best of a row in falling order; an equal logit stays behind the lower index that came before it.
void choose(const float* logits, std::int64_t experts, std::int64_t k, std::int32_t* ids) {
  std::int64_t kept = 0;
  for (std::int64_t e = 0; e < experts; ++e) {
    std::int64_t place = kept < k ? kept++ : k;
    if (place == k && !(logits[e] > logits[ids[k - 1]])) continue;
    place = std::min(place, k - 1);
    for (; place > 0 && logits[e] > logits[ids[place - 1]]; --place) ids[place] = ids[place - 1];
    ids[place] = static_cast<std::int32_t>(e);
  }
}

void route_row(const float* logits, std::int64_t experts, std::int64_t k, bool normalize, std::int32_t* ids, float* weights) {
  choose(logits, experts, k, ids);
  const double top = logits[ids[0]];
  double sum = 0;
  if (normalize) for (std::int64_t n = 0; n < k; ++n) sum += std::exp(logits[ids[n]] - top);
  else for (std::int64_t e = 0; e < experts; ++e) sum += std::exp(logits[e] - top);
  for (std::int64_t n = 0; n < k; ++n) weights[n] = static_cast<float>(std::exp(logits[ids[n]] - top) / sum);
}

// (token, slot) pairs in ascending expert id, of one expert in ascending token.
struct Buckets {
  std::vector<std::int64_t> first;     // [E + 1]: pairs of expert e are first[e] .. first[e + 1] - 1
  std::vector<std::int32_t> token;     // [T*k], by sorted position
  std::vector<std::int32_t> position;  // [T*k], by pair: where it was sorted to
};

Buckets sort_by_expert(std::span<const std::int32_t> ids, std::int64_t experts, std::int64_t k) {
  Buckets b{std::vector<std::int64_t>(static_cast<std::size_t>(experts) + 1), std::vector<std::int32_t>(ids.size()), std::vector<std::int32_t>(ids.size())};
  for (const std::int32_t id : ids) {
    if (id < 0 || id >= experts)
      throw std::invalid_argument("moe_experts: expert id " + std::to_string(id) + " is not in 0 .. " + std::to_string(experts - 1));
    ++b.first[static_cast<std::size_t>(id) + 1];
  }
  for (std::size_t e = 1; e < b.first.size(); ++e) b.first[e] += b.first[e - 1];
  std::vector<std::int64_t> next(b.first.begin(), b.first.end() - 1);
  for (std::size_t pair = 0; pair < ids.size(); ++pair) {
    const auto at = static_cast<std::size_t>(next[static_cast<std::size_t>(ids[pair])]++);
    b.token[at] = static_cast<std::int32_t>(static_cast<std::int64_t>(pair) / k);
    b.position[pair] = static_cast<std::int32_t>(at);
  }
  return b;
}

// The products of every expert that has rows; `gathered` rows lie at their sorted position already, others are found by token.
void multiply_experts(Context& context, const Buckets& buckets, ConstRows x, bool gathered, std::span<const Tensor> weights, std::span<const Rows> outs) {
  std::vector<Operand> operands;
  std::vector<Product> products;
  for (std::int64_t e = 0; e < weights[0].experts(); ++e) {
    const std::int64_t first = buckets.first[static_cast<std::size_t>(e)], count = buckets.first[static_cast<std::size_t>(e) + 1] - first;
    if (count == 0) continue;
    operands.push_back(gathered ? Operand{x.slice(first, count), count} : Operand{x, count, buckets.token.data() + first});
    for (std::size_t w = 0; w < weights.size(); ++w) products.push_back({operands.size() - 1, weights[w].expert(e), outs[w].slice(first, count)});
  }
  multiply(context, operands, products);
}

void gate_up(Context& context, const Buckets& buckets, const MoeExperts& moe, Rows gate, Rows up) {
  const Range range(context.trace, "moe.gate_up");
  const Tensor weights[] = {moe.gate, moe.up};
  const Rows outs[] = {gate, up};
  if (moe.gate.dtype == moe.up.dtype) return multiply_experts(context, buckets, moe.x, false, weights, outs);
  for (std::size_t w = 0; w < 2; ++w) multiply_experts(context, buckets, moe.x, false, {weights + w, 1}, {outs + w, 1});
}

void activate(Context& context, Rows gate, ConstRows up) {
  const Range range(context.trace, "moe.activation");
  context.pool.parallel_for(gate.rows, std::max<std::int64_t>(1, kTaskValues / gate.dim), [&](std::int64_t begin, std::int64_t end) {
    context.micro->rows->swiglu(gate.row(begin), up.row(begin), (end - begin) * gate.dim, gate.row(begin));
  });
}

void combine(Context& context, const Buckets& buckets, std::span<const float> weights, ConstRows expert_out, std::int64_t k, Rows out) {
  const Range range(context.trace, "moe.combine");
  const std::int64_t grain = std::max<std::int64_t>(1, kTaskValues / (k * out.dim));
  std::int64_t* orders = reinterpret_cast<std::int64_t*>(
      context.workspace.bytes("moe.order", static_cast<std::size_t>(k * context.pool.threads()) * sizeof(std::int64_t)));
  context.pool.parallel_for(out.rows, grain, [&](std::int64_t begin, std::int64_t end) {
    std::int64_t* order = orders + k * ThreadPool::worker();
    for (std::int64_t t = begin; t < end; ++t) {
      for (std::int64_t j = 0; j < k; ++j) order[j] = t * k + j;
      std::sort(order, order + k, [&](std::int64_t a, std::int64_t b) {
        return buckets.position[static_cast<std::size_t>(a)] < buckets.position[static_cast<std::size_t>(b)];
      });
      std::fill_n(out.row(t), out.dim, 0.0f);
      for (std::int64_t j = 0; j < k; ++j) {
        const auto pair = static_cast<std::size_t>(order[j]);
        context.micro->rows->axpy(out.row(t), weights[pair], expert_out.row(buckets.position[pair]), out.dim);
      }
    }
  });
}

}  // namespace

void moe_route(Context& context, ConstRows logits, std::int64_t k, bool normalize, std::span<std::int32_t> ids, std::span<float> weights) {
  const std::int64_t grain = std::max<std::int64_t>(1, kTaskValues / 8 / std::max<std::int64_t>(1, logits.dim));
  context.pool.parallel_for(logits.rows, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t)
      route_row(logits.row(t), logits.dim, k, normalize, ids.data() + t * k, weights.data() + t * k);
  });
}

void moe_experts(Context& context, const MoeExperts& moe, Rows out) {
  const auto pairs = static_cast<std::int64_t>(moe.ids.size());
  const std::int64_t width = moe.gate.rows();
  if (width == 0 || pairs == 0 || out.dim == 0) {
    for (std::int64_t t = 0; t < out.rows; ++t) std::fill_n(out.row(t), out.dim, 0.0f);
    return;
  }
  const std::int64_t k = pairs / moe.x.rows;
  Buckets buckets;
  {
    const Range range(context.trace, "moe.bucket");
    buckets = sort_by_expert(moe.ids, moe.gate.experts(), k);
  }
  const Rows gate(context.workspace.floats("moe.gate", static_cast<std::size_t>(pairs * width)), pairs, width);
  const Rows up(context.workspace.floats("moe.up", static_cast<std::size_t>(pairs * width)), pairs, width);
  const Rows expert_out(context.workspace.floats("moe.out", static_cast<std::size_t>(pairs * out.dim)), pairs, out.dim);
  gate_up(context, buckets, moe, gate, up);
  activate(context, gate, up);
  {
    const Range range(context.trace, "moe.down");
    multiply_experts(context, buckets, gate, true, {&moe.down, 1}, {&expert_out, 1});
  }
  combine(context, buckets, moe.weights, expert_out, k, out);
}

}  // namespace crossover::cpu
