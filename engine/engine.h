// The engine: a model loaded over ranks, one sequence, logits out. It neither prints nor measures; it records ranges and counts.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/knobs.h"
#include "engine/layers/layers.h"
#include "engine/load/load_times.h"
#include "engine/load/progress.h"
#include "engine/load/read_choice.h"
#include "engine/load/shard_plan.h"
#include "engine/load/weight_source.h"
#include "engine/model.h"
#include "engine/nccl/nccl_api.h"
#include "engine/state.h"
#include "kernels/counters.h"
#include "kernels/cuda/cublaslt.h"
#include "kernels/trace.h"

namespace crossover {

struct EngineOptions {
  std::filesystem::path model;
  std::optional<DType> weights;       // type matrices are held in; empty = as stored
  int ranks = 1;
  int threads = 1;                    // workers of the process over all ranks; a rank gets at least one
  std::string backend = "cpu";        // "cpu", "cuda" or "reference"
  DType keys = DType::kF16, values = DType::kF16;
  std::int64_t chunk_tokens = 2048;   // of a prompt, per pass
  std::int64_t capacity_tokens = 4096;
  Knobs knobs;
  std::filesystem::path cache_folder;  // of quantized files, for CROSSOVER_QUANT_CACHE=folder; it exists
  LoadProgress* progress = nullptr;   // of the load; may be null
  std::string nccl_library = nccl::kLibraryFile;
  cuda::CublasLt::Options cublaslt = {};  // but for what the knob says
  bool rehearses = true;              // a GPU's first passes, which are slow, belong to the load
};

// Phases of one rank: of the load (shares of wall time, kernels/trace.h) or of passes (time of the rank's own thread).
struct RankPhases {
  int rank;
  std::vector<PhaseShare> phases;
};

// What the load of one rank moved and how busy its workers were.
struct RankLoadDetails {
  std::int64_t weight_bytes;             // held
  std::int64_t bytes_read;               // asked of the system, not what it read from the disk for that
  std::int64_t peak_buffer_bytes;        // read ahead of their conversion
  std::int64_t quantized_values;
  std::vector<double> thread_busy_s;     // of each worker: not waiting
};

struct LoadReport {
  double begin_s = 0, total_s = 0;    // monotonic clock; open called .. all ranks ready
  std::vector<RankPhases> ranks;
  std::vector<RankLoadDetails> details;  // per rank
  CacheOutcome cache;
  ReadChoice read;
  std::vector<LoadSpan> timeline;        // neighbours of one phase within 2 ms joined
};

// Logits of prompt rows first_row .. first_row + rows.rows - 1 of one feed, [n, V].
using RowSink = std::function<void(std::int64_t first_row, ConstRows rows)>;

class Engine {
 public:
  explicit Engine(const EngineOptions& options);  // loads the model and returns when every rank is ready
  ~Engine();

  const ModelConfig& config() const;
  const std::filesystem::path& tokenizer() const;  // tokenizer.json beside the checkpoint; empty when there is none
  const LoadReport& load_report() const;
  std::string isa() const;                         // "avx512bf16"; "sm_90" of the cuda backend; "none" of the reference
  std::int64_t tokens() const;                     // fed so far
  std::int64_t state_bytes() const;                // of all ranks: caches and recurrent states
  std::int64_t total_weight_bytes() const;
  std::int64_t workspace_bytes() const;            // of all ranks: scratch memory kept between passes

  // Feeds tokens (at least one) in passes of chunk_tokens and returns the logits of the last one [V], valid until the next call.
  // With a sink every row's logits are computed and shown to it. When a pass throws, the state is half advanced: the engine
  // refuses further use (std::runtime_error) until reset() or restore().
  std::span<const float> feed(std::span<const std::int32_t> tokens, const RowSink& sink = {});

  void reset();  // an empty sequence
  std::vector<State::Snapshot> snapshot() const;  // per rank
  void restore(const std::vector<State::Snapshot>& snapshots);

  // Of passes from now on, told on every rank's own thread; it outlives them. Null ends it.
  void set_range_listener(RangeListener* listener);
  std::int64_t kernel_launches() const;   // on GPUs, by all ranks so far
  std::vector<int> gpus() const;          // ordinals of those that ranks use, ascending

  void set_probe(int rank, Probe probe);  // sees that rank's intermediate activations; an empty one ends it
  Counters counters() const;              // merged over ranks
  // Of passes between two instants of the monotonic clock: shares sum to that time with what lies outside ranges as "other".
  // On a GPU they are times of the device, or the one phase `pass` where CROSSOVER_GPU_PHASES says so.
  std::vector<RankPhases> phases(double begin_s, double end_s) const;
  std::vector<LoadSpan> pass_timeline(double begin_s) const;  // what rank and device were in, from begin_s on
  void clear_phases();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace crossover
