// Writes a checkpoint as one GGUF file, quantized on the way: bounded memory, all workers, published by rename when complete.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "engine/checkpoint/source.h"
#include "engine/knobs.h"
#include "engine/load/load_times.h"
#include "engine/load/progress.h"
#include "engine/load/read_choice.h"
#include "kernels/counters.h"
#include "kernels/trace.h"

namespace crossover {

struct QuantizeOptions {
  DType type = DType::kQ6_K;
  int threads = 1;
  Knobs knobs;
  LoadProgress* progress = nullptr;  // may be null
};

struct QuantizeReport {
  double total_s = 0;
  std::int64_t weights = 0, bytes = 0;  // values quantized or converted; bytes of tensor data written
  std::int64_t quantized_values = 0, bytes_read = 0, peak_buffer_bytes = 0;
  std::vector<PhaseShare> phases;
  std::vector<double> thread_busy_s;    // of each worker: not waiting
  std::vector<LoadSpan> timeline;       // as rank 0
  Counters counters;
  ReadChoice read;
};

QuantizeReport quantize_checkpoint(const std::filesystem::path& model, const std::filesystem::path& out, const QuantizeOptions& options);

}  // namespace crossover
