#include <algorithm>

#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/micro.h"
#include "kernels/formats/panels.h"

namespace crossover::cpu {

void embed(Context& context, const Tensor& table, std::int64_t first_row, std::span<const std::int32_t> ids, Rows out) {
  constexpr std::int64_t kTaskRows = 16;
  const bool panels = table.layout == Layout::kPanels;
  std::byte* unpacked = nullptr;
  if (panels) unpacked = context.workspace.bytes("embed.row", static_cast<std::size_t>(table.row_stride() * context.pool.threads()));
  const auto stored_row = [&](std::int64_t row) -> const std::byte* {
    if (!panels) return table.row(row);
    std::byte* to = unpacked + ThreadPool::worker() * table.row_stride();
    unpack_panel_row(table.dtype, table.row(row / kPanelRows * kPanelRows), row % kPanelRows, table.cols(), to);
    return to;
  };
  const auto dequantize = context.micro->formats->dequantize[static_cast<std::size_t>(table.dtype)];
  context.pool.parallel_for(out.rows, kTaskRows, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t) {
      const std::int64_t row = ids[static_cast<std::size_t>(t)] - first_row;
      if (row < 0 || row >= table.rows()) std::fill_n(out.row(t), out.dim, 0.0f);
      else dequantize(stored_row(row), out.row(t), table.cols());
    }
  });
}

}  // namespace crossover::cpu
