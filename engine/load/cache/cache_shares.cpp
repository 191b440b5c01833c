#include "engine/load/cache/cache_shares.h"

#include <algorithm>

namespace crossover {
namespace {

bool same(const std::vector<IndexRange>& a, const std::vector<IndexRange>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](IndexRange x, IndexRange y) { return x.first == y.first && x.count == y.count; });
}

std::int64_t values(const TensorShard& shard) { return shard.shape[0] * shard.shape[1] * shard.shape[2]; }

}  // namespace

CacheShares cache_shares(const Source& source, DType type, const ShardPlan& plan) {
  CacheShares shares;
  struct Taken {
    std::size_t rank, shard;
  };
  std::vector<std::vector<Taken>> takers(source.tensors.size());
  for (std::size_t rank = 0; rank < plan.ranks.size(); ++rank) {
    const std::vector<TensorShard>& shards = plan.ranks[rank].tensors;
    shares.puts.emplace_back(shards.size(), false);
    for (std::size_t i = 0; i < shards.size(); ++i) {
      const TensorShard& shard = shards[i];
      // A tied embedding is put as what it is, not once more as the head.
      if (shard.place != source.tensors[shard.tensor].name) continue;
      if (values(shard) == 0 || shard.dtype != target_type(source.tensors[shard.tensor], type)) continue;
      std::vector<Taken>& taken = takers[shard.tensor];
      const bool held = std::any_of(taken.begin(), taken.end(), [&](Taken t) {
        const TensorShard& other = plan.ranks[t.rank].tensors[t.shard];
        return same(other.rows, shard.rows) && same(other.columns, shard.columns);
      });
      if (!held) taken.push_back({rank, i});
    }
  }
  for (std::size_t tensor = 0; tensor < takers.size(); ++tensor) {
    const auto& shape = source.tensors[tensor].shape;
    std::int64_t covered = 0;
    for (Taken t : takers[tensor]) covered += values(plan.ranks[t.rank].tensors[t.shard]);
    const bool whole = covered == shape[0] * shape[1] * shape[2];
    if (!whole) shares.left.push_back(tensor);
    for (Taken t : takers[tensor]) shares.puts[t.rank][t.shard] = whole;
  }
  return shares;
}

}  // namespace crossover
