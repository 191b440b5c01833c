// Crossover's own engine as a target: each sample is one `crossover sample` process (of this build or another one).
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "bench/machine/usable_cores.h"
#include "bench/page_cache.h"
#include "bench/targets/target.h"

namespace crossover {

class EngineTarget : public Target {
 public:
  // Synthetic checkpoints, the GGUF files made of them and what CROSSOVER_QUANT_CACHE=folder keeps lie below `cache`
  // (bench/cache_folder.h).
  explicit EngineTarget(std::filesystem::path cache) : cache_(std::move(cache)) {}

  // Where the arm loads with CROSSOVER_QUANT_CACHE, one load is run too, so that the samples find the file that it keeps.
  // std::runtime_error when it did not keep one.
  void prepare(const SampleRequest& request) override;
  std::optional<LoadRates> rates(const SampleRequest& request) override;
  std::optional<Ceilings> ceilings() override { return measure_ceilings(usable_cores(), Effort::kQuick); }
  bool can_trace(const SampleRequest& request) override;  // passes on a GPU
  std::vector<std::filesystem::path> files(const SampleRequest& request) override;
  Sample take(const SampleRequest& request) override;

 private:
  void fill_quantized_cache(const SampleRequest& request);

  std::filesystem::path cache_;
  std::map<std::pair<int, char>, std::filesystem::path> quantized_;  // by cell and arm: the file that a load of it kept
  std::optional<ReadRates> reads_;                 // of the first arm's checkpoint
  std::map<std::string, double> conversions_per_s_;  // by instruction set and types
};

}  // namespace crossover
