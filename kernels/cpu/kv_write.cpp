#include <algorithm>

#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/micro.h"

namespace crossover::cpu {

void kv_write(Context& context, ConstRows x, const Tensor& cache, std::int64_t first_row) {
  const auto quantize = context.micro->formats->quantize[static_cast<std::size_t>(cache.dtype)];
  const std::int64_t rows_per_task = std::max<std::int64_t>(1, 16384 / x.dim);
  context.pool.parallel_for(x.rows, rows_per_task, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t) quantize(x.row(t), cache.row(first_row + t), x.dim);
  });
}

}  // namespace crossover::cpu
