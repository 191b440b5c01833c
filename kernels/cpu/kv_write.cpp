#include <algorithm>

#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/micro.h"
#include "kernels/cpu/worker_scratch.h"

namespace crossover::cpu {

// A rotated row is quantized from the first-level cache, where the rotation left it.
void kv_write(Context& context, ConstRows x, const KvCache& cache, std::int64_t first_row) {
  const auto quantize = context.micro->formats->quantize[static_cast<std::size_t>(cache.rows.dtype)];
  const bool rotated = cache.rotation != Rotation::kNone;
  const WorkerScratch scratch(context, "kv_write", rotated ? x.dim : 0);
  const std::int64_t rows_per_task = std::max<std::int64_t>(1, 16384 / x.dim);
  context.pool.parallel_for(x.rows, rows_per_task, [&](std::int64_t begin, std::int64_t end) {
    float* turned = scratch.mine();
    for (std::int64_t t = begin; t < end; ++t) {
      for (std::int64_t i = 0; rotated && i < x.dim; i += cache.head_dim)
        context.micro->rows->rotate(cache.rotation, false, x.row(t) + i, cache.head_dim, turned + i);
      quantize(rotated ? turned : x.row(t), cache.rows.row(first_row + t), x.dim);
    }
  });
}

}  // namespace crossover::cpu
