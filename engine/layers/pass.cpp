#include <cstddef>
#include <vector>

#include "engine/layers/layers.h"

namespace crossover {

void Pass::show_values(std::string_view name, ConstRows values) const {
  if (ctx.ops.host_memory) return (*probe)(name, layer, values);
  std::vector<float> copy(static_cast<std::size_t>(values.rows * values.dim));
  for (std::int64_t r = 0; r < values.rows; ++r)
    ctx.ops.download(ctx, reinterpret_cast<std::byte*>(copy.data() + r * values.dim), reinterpret_cast<const std::byte*>(values.row(r)),
                     static_cast<std::size_t>(values.dim) * sizeof(float));
  (*probe)(name, layer, ConstRows(copy.data(), values.rows, values.dim));
}

}  // namespace crossover
