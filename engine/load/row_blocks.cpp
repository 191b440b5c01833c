#include "engine/load/row_blocks.h"

#include <algorithm>
#include <cstring>

namespace crossover {

void RowBlocks::put(const ConvertTask& task, const std::byte* bytes) {
  const std::int64_t expert_rows = source_.tensors[task.tensor].shape[1];
  const std::int64_t chunk = chunk_rows(schedule_, task.columns_count);
  // A multiple of the chunk, so that no chunk lies in two blocks.
  const std::int64_t block_rows = std::max<std::int64_t>(1, chunk_rows(Schedule::kPool, task.columns_count) / chunk) * chunk;
  if (2 * task.rows > block_rows) return write_(task.tensor, task.first_row, bytes, task.rows);
  const std::int64_t expert_first = task.first_row / expert_rows * expert_rows;
  const std::int64_t first = expert_first + (task.first_row - expert_first) / block_rows * block_rows;
  const std::int64_t row = row_bytes(task.to, task.columns_count);
  Block* block = nullptr;
  {
    const std::lock_guard lock(mutex_);
    block = &blocks_[{task.tensor, first}];
    if (block->rows == 0) {
      block->rows = block->missing = std::min(block_rows, expert_first + expert_rows - first);
      block->bytes = HostBuffer(static_cast<std::size_t>(block->rows * row));
    }
  }
  std::memcpy(block->bytes.data() + (task.first_row - first) * row, bytes, static_cast<std::size_t>(task.rows * row));
  Block complete;
  {
    const std::lock_guard lock(mutex_);
    if ((block->missing -= task.rows) > 0) return;
    const auto at = blocks_.find({task.tensor, first});
    complete = std::move(at->second);
    blocks_.erase(at);
  }
  write_(task.tensor, first, complete.bytes.data(), complete.rows);
}

}  // namespace crossover
