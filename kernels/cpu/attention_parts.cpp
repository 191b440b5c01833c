#include "kernels/cpu/attention_parts.h"

#include <algorithm>
#include <cmath>

namespace crossover::cpu {

void finish_row(const Context& context, const Attention& a, const float* accumulator, float sum, std::int64_t row, const Rows& out) {
  float* to = out.row(row);
  const float inverse = 1.0f / sum;  // a division per value would be a tenth of a short prompt's time
  for (std::int64_t i = 0; i < out.dim; ++i) to[i] = accumulator[i] * inverse;
  turn_back_and_gate(context, a, row, out);
}

void turn_back_and_gate(const Context& context, const Attention& a, std::int64_t row, const Rows& out) {
  float* to = out.row(row);
  if (a.values.rotation != Rotation::kNone) context.micro->rows->rotate(a.values.rotation, true, to, out.dim, to);
  if (a.gate.data) context.micro->rows->sigmoid_gate(to, a.gate.row(row), out.dim);
}

const float* query_row(const Context& context, const Attention& a, std::int64_t row, float* turned) {
  const float* q = a.q.row(row);
  if (a.keys.rotation == Rotation::kNone) return q;
  context.micro->rows->rotate(a.keys.rotation, false, q, a.q.dim, turned);
  return turned;
}

namespace {

// As micro.narrow, through f32.
void narrow_by_strips(const Micro& micro, DType type, const std::byte* from, std::uint16_t* to, std::int64_t dim) {
  constexpr std::int64_t kStrip = 256;  // whole blocks of every type
  alignas(64) float strip[kStrip];
  for (std::int64_t i = 0; i < dim; i += kStrip) {
    const std::int64_t values = std::min(kStrip, dim - i);
    micro.formats->dequantize[static_cast<std::size_t>(type)](from + row_bytes(type, i), strip, values);
    micro.formats->quantize[static_cast<std::size_t>(DType::kBF16)](strip, reinterpret_cast<std::byte*>(to + i), values);
  }
}

}  // namespace

Bf16Rows narrow(const Context& context, const Tensor& cache, std::int64_t dim, std::int64_t kv_head, std::int64_t first, std::int64_t count,
                std::uint16_t* to) {
  const Micro& micro = *context.micro;
  const std::int64_t stride = cache.row_stride(), bytes = row_bytes(cache.dtype, dim);
  const std::byte* column = cache.data + row_bytes(cache.dtype, kv_head * dim);
  const NarrowRow convert = micro.narrow && cache.dtype != DType::kBF16 ? micro.narrow[static_cast<std::size_t>(cache.dtype)] : nullptr;
  for (std::int64_t t = first; t < first + count; ++t) {
    if (t + kRowsAhead < cache.rows()) prefetch_head(column + (t + kRowsAhead) * stride, bytes);
    if (convert) convert(column + t * stride, to + (t - first) * dim, dim);
    else if (cache.dtype != DType::kBF16) narrow_by_strips(micro, cache.dtype, column + t * stride, to + (t - first) * dim, dim);
  }
  if (cache.dtype == DType::kBF16) return {reinterpret_cast<const std::uint16_t*>(column + first * stride), cache.cols()};
  return {to, dim};
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
