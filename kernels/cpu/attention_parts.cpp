#include "kernels/cpu/attention_parts.h"

#include <algorithm>
#include <cmath>

namespace crossover::cpu {

void finish_row(const Context& context, const Attention& a, const float* accumulator, float sum, std::int64_t row, const Rows& out) {
  float* to = out.row(row);
  const float inverse = 1.0f / sum;  // a division per value would be a tenth of a short prompt's time
  for (std::int64_t i = 0; i < out.dim; ++i) to[i] = accumulator[i] * inverse;
  if (a.values.rotation != Rotation::kNone) context.micro->rows->rotate(a.values.rotation, true, to, out.dim, to);
  if (a.gate.data) context.micro->rows->sigmoid_gate(to, a.gate.row(row), out.dim);
}

const float* query_row(const Context& context, const Attention& a, std::int64_t row, float* turned) {
  const float* q = a.q.row(row);
  if (a.keys.rotation == Rotation::kNone) return q;
  context.micro->rows->rotate(a.keys.rotation, false, q, a.q.dim, turned);
  return turned;
}

void join_row(const Context& context, const Attention& a, const SplitRow& first, std::int64_t part_floats, std::int64_t splits, std::int64_t row,
              const Rows& out) {
  float top = *first.row_max;
  for (std::int64_t i = 1; i < splits; ++i) top = std::max(top, first.row_max[i * part_floats]);
  float total = 0;
  for (std::int64_t i = 0; i < splits; ++i) {
    const float weight = std::exp(first.row_max[i * part_floats] - top);
    const float* x = first.accumulator + i * part_floats;
    total += weight * first.row_sum[i * part_floats];
    for (std::int64_t c = 0; c < out.dim; ++c) first.accumulator[c] = i == 0 ? weight * x[c] : first.accumulator[c] + weight * x[c];
  }
  finish_row(context, a, first.accumulator, total, row, out);
}

}  // namespace crossover::cpu
