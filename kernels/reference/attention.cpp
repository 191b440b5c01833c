#include <algorithm>
#include <vector>

#include "kernels/formats/formats.h"
#include "kernels/reference/loops.h"
#include "kernels/reference/reference.h"

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

void kv_write(Context&, ConstRows x, const Tensor& cache, std::int64_t first_row) {
  for (std::int64_t t = 0; t < x.rows; ++t) quantize_fn(cache.dtype)(x.row(t), cache.row(first_row + t), x.dim);
}

void attention(Context&, const Attention& a, Rows out) {
  const std::int64_t dim = out.dim, tokens = out.rows / a.heads, group = a.heads / a.kv_heads;
  std::vector<double> scores, sum(static_cast<std::size_t>(dim));
  for (std::int64_t kv = 0; kv < a.kv_heads; ++kv) {
    const std::vector<float> keys = head_rows(a.keys, kv, a.past + tokens, dim);
    const std::vector<float> values = head_rows(a.values, kv, a.past + tokens, dim);
    for (std::int64_t t = 0; t < tokens; ++t)
      for (std::int64_t head = kv * group; head < (kv + 1) * group; ++head) {
        const float* q = a.q.row(t * a.heads + head);
        scores.resize(static_cast<std::size_t>(a.past + t + 1));
        for (std::size_t j = 0; j < scores.size(); ++j) scores[j] = static_cast<double>(a.scale) * dot(q, &keys[j * dim], dim);
        softmax(scores);
        std::fill(sum.begin(), sum.end(), 0.0);
        for (std::size_t j = 0; j < scores.size(); ++j)
          for (std::int64_t i = 0; i < dim; ++i) sum[i] += scores[j] * values[j * dim + i];
        for (std::int64_t i = 0; i < dim; ++i) out.row(t * a.heads + head)[i] = static_cast<float>(sum[i]);
      }
  }
}

}  // namespace crossover::reference
