// Sparse experts: tokens are sorted by expert, each expert multiplies its rows once, and a token's results are added in ascending
// expert id. Nothing depends on the order in which threads finish, and nothing is allocated once the workspace has grown.
#include <algorithm>
#include <cmath>
#include <new>
#include <stdexcept>
#include <string>

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

// The tokens of a pass sorted by expert. "Position": place of a (token, choice) pair in ascending expert id, of one expert in
// ascending token. All lists lie in the workspace.
struct Buckets {
  std::int64_t experts, k, hit = 0;
  std::int64_t* first = nullptr;     // [E + 1]: positions of expert e are first[e] .. first[e + 1] - 1
  std::int32_t* busiest = nullptr;   // [hit]: experts that have tokens, most tokens first, equals by id
  std::int32_t* token = nullptr;     // [T*k], by position
  std::int32_t* position = nullptr;  // [T*k]: those of a token in ascending order, so that its sum has one order
  float* weight = nullptr;           // [T*k], beside `position`
};

void count_tokens(std::span<const std::int32_t> ids, Buckets& b) {
  std::fill_n(b.first, b.experts + 1, 0);
  for (const std::int32_t id : ids) {
    if (id < 0 || id >= b.experts)
      throw std::invalid_argument("moe_experts: expert id " + std::to_string(id) + " is not in 0 .. " + std::to_string(b.experts - 1));
    ++b.first[id + 1];
  }
  for (std::int64_t e = 0; e < b.experts; ++e)
    if (b.first[e + 1] > 0) b.busiest[b.hit++] = static_cast<std::int32_t>(e);
  std::sort(b.busiest, b.busiest + b.hit, [&](std::int32_t x, std::int32_t y) {
    return b.first[x + 1] != b.first[y + 1] ? b.first[x + 1] > b.first[y + 1] : x < y;
  });
  for (std::int64_t e = 0; e < b.experts; ++e) b.first[e + 1] += b.first[e];
}

Buckets sort_by_expert(Context& context, const MoeExperts& moe) {
  const Range range(context.trace, "moe.bucket");
  const auto pairs = static_cast<std::int64_t>(moe.ids.size()), tokens = moe.x.rows, experts = moe.gate.experts();
  auto list = [&]<class T>(T*& to, const char* name, std::int64_t count) {
    to = reinterpret_cast<T*>(context.workspace.bytes(name, static_cast<std::size_t>(count) * sizeof(T)));
  };
  Buckets b{experts, pairs / tokens};
  std::int64_t *next, *seen;
  std::int32_t* pair_at;
  list(b.first, "moe.first", experts + 1), list(b.busiest, "moe.busiest", experts), list(next, "moe.next", experts);
  list(b.token, "moe.token", pairs), list(b.position, "moe.position", pairs), list(b.weight, "moe.weight", pairs);
  list(pair_at, "moe.pair_at", pairs), list(seen, "moe.seen", tokens);
  count_tokens(moe.ids, b);
  std::copy_n(b.first, experts, next);
  for (std::int64_t pair = 0; pair < pairs; ++pair) {
    const std::int64_t at = next[moe.ids[static_cast<std::size_t>(pair)]]++;
    pair_at[at] = static_cast<std::int32_t>(pair);
    b.token[at] = static_cast<std::int32_t>(pair / b.k);
  }
  std::fill_n(seen, tokens, 0);
  for (std::int64_t at = 0; at < pairs; ++at) {
    const std::int64_t t = b.token[at], place = t * b.k + seen[t]++;
    b.position[place] = static_cast<std::int32_t>(at);
    b.weight[place] = moe.weights[static_cast<std::size_t>(pair_at[at])];
  }
  return b;
}

// Experts with most tokens first, so that no thread is left alone with a long one. Rows of `out` lie by position.
class ExpertProducts {
 public:
  ExpertProducts(Context& context, const Buckets& buckets)
      : context_(context), buckets_(buckets),
        operands_(reinterpret_cast<Operand*>(context.workspace.bytes("moe.operands", static_cast<std::size_t>(buckets.hit) * sizeof(Operand)))),
        products_(reinterpret_cast<Product*>(context.workspace.bytes("moe.products", static_cast<std::size_t>(buckets.hit) * sizeof(Product)))) {}

