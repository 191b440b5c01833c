#include <cstddef>
#include <vector>

#include "engine/layers/layers.h"

namespace crossover {

void Pass::show_values(std::string_view name, ConstRows values) const {
  if (ctx.ops.host_memory) return (*probe)(name, layer, values);
  std::vector<float> copy(static_cast<std::size_t>(values.rows * values.dim));
  const Rows on_host(copy.data(), values.rows, values.dim);
  ctx.ops.download_rows(ctx, on_host, values);
  (*probe)(name, layer, on_host);
}

}  // namespace crossover
