// Which rank puts which part of a model into a quantized cache file: ranks hold some tensors alike (norms, shared KV heads) and
// some not at all (the MTP layer).
#pragma once

#include <cstddef>
#include <vector>

#include "engine/checkpoint/source.h"
#include "engine/load/shard_plan.h"

namespace crossover {

struct CacheShares {
  std::vector<std::vector<bool>> puts;  // [rank][index into RankPlan::tensors]: whether this rank puts its part
  std::vector<std::size_t> left;        // tensors of the source that no rank puts: they have to be put beside the load
};

// A tensor whose parts are not held in the type of the file, or do not make up the whole, is `left`.
CacheShares cache_shares(const Source& source, DType type, const ShardPlan& plan);

}  // namespace crossover
