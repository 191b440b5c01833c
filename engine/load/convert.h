// Rows of a checkpoint become rows of the type they are held in: fetched, gathered, cast or quantized by the workers of a rank
// under a schedule. A rank's shard, a quantized GGUF file and the post-quantization cache all come from here, so they hold the same
// bytes.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/checkpoint/row_gather.h"
#include "engine/checkpoint/source.h"
#include "engine/load/fetch/fetch.h"
#include "engine/load/progress.h"
#include "engine/load/cache/piece_check.h"
#include "engine/load/schedule.h"
#include "kernels/cpu/micro.h"
#include "kernels/thread_pool.h"
#include "kernels/trace.h"

namespace crossover {

// Some consecutive rows of one source tensor, restricted to some columns.
struct ConvertTask {
  std::size_t tensor;                      // index into Source::tensors
  const RowGather* rows_of;
  std::span<const IndexRange> columns;     // empty: all
  std::int64_t columns_count;
  DType to;
  std::int64_t first_row, rows;            // expert-major
  std::byte* out;                          // rows * row_bytes(to, columns_count); null: the worker's buffer, for the sink alone
  Layout layout;                           // kPanels: `out` is where the panels of the rows' expert begin
  std::int64_t out_row;                    // kPanels: row of the expert that the first row becomes
  bool ends_expert;                        // kPanels: the last row is the last of the expert
  const char* phase;                       // what all work on these rows is called; null: by its kind
  bool kept;                               // the sink sees them

  std::int64_t values() const { return rows * columns_count; }
  std::int64_t bytes() const { return rows * row_bytes(to, columns_count); }
};

// What is to be converted, cut into tasks.
class ConvertPlan {
 public:
  ConvertPlan(const Source& source, Schedule schedule) : source_(source), schedule_(schedule) {}

  // Rows `rows` of every expert, columns `columns` (both must outlive the plan; empty: all), to consecutive rows from `out` on (null:
  // they only pass by), or to panels. Panels need ConvertOptions::micro.
  void add(std::size_t tensor, DType to, std::span<const IndexRange> rows, std::span<const IndexRange> columns, std::byte* out,
           const char* phase = nullptr, bool kept = true, Layout layout = Layout::kRows);

  std::int64_t quantized_values() const { return quantized_values_; }
  std::int64_t out_bytes() const { return out_bytes_; }

 private:
  friend class Conversion;
  struct TensorTasks {
    bool quantizes;
    std::vector<ConvertTask> tasks;  // in order of expert, then of row
    std::vector<std::size_t> expert_first;
  };

  const Source& source_;
  Schedule schedule_;
  std::deque<RowGather> gathers_;
  std::vector<TensorTasks> tensors_;
  std::int64_t quantized_values_ = 0, out_bytes_ = 0;
};

// Sees every converted task that is to be kept, from the thread that converted it.
using ConvertSink = std::function<void(const ConvertTask& task, const std::byte* bytes, Trace* trace)>;

// Brings converted rows to where the host cannot write; called by the workers' threads.
using Deliver = std::function<void(std::byte* to, const std::byte* rows, std::size_t bytes)>;

struct ConvertOptions {
  const SourceFiles& files;
  FetchOptions fetch;
  const cpu::Micro* micro = nullptr;                  // null: the scalar reference formats
  std::mutex* quantize_turn = nullptr;                // Schedule::kSerial: one thread of the process quantizes at a time
  LoadProgress* progress = nullptr;                   // may be null
  ConvertSink sink = {};                              // may be empty
  PieceCheck* check = nullptr;                        // of a source that is a quantized file; may be null
  Deliver deliver = {};                               // empty: outputs are host memory
};

struct ConvertReport {
  std::int64_t launches = 0;            // threads started
  std::vector<Schedule> schedules;      // that quantized something, in the order first used
  std::int64_t bytes_read = 0, peak_buffer_bytes = 0;
  std::vector<Trace> readers;           // what the reader threads did
};

// traces: one for each worker of the pool. std::runtime_error names the tensor and row of a NaN or infinity, or what could not be
// read; a failed conversion leaves its outputs half written.
ConvertReport convert(const ConvertPlan& plan, const ConvertOptions& options, ThreadPool& pool, std::vector<Trace>& traces);

bool needs_quantizing(const SourceTensor& tensor, DType to);

// What a result calls the way tensors were quantized: "pool-avx512".
std::string quantize_path(Schedule schedule, const cpu::Micro* micro);

// Shares of wall time over workers and readers.
std::vector<PhaseShare> load_shares(const std::vector<Trace>& workers, const std::vector<Trace>& readers, double begin_s, double end_s);

// What a thread of a rank was in, from the begin of the load. Workers count from 0, reader threads from -1 down.
struct LoadSpan {
  int rank, thread;
  std::string phase;
  double start_s, end_s;
};

// Of one rank, thread by thread; neighbours of one phase within 2 ms joined.
void add_timeline(int rank, const std::vector<Trace>& workers, const std::vector<Trace>& readers, double begin_s, std::vector<LoadSpan>& out);

// Of each trace: seconds in any range but "wait".
std::vector<double> busy_seconds(const std::vector<Trace>& traces, double begin_s, double end_s);

}  // namespace crossover
