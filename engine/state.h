// What one sequence leaves behind on one rank: key/value caches of the attention layers, convolution and delta state of the GDN
// layers, and how many tokens it has seen. A recurrent state cannot be rewound: go back through snapshot and restore.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/load/shard_plan.h"
#include "engine/model.h"
#include "kernels/buffer.h"

namespace crossover {

struct StateOptions {
  DType keys = DType::kF16, values = DType::kF16;
  std::int64_t capacity_tokens = 0;
  Rotation key_rotation = Rotation::kNone, value_rotation = Rotation::kNone;
};

struct LayerState {
  KvCache keys, values;    // [capacity, nkv*hd]; after k_norm and RoPE
  float* conv = nullptr;   // [3, C], inputs of the convolution, oldest first
  float* delta = nullptr;  // [nv, D (k), D (v)]
};

class State {
 public:
  // Memory is the backend's; the context must outlive the state.
  State(Context& ctx, const ModelConfig& config, const RankShape& shape, const StateOptions& options);

  void reset();  // an empty sequence
  LayerState& layer(std::int64_t index) { return layers_[static_cast<std::size_t>(index)]; }
  std::int64_t tokens() const { return tokens_; }
  void advance(std::int64_t tokens) { tokens_ += tokens; }
  std::int64_t capacity_tokens() const { return options_.capacity_tokens; }
  std::int64_t bytes() const { return static_cast<std::int64_t>(memory_.size()); }

  // A deep copy of everything the sequence needs: recurrent states whole, caches up to tokens().
  struct Snapshot {
    std::int64_t tokens = 0;
    std::vector<std::byte> bytes;
    StateOptions options;  // whose types and rotations give the bytes their meaning
  };
  Snapshot snapshot() const;
  void restore(const Snapshot& snapshot);  // std::invalid_argument when it is of another shape, type or capacity

 private:
  template <class Visit>
  void visit(std::int64_t tokens, Visit&& visit) const;  // (pointer, bytes) of each part, in a fixed order

  Context& ctx_;
  StateOptions options_;
  std::int64_t conv_values_ = 0, delta_values_ = 0;  // of one GDN layer
  std::vector<LayerState> layers_;
  Buffer memory_;
  std::int64_t tokens_ = 0;
};

}  // namespace crossover
