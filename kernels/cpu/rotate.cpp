#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/micro.h"

namespace crossover::cpu {

void rotate(Context& context, Rows x, Rotation rotation, bool back) {
  const std::int64_t rows_per_task = 16384 / x.dim + 1;
  context.pool.parallel_for(x.rows, rows_per_task, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) context.micro->rows->rotate(rotation, back, x.row(r), x.dim, x.row(r));
  });
}

}  // namespace crossover::cpu
