// Writes a checkpoint as one GGUF file, quantized on the way: bounded memory, all workers, published by rename when complete.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "engine/checkpoint/source.h"
#include "engine/knobs.h"
#include "kernels/counters.h"
#include "kernels/trace.h"

namespace crossover {

struct QuantizeOptions {
  DType type = DType::kQ6_K;
  int threads = 1;
  Knobs knobs;
  std::function<void(std::int64_t done_bytes, std::int64_t total_bytes)> progress;  // from the calling thread; may be empty
};

struct QuantizeReport {
  double total_s = 0;
  std::int64_t weights = 0, bytes = 0;  // values quantized or converted; bytes of tensor data written
  std::int64_t quantized_values = 0, bytes_read = 0, peak_buffer_bytes = 0;
  std::vector<PhaseShare> phases;
  std::vector<double> thread_busy_s;    // of each worker: not waiting
  Counters counters;
};

QuantizeReport quantize_checkpoint(const std::filesystem::path& model, const std::filesystem::path& out, const QuantizeOptions& options);

}  // namespace crossover
