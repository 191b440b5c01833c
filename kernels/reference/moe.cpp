#include <algorithm>
#include <vector>

#include "kernels/formats/formats.h"
#include "kernels/reference/loops.h"
#include "kernels/reference/reference.h"

namespace crossover::reference {
namespace {

// The k largest, by falling logit; of equals the lowest index first.
void top_k(const float* logits, std::int64_t count, std::int64_t k, std::int32_t* ids) {
  std::vector<bool> taken(static_cast<std::size_t>(count));
  for (std::int64_t n = 0; n < k; ++n) {
    std::int64_t best = -1;
    for (std::int64_t e = 0; e < count; ++e)
      if (!taken[e] && (best < 0 || logits[e] > logits[best])) best = e;
    taken[best] = true;
    ids[n] = static_cast<std::int32_t>(best);
  }
}

struct Routed {
  std::int64_t token;
  double weight;
};

std::vector<Routed> tokens_of(const MoeExperts& moe, std::int64_t expert) {
  const std::size_t k = moe.ids.size() / static_cast<std::size_t>(moe.x.rows);
  std::vector<Routed> routed;
  for (std::size_t i = 0; i < moe.ids.size(); ++i)
    if (moe.ids[i] == expert) routed.push_back({static_cast<std::int64_t>(i / k), moe.weights[i]});
  return routed;
}

// Calls body(row index, row as f32) for each row of a matrix.
template <class Body>
void for_rows(const Tensor& matrix, Body body) {
  std::vector<float> row(static_cast<std::size_t>(matrix.cols()));
  for (std::int64_t n = 0; n < matrix.rows(); ++n) {
    dequantize_fn(matrix.dtype)(matrix.row(n), row.data(), matrix.cols());
    body(n, row.data());
  }
}

}  // namespace

void moe_route(Context&, ConstRows logits, std::int64_t k, bool normalize, std::span<std::int32_t> ids, std::span<float> weights) {
  for (std::int64_t t = 0; t < logits.rows; ++t) {
    const float* row = logits.row(t);
    std::int32_t* chosen = ids.data() + t * k;
    top_k(row, logits.dim, k, chosen);
    const double top = row[chosen[0]];
    double sum = 0;
    if (normalize) for (std::int64_t n = 0; n < k; ++n) sum += std::exp(row[chosen[n]] - top);
    else for (std::int64_t e = 0; e < logits.dim; ++e) sum += std::exp(row[e] - top);
    for (std::int64_t n = 0; n < k; ++n) weights[t * k + n] = static_cast<float>(std::exp(row[chosen[n]] - top) / sum);
  }
}

void moe_experts(Context&, const MoeExperts& moe, Rows out) {
  const std::int64_t width = moe.gate.rows(), hidden = moe.x.dim;
  std::vector<double> total(static_cast<std::size_t>(moe.x.rows * hidden));
  for (std::int64_t e = 0; e < moe.gate.experts(); ++e) {  // ascending, so each token sums its experts in ascending id order
    const std::vector<Routed> routed = tokens_of(moe, e);
    if (routed.empty()) continue;
    std::vector<double> inner(routed.size() * static_cast<std::size_t>(width));  // [tokens of e, Im]
    for_rows(moe.gate.expert(e), [&](std::int64_t n, const float* row) {
      for (std::size_t r = 0; r < routed.size(); ++r) inner[r * width + n] = silu(dot(moe.x.row(routed[r].token), row, hidden));
    });
    for_rows(moe.up.expert(e), [&](std::int64_t n, const float* row) {
      for (std::size_t r = 0; r < routed.size(); ++r) inner[r * width + n] *= dot(moe.x.row(routed[r].token), row, hidden);
    });
    for_rows(moe.down.expert(e), [&](std::int64_t n, const float* row) {
      for (std::size_t r = 0; r < routed.size(); ++r)
        total[routed[r].token * hidden + n] += routed[r].weight * dot(inner.data() + r * width, row, width);
    });
  }
  for (std::int64_t t = 0; t < out.rows; ++t)
    for (std::int64_t i = 0; i < hidden; ++i) out.row(t)[i] = static_cast<float>(total[t * hidden + i]);
}

}  // namespace crossover::reference
