// Loads one rank's part of a model: the rows of all its tensors are one list of tasks that the rank's workers take.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <vector>

#include "engine/checkpoint/read_rows.h"
#include "engine/load/convert.h"
#include "engine/load/shard_plan.h"
#include "engine/model.h"
#include "kernels/ops.h"
#include "kernels/trace.h"

namespace crossover {

// Owns the memory of one rank's weights on its backend.
class RankWeights {
 public:
  explicit RankWeights(const Ops& ops) : ops_(ops) {}
  ~RankWeights();
  RankWeights(const RankWeights&) = delete;
  RankWeights& operator=(const RankWeights&) = delete;

  std::byte* allocate(std::int64_t bytes);
  std::int64_t bytes() const { return bytes_; }
  Weights weights;

 private:
  const Ops& ops_;
  std::vector<std::pair<std::byte*, std::size_t>> blocks_;
  std::int64_t bytes_ = 0;
};

struct LoadJob {
  const Source& source;
  const RankPlan& plan;
  ConvertJob convert;
  std::string_view schedule;           // "serial" or "pool", for the record
  std::atomic<std::int64_t>* loaded_bytes = nullptr;  // counts up while loading, over all ranks; may be null
};

// traces: one per worker of ctx.pool.
void load_rank(const LoadJob& job, Context& ctx, std::vector<Trace>& traces, RankWeights& into);

}  // namespace crossover
