// Collects rows that arrive in small chunks into blocks that are worth a write of their own: the schedules that start threads cut
// tensors finer than a file should be written, and what that costs is not theirs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>

#include "engine/load/convert.h"
#include "kernels/buffer.h"

namespace crossover {

class RowBlocks {
 public:
  // write(tensor, first_row, bytes, rows) is called for every complete block, from the thread that completed it. Blocks end where
  // experts do; rows of one expert are `expert_rows(tensor)`.
  using Write = std::function<void(std::size_t tensor, std::int64_t first_row, const std::byte* bytes, std::int64_t rows)>;
  RowBlocks(const Source& source, Schedule schedule, Write write) : source_(source), schedule_(schedule), write_(std::move(write)) {}

  // Whole rows of a tensor; a chunk of more than half a block is written as it is.
  void put(const ConvertTask& task, const std::byte* bytes);

 private:
  struct Block {
    HostBuffer bytes;
    std::int64_t rows = 0, missing = 0;
  };

  const Source& source_;
  const Schedule schedule_;
  const Write write_;
  std::mutex mutex_;
  std::map<std::pair<std::size_t, std::int64_t>, Block> blocks_;  // by tensor and first row
};

}  // namespace crossover
