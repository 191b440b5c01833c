// Rows of a source tensor become rows of the type they are held in: read or gather -> cast -> quantize, through bounded buffers of
// the calling worker. The same function serves a rank's shard and a GGUF file, so both hold the same bytes.
#pragma once

#include <cstdint>
#include <mutex>
#include <span>
#include <vector>

#include "engine/checkpoint/read_rows.h"
#include "engine/checkpoint/source.h"
#include "kernels/buffer.h"
#include "kernels/cpu/micro.h"
#include "kernels/trace.h"

namespace crossover {

// What all workers of a load share.
struct ConvertJob {
  const SourceFiles& files;
  const cpu::Micro* micro = nullptr;     // null: the scalar reference formats
  std::mutex* quantize_turn = nullptr;   // serial schedule: one thread of the process quantizes at a time
};

// Rows [first_row, first_row + rows) (expert-major) of one source tensor, restricted to `columns`.
struct RowTask {
  const SourceTensor* tensor;
  DType to;
  std::int64_t first_row, rows;
  std::span<const IndexRange> columns;  // empty: all
  std::int64_t columns_count;            // sum of the ranges
  std::byte* out;              // rows * row_bytes(to, columns_count)
};

// One worker's buffers.
struct ConvertScratch {
  HostBuffer stored, widened;
};

// std::runtime_error names the tensor and row of a NaN or infinity, or what could not be read.
void convert_rows(const ConvertJob& job, const RowTask& task, ConvertScratch& scratch, Trace* trace);

// Rows that make a task of about 256 Ki values: small enough to balance, large enough to hide its bookkeeping.
std::int64_t rows_per_task(std::int64_t columns);

bool needs_quantizing(const SourceTensor& tensor, DType to);

}  // namespace crossover
