// One pass through the model on one rank.
#pragma once

#include <cstdint>
#include <span>

#include "engine/comm.h"
#include "engine/layers/layers.h"
#include "engine/model.h"
#include "engine/nccl/communicator.h"
#include "engine/state.h"

namespace crossover {

struct RankModel {
  const ModelConfig& config;
  RankShape shape;
  Weights weights;
};

struct ForwardOptions {
  GdnForm gdn_form = GdnForm::kAuto;
  MoeMode moe_mode = MoeMode::kGrouped;
  const Probe* probe = nullptr;
  bool separate_rotation = false;  // CROSSOVER_ROTATION_KERNEL
  std::int64_t rehearsed_experts = 0;  // in a rehearsal, where no router runs: the tokens' experts are the first so many, in turn; 0: no rehearsal
  nccl::Communicator* nccl = nullptr;  // sums between GPUs; null: the LocalComm does
  nccl::ReduceType reduce_type = nccl::ReduceType::kF32;  // of nccl
};

// Feeds tokens [T] and advances the state. `logits` [n, V] receives the last n rows' (0 <= n <= T); every rank writes the columns of
// its vocabulary part. The caller has checked that ids are in the vocabulary and that the caches have room.
void forward(Context& ctx, LocalComm& comm, int rank, const RankModel& model, State& state, std::span<const std::int32_t> tokens,
             const ForwardOptions& options, Rows logits);

}  // namespace crossover