  // Rows of x are found by token, or lie by position already (`gathered`). With `up`, out is the gated product.
  void multiply(ConstRows x, bool gathered, const Tensor& weight, const Tensor* up, Rows out) {
    const auto count = static_cast<std::size_t>(buckets_.hit);
    for (std::size_t i = 0; i < count; ++i) {
      const std::int64_t e = buckets_.busiest[i], first = buckets_.first[e], rows = buckets_.first[e + 1] - first;
      new (operands_ + i) Operand(gathered ? Operand{x.slice(first, rows), rows} : Operand{x, rows, buckets_.token + first});
      new (products_ + i) Product{i, weight.expert(e), out.slice(first, rows), up ? up->expert(e) : Tensor{}};
    }
    cpu::multiply(context_, {operands_, count}, {products_, count});
  }

 private:
  Context& context_;
  const Buckets& buckets_;
  Operand* operands_;  // [hit]
  Product* products_;
};

void activate(Context& context, Rows gate, ConstRows up) {
  const Range range(context.trace, "moe.activation");
  context.pool.parallel_for(gate.rows, std::max<std::int64_t>(1, kTaskValues / gate.dim), [&](std::int64_t begin, std::int64_t end) {
    context.micro->rows->swiglu(gate.row(begin), up.row(begin), (end - begin) * gate.dim, gate.row(begin));
  });
}

// silu(gate) * up of every pair. Of one type, the activation is part of the task that made both.
Rows gate_up(Context& context, const Buckets& buckets, const MoeExperts& moe) {
  const auto pairs = static_cast<std::int64_t>(moe.ids.size());
  const std::int64_t width = moe.gate.rows();
  const Rows gate(context.workspace.floats("moe.gate", static_cast<std::size_t>(pairs * width)), pairs, width);
  const bool fused = moe.gate.dtype == moe.up.dtype && moe.gate.layout == moe.up.layout;
  context.counters.path("moe.activation", fused ? "in gate_up" : "apart");
  ExpertProducts experts(context, buckets);
  if (fused) {
    const Range range(context.trace, "moe.gate_up");
    experts.multiply(moe.x, false, moe.gate, &moe.up, gate);
    return gate;
  }
  const Rows up(context.workspace.floats("moe.up", static_cast<std::size_t>(pairs * width)), pairs, width);
  {
    const Range range(context.trace, "moe.gate_up");
    experts.multiply(moe.x, false, moe.gate, nullptr, gate);
    experts.multiply(moe.x, false, moe.up, nullptr, up);
  }
  activate(context, gate, up);
  return gate;
}

void combine(Context& context, const Buckets& buckets, ConstRows expert_out, Rows out) {
  const Range range(context.trace, "moe.combine");
  const std::int64_t k = buckets.k, grain = std::max<std::int64_t>(1, kTaskValues / (k * out.dim));
  context.pool.parallel_for(out.rows, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t) {
      std::fill_n(out.row(t), out.dim, 0.0f);
      for (std::int64_t i = t * k; i < (t + 1) * k; ++i)
        context.micro->rows->axpy(out.row(t), buckets.weight[i], expert_out.row(buckets.position[i]), out.dim);
    }
  });
}

void run_experts(Context& context, const MoeExperts& moe, Rows out) {
  const auto pairs = static_cast<std::int64_t>(moe.ids.size());
  const Buckets buckets = sort_by_expert(context, moe);
  const Rows inner = gate_up(context, buckets, moe);
  const Rows expert_out(context.workspace.floats("moe.out", static_cast<std::size_t>(pairs * out.dim)), pairs, out.dim);
  {
    const Range range(context.trace, "moe.down");
    ExpertProducts(context, buckets).multiply(inner, true, moe.down, nullptr, expert_out);
  }
  combine(context, buckets, expert_out, out);
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
  const std::size_t pairs = moe.ids.size();
  if (moe.gate.rows() == 0 || pairs == 0 || out.dim == 0) {
    for (std::int64_t t = 0; t < out.rows; ++t) std::fill_n(out.row(t), out.dim, 0.0f);
    return;
  }
  context.counters.path("moe", moe.mode == MoeMode::kGrouped ? "grouped" : "per-token");
  if (moe.mode == MoeMode::kGrouped) return run_experts(context, moe, out);
  const std::size_t k = pairs / static_cast<std::size_t>(moe.x.rows);
  for (std::int64_t t = 0; t < moe.x.rows; ++t) {
    const std::size_t first = static_cast<std::size_t>(t) * k;
    run_experts(context, {moe.x.slice(t, 1), moe.ids.subspan(first, k), moe.weights.subspan(first, k), moe.gate, moe.up, moe.down}, out.slice(t, 1));
  }
}

}  // namespace crossover::cpu
