// The load of a model over the ranks of an engine: where its weights come from, which rank gets which part, and in which order.
#pragma once

#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "engine/load/fetch/fetch_together.h"
#include "engine/rank.h"
#include "engine/ranks.h"

namespace crossover {

class ModelLoad {
 public:
  // source: becomes what was loaded, and the ranks' models refer to it. All of them outlive the load.
  ModelLoad(const EngineOptions& options, RankGroup& group, Ranks& ranks, Source& source);

  // Every rank has its state, weights and model afterwards. Ranks begin again, from the checkpoint, where a piece of the file that an
  // earlier load kept is found damaged while it is read.
  void run();

  // From begin_s on until now. Clears what the ranks' workers recorded.
  LoadReport report(double begin_s) const;

 private:
  void run_once(const std::string& before);
  void open(Rank& first, const std::string& before);
  void fill(int r);
  LoadJob job_of(std::size_t index);

  const EngineOptions& options_;
  RankGroup& group_;
  Ranks& ranks_;
  Source& source_;
  Schedule schedule_;
  std::optional<WeightSource> weights_;
  std::optional<FetchTogether> together_;  // of ranks that are served by the same readers
  ShardPlan plan_;
  CacheShares shares_;                     // of the file that this load makes
  std::mutex turn_;                        // to convert, where the schedule is serial
  std::vector<RankLoad> loads_;
};

}  // namespace crossover
