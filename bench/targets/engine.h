// Crossover's own engine as a target: each sample is one `crossover sample` process (of this build or another one).
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "bench/targets/target.h"

namespace crossover {

class EngineTarget : public Target {
 public:
  // Synthetic checkpoints and the GGUF files made of them are kept below `cache` (bench/cache_folder.h).
  explicit EngineTarget(std::filesystem::path cache) : cache_(std::move(cache)) {}

  void prepare(const SampleRequest& request) override;
  std::vector<std::filesystem::path> files(const SampleRequest& request) override;
  Sample take(const SampleRequest& request) override;

 private:
  std::filesystem::path cache_;
};

}  // namespace crossover
