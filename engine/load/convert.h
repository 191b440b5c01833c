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
#include "engine/load/fetch/fetch_together.h"
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
  bool there;                              // quantized where `out` lies, by ConvertOptions::quantize_there
  const char* phase;                       // what all work on these rows is called; null: by its kind
  bool kept;                               // the sink sees them

  std::int64_t values() const { return rows * columns_count; }
  std::int64_t bytes() const { return rows * row_bytes(to, columns_count); }
};

// What is to be converted, cut into tasks.
class ConvertPlan {
 public:
  // quantizes_there: rows as they are stored become Q6_K where they are brought to, if that is anywhere.
  ConvertPlan(const Source& source, Schedule schedule, bool quantizes_there = false)
      : source_(source), schedule_(schedule), quantizes_there_(quantizes_there) {}

  // Rows `rows` of every expert, columns `columns` (both must outlive the plan; empty: all), to consecutive rows from `out` on (null:
  // they only pass by), or to panels. Panels need ConvertOptions::micro.
  void add(std::size_t tensor, DType to, std::span<const IndexRange> rows, std::span<const IndexRange> columns, std::byte* out,
           const char* phase = nullptr, bool kept = true, Layout layout = Layout::kRows);

  std::int64_t quantized_values() const { return quantized_values_; }
  std::int64_t out_bytes() const { return out_bytes_; }
  std::int64_t largest_delivery_bytes() const { return largest_delivery_bytes_; }    // of a task; as stored where it is quantized there
  std::int64_t largest_quantized_there_bytes() const { return largest_quantized_there_bytes_; }  // as stored; 0: nothing is

 private:
  friend class Conversion;
  struct TensorTasks {
    bool quantizes, there;
    std::vector<ConvertTask> tasks;  // in order of expert, then of row
    std::vector<std::size_t> expert_first;
  };

  const Source& source_;
  Schedule schedule_;
  bool quantizes_there_;
  std::deque<RowGather> gathers_;
  std::vector<TensorTasks> tensors_;
  std::int64_t quantized_values_ = 0, out_bytes_ = 0, largest_delivery_bytes_ = 0, largest_quantized_there_bytes_ = 0;
};

// Sees every converted task that is to be kept, from the thread that converted it.
using ConvertSink = std::function<void(const ConvertTask& task, const std::byte* bytes, Trace* trace)>;

// Brings converted rows to where the host cannot write; called by the workers' threads.
using Deliver = std::function<void(std::byte* to, const std::byte* rows, std::size_t bytes)>;

// Brings a task's rows, as they are stored, to where they become its blocks; to `blocks` too where that is not null. Refuses values as convert does.
using QuantizeThere = std::function<void(const ConvertTask& task, const SourceTensor& tensor, const std::byte* rows, std::byte* blocks, Trace* trace)>;

struct ConvertOptions {
  const SourceFiles& files;
  FetchOptions fetch;
  const cpu::Micro* micro = nullptr;                  // null: the scalar reference formats
  std::mutex* quantize_turn = nullptr;                // Schedule::kSerial: one thread of the process quantizes at a time
  LoadProgress* progress = nullptr;                   // may be null
  ConvertSink sink = {};                              // may be empty
  PieceCheck* check = nullptr;                        // of a source that is a quantized file; may be null
  FetchTogether* together = nullptr;                  // with other conversions, of which this one is `part`; may be null
  std::size_t part = 0;
  Deliver deliver = {};                               // empty: outputs are host memory
  QuantizeThere quantize_there = {};                  // of a plan that says so
};

struct ConvertReport {
  std::int64_t launches = 0;            // threads started
  std::vector<Schedule> schedules;      // that quantized something, in the order first used
  bool quantized_there = false;         // something
  std::int64_t bytes_read = 0, peak_buffer_bytes = 0;
  std::vector<Trace> readers;           // what the reader threads did
  std::vector<Trace> shared_readers;    // those that worked for this conversion too and are among the readers of another
};

// traces: one for each worker of the pool. std::runtime_error names the tensor and row of a NaN or infinity, or what could not be
// read; a failed conversion leaves its outputs half written.
ConvertReport convert(const ConvertPlan& plan, const ConvertOptions& options, ThreadPool& pool, std::vector<Trace>& traces);

bool needs_quantizing(const SourceTensor& tensor, DType to);

// Throws what convert does of a value of a task's rows that is not finite. stored: that value; not looked at where a block's scale is it.
[[noreturn]] void refuse_value(const ConvertTask& task, const SourceTensor& tensor, const std::byte* stored, std::int64_t value);

// What a result calls the way tensors were quantized: "pool-avx512".
std::string quantize_path(Schedule schedule, const cpu::Micro* micro);

}  // namespace crossover
