// Where the weights of a load come from: the checkpoint, or the quantized file that an earlier load of it left behind.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/checkpoint/source_files.h"
#include "engine/checkpoint/source.h"
#include "engine/knobs.h"
#include "engine/load/cache/cache_shares.h"
#include "engine/load/cache/cache_writer.h"
#include "engine/load/cache/piece_check.h"
#include "engine/load/cache/quantized_cache.h"
#include "engine/load/read_choice.h"
#include "engine/load/shard_plan.h"
#include "kernels/thread_pool.h"

namespace crossover {

// What the post-quantization cache did for a load.
struct CacheOutcome {
  std::string state = "off";   // "off", "hit", "built" or "not kept"
  std::filesystem::path file;  // read or written; empty when there is none
  std::string sentence;        // what was found and what was done about it; empty when off
};

class WeightSource {
 public:
  // Looks for a quantized file where CROSSOVER_QUANT_CACHE asks for one and there is something to quantize, and prepares to write one
  // where there is none. `folder`: of the cache, needed for CROSSOVER_QUANT_CACHE=folder (std::invalid_argument without). `before`: what
  // became of an earlier attempt of the same load.
  WeightSource(const std::filesystem::path& model, std::optional<DType> weights, const Knobs& knobs, const std::filesystem::path& folder,
               ThreadPool& pool, const std::string& before = "");

  const Source& source() const { return loaded_ ? *loaded_ : checkpoint_; }
  std::optional<DType> weights() const { return loaded_ ? std::nullopt : weights_; }  // type to load as; empty: as stored
  // Opens the files for a load by this plan. `together`: what several ranks want is read once (FetchTogether).
  void open(const Knobs& knobs, const ShardPlan& plan, bool together);
  const SourceFiles& files() const { return *files_; }
  const ReadChoice& read() const { return read_; }
  PieceCheck* check() const { return check_.get(); }     // of a hit
  CacheWriter* writer() const { return writer_.get(); }  // where a file is being made

  // Ends the writer of a load that succeeded.
  void finish(ThreadPool& pool);
  // A piece of the quantized file is damaged: removes it.
  void discard(const std::string& why) { crossover::discard(lookup_, why); }
  const CacheOutcome& outcome() const { return outcome_; }

 private:
  void look(const std::filesystem::path& folder, ThreadPool& pool);

  Source checkpoint_;
  std::optional<DType> weights_;
  std::optional<Source> loaded_;
  ReadChoice read_;
  std::optional<SourceFiles> files_;
  CacheLookup lookup_;
  std::unique_ptr<PieceCheck> check_;
  std::unique_ptr<CacheWriter> writer_;
  CacheOutcome outcome_;
};

}  // namespace crossover
