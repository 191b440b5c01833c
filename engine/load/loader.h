// Loads one rank's part of a model into memory that it owns.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/load/convert.h"
#include "engine/load/shard_plan.h"
#include "engine/model.h"
#include "kernels/ops.h"
#include "kernels/trace.h"

namespace crossover {

enum class Pin : std::uint8_t { kPlain, kHuge, kMlock };  // values of CROSSOVER_PIN

// Owns the memory of one rank's weights on its backend.
class RankWeights {
 public:
  RankWeights(const Ops& ops, Pin pin) : ops_(ops), pin_(pin) {}
  ~RankWeights();
  RankWeights(const RankWeights&) = delete;
  RankWeights& operator=(const RankWeights&) = delete;

  // std::runtime_error when memory is to be locked and may not be.
  std::byte* allocate(std::int64_t bytes);
  void clear();  // gives everything back
  std::int64_t bytes() const { return bytes_; }
  Weights weights;

 private:
  const Ops& ops_;
  Pin pin_;
  std::vector<std::pair<std::byte*, std::size_t>> blocks_;
  std::int64_t bytes_ = 0;
};

struct LoadJob {
  const Source& source;
  const RankPlan& plan;
  Schedule schedule;
  ConvertOptions convert;
  Layout layout = Layout::kRows;        // of the weights of matrix products, where their type has panels
  std::vector<bool> kept = {};          // of plan.tensors: those the sink of `convert` sees; empty: none
  std::vector<std::size_t> passing = {};  // tensors of the source that are converted to `passing_type` for the sink alone
  DType passing_type = DType::kF32;
  bool quantizes_on_device = false;     // what the device can, of a backend that has one
};

struct RankLoad {
  ConvertReport convert;
  std::int64_t quantized_values = 0;
};

// traces: one for each worker of ctx.pool.
RankLoad load_rank(const LoadJob& job, Context& ctx, std::vector<Trace>& traces, RankWeights& into);

}  // namespace crossover
