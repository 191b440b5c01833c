#include <algorithm>
#include <vector>

#include "kernels/formats/formats.h"
#include "kernels/reference/rotate.h"

namespace crossover::reference {
namespace {

// Columns of one kv head in the first `count` rows of a cache, as f32 [count, hd].
std::vector<float> head_rows(const Tensor& cache, std::int64_t head, std::int64_t count, std::int64_t dim) {
  std::vector<float> rows(static_cast<std::size_t>(count * dim));
  const std::int64_t offset = row_bytes(cache.dtype, head * dim);
  for (std::int64_t r = 0; r < count; ++r) dequantize_fn(cache.dtype)(cache.row(r) + offset, rows.data() + r * dim, dim);
  return rows;
}

// Scores become softmax weights in place.
void softmax(std::vector<double>& scores) {
  const double top = *std::max_element(scores.begin(), scores.end());
  double sum = 0;
  for (double& score : scores) sum += score = std::exp(score - top);
  for (double& score : scores) score /= sum;
}

}  // namespace

void kv_write(Context&, ConstRows x, const KvCache& cache, std::int64_t first_row) {
  std::vector<double> turned;
  std::vector<float> row;
  for (std::int64_t t = 0; t < x.rows; ++t) {
    turned.assign(x.row(t), x.row(t) + x.dim);
    for (std::int64_t i = 0; cache.rotation != Rotation::kNone && i < x.dim; i += cache.head_dim)
      rotate_row(turned.data() + i, cache.head_dim, cache.rotation, false);
    row.assign(turned.begin(), turned.end());
    quantize_fn(cache.rows.dtype)(row.data(), cache.rows.row(first_row + t), x.dim);
  }
}

void attention(Context&, const Attention& a, Rows out) {
  const std::int64_t dim = out.dim, tokens = out.rows / a.heads, group = a.heads / a.kv_heads;
  std::vector<double> scores, q, sum(static_cast<std::size_t>(dim));
  for (std::int64_t kv = 0; kv < a.kv_heads; ++kv) {
    const std::vector<float> keys = head_rows(a.keys.rows, kv, a.past + tokens, dim);
    const std::vector<float> values = head_rows(a.values.rows, kv, a.past + tokens, dim);
    for (std::int64_t t = 0; t < tokens; ++t)
      for (std::int64_t head = kv * group; head < (kv + 1) * group; ++head) {
        const std::int64_t row = t * a.heads + head;
        q.assign(a.q.row(row), a.q.row(row) + dim);
        rotate_row(q.data(), dim, a.keys.rotation, false);
        scores.resize(static_cast<std::size_t>(a.past + t + 1));
        for (std::size_t j = 0; j < scores.size(); ++j) scores[j] = static_cast<double>(a.scale) * dot(q.data(), &keys[j * dim], dim);
        softmax(scores);
        std::fill(sum.begin(), sum.end(), 0.0);
        for (std::size_t j = 0; j < scores.size(); ++j)
          for (std::int64_t i = 0; i < dim; ++i) sum[i] += scores[j] * values[j * dim + i];
        rotate_row(sum.data(), dim, a.values.rotation, true);
        for (std::int64_t i = 0; i < dim; ++i)
          out.row(row)[i] = static_cast<float>(a.gate.data ? sum[i] * sigmoid(a.gate.row(row)[i]) : sum[i]);
      }
  }
}

}  // namespace crossover::reference
