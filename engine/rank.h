// One rank of an engine: its workers, its memory and its sequence. Touched by its own thread only while the group runs (engine/ranks.h).
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "engine/decode_graphs.h"
#include "engine/engine.h"
#include "engine/forward.h"
#include "engine/gemm_choice.h"
#include "engine/load/loader.h"
#include "kernels/cuda/device_clock.h"
#include "kernels/cuda/runtime.h"

namespace crossover {

struct Rank {
  // micro: null of backends that have none. device: null of those without.
  Rank(const Ops& ops, int threads, ThreadPool::Options pool_options, const cpu::Micro* micro, std::unique_ptr<cuda::Device> gpu, const Knobs& knobs);

  void enter() const { if (device) device->make_current(); }  // of the thread that now works for this rank
  void choose_gemm_for(const RankPlan& plan, const EngineOptions& options);

  std::unique_ptr<cuda::Device> device;  // first: what the rank holds lies on it
  const bool pinned;                     // its workers have cpus of their own
  ThreadPool pool;
  Workspace workspace;
  Counters counters;
  std::vector<Trace> traces;  // one per worker; [0] is the rank's own thread
  RankWeights weights;
  std::unique_ptr<RankModel> model;
  std::unique_ptr<State> state;
  Probe probe;
  std::unique_ptr<DeviceClock> clock;  // of the device
  std::optional<DecodeGraphs> graphs;
  GemmChoice gemm;
  Context ctx;
};

using Ranks = std::vector<std::unique_ptr<Rank>>;

int gpu_of(int rank);  // the ordinal of its device, of the backend cuda

// All ranks of an engine, with their workers on the cpus that CROSSOVER_PIN_THREADS says, and on the GPUs in turn: several on one are
// virtual ranks. They hold no weights yet.
Ranks make_ranks(const EngineOptions& options, const Ops& ops);

}  // namespace crossover
