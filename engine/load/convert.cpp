#include "engine/load/convert.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <exception>
#include <numeric>
#include <stdexcept>
#include <tuple>

#include "kernels/buffer.h"
#include "kernels/formats/formats.h"
#include "kernels/formats/panels.h"

namespace crossover {
namespace {

std::byte* grown(HostBuffer& buffer, std::int64_t bytes) {
  if (buffer.size() < static_cast<std::size_t>(bytes)) buffer = HostBuffer(static_cast<std::size_t>(bytes));
  return buffer.data();
}

// Rows that are only copied or cast: several pieces of a quantized file, so that few are read for a part of them.
constexpr std::int64_t kCopyChunkBytes = std::int64_t{4} << 20;

// One worker's buffers.
struct Scratch {
  HostBuffer stored, widened, out, panel;
  std::vector<const std::byte*> data;
};

// Pages that are there already cost a look at them. Advice: where the system knows none, whoever writes first pays.
void populate(std::byte* memory, std::int64_t bytes) {
  constexpr int kPopulateWrite = 23;  // MADV_POPULATE_WRITE (Linux 5.14), which older C libraries do not define
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE)), at = reinterpret_cast<std::uintptr_t>(memory);
  const std::uintptr_t begin = at / page * page, end = (at + static_cast<std::uintptr_t>(bytes) + page - 1) / page * page;
  if (bytes > 0) (void)::madvise(reinterpret_cast<void*>(begin), end - begin, kPopulateWrite);
}

// Rows of a task from `row` on, at most about `piece`: where a piece is longer than a panel its end is the end of one, since packing parts
// of panels costs twice as much.
std::int64_t whole_panels(std::int64_t row, std::int64_t piece) {
  if (piece < kPanelRows) return piece;
  return (row + piece) / kPanelRows * kPanelRows - row;
}

}  // namespace

bool needs_quantizing(const SourceTensor& tensor, DType to) {
  return is_block_format(to) && (tensor.dtype != to || tensor.transform != Transform::kNone);
}

void refuse_value(const ConvertTask& task, const SourceTensor& tensor, const std::byte* stored, std::int64_t value) {
  std::string found = "a block scale that is not finite";
  if (!is_block_format(tensor.dtype)) {
    float widened = 0;
    dequantize_fn(tensor.dtype)(stored, &widened, 1);
    found = fmt::format("{}", widened);
  }
  throw std::runtime_error(fmt::format("tensor {} ({}) holds {} at row {}, column {}; the checkpoint is damaged or was saved from a diverged model",
                                       tensor.name, tensor.stored_as, found, task.first_row + value / task.columns_count, value % task.columns_count));
}

void ConvertPlan::add(std::size_t tensor, DType to, std::span<const IndexRange> rows, std::span<const IndexRange> columns, std::byte* out,
                      const char* phase, bool kept, Layout layout) {
  const SourceTensor& from = source_.tensors[tensor];
  const IndexRange all_rows{0, from.shape[1]};
  if (rows.empty()) rows = {&all_rows, 1};
  const RowGather& gather = gathers_.emplace_back(from, columns);
  const std::int64_t columns_count = columns.empty() ? from.shape[2]
      : std::accumulate(columns.begin(), columns.end(), std::int64_t{0}, [](std::int64_t sum, IndexRange r) { return sum + r.count; });
  if (columns_count == 0) return;
  const bool quantizes = needs_quantizing(from, to);
  const bool there = quantizes && quantizes_there_ && out && to == DType::kQ6_K && !is_block_format(from.dtype) && from.transform == Transform::kNone;
  TensorTasks added{quantizes, there, {}, {}};
  const std::int64_t piece = quantizes && !there ? chunk_rows(schedule_, columns_count)
                                             : std::max<std::int64_t>(1, kCopyChunkBytes / std::max<std::int64_t>(1, gather.row_bytes()));
  const bool panels = layout == Layout::kPanels;
  const std::int64_t expert_rows = std::accumulate(rows.begin(), rows.end(), std::int64_t{0}, [](std::int64_t sum, IndexRange r) { return sum + r.count; });
  for (std::int64_t expert = 0; expert < from.shape[0]; ++expert) {
    added.expert_first.push_back(added.tasks.size());
    std::int64_t out_row = 0;
    for (IndexRange run : rows) {
      for (std::int64_t done = 0, count = 0; done < run.count; done += count) {
        count = std::min(panels ? whole_panels(out_row, piece) : piece, run.count - done);
        const ConvertTask& task = added.tasks.emplace_back(ConvertTask{tensor, &gather, columns, columns_count, to, expert * from.shape[1] + run.first + done,
                                                                       count, out, layout, out_row, out_row + count == expert_rows, there, phase, kept});
        out_row += count;
        if (out && !panels) out += task.bytes();
        out_bytes_ += task.bytes();
        if (quantizes) quantized_values_ += task.values();
        const std::int64_t stored_bytes = there ? row_bytes(from.dtype, task.values()) : 0;
        largest_quantized_there_bytes_ = std::max(largest_quantized_there_bytes_, stored_bytes);
        if (task.out) largest_delivery_bytes_ = std::max(largest_delivery_bytes_, there ? stored_bytes : task.bytes());
      }
    }
    if (out && panels) out += Tensor{nullptr, to, {1, expert_rows, columns_count}, layout}.bytes();
  }
  added.expert_first.push_back(added.tasks.size());
  if (!added.tasks.empty()) tensors_.push_back(std::move(added));
}

// The tasks of a plan in the order they are fetched.
class Conversion {
 public:
  Conversion(const ConvertPlan& plan, const ConvertOptions& options, ThreadPool& pool, std::vector<Trace>& traces)
      : plan_(plan), options_(options), pool_(pool), traces_(traces), scratch_(traces.size()), fetch_(options.together ? *options.together : alone_) {
    order();
    std::vector<FetchItem> items;
    items.reserve(tasks_.size());
    for (const ConvertTask* task : tasks_) items.push_back({&plan.source_.tensors[task->tensor], wanted(*task)});
    fetch_.join(options.part, options.files, std::move(items), options.fetch);
    if (options.progress) expect_progress();
  }

  ConvertReport run() {
    try {
      return run_all();
    } catch (...) {
      const std::lock_guard lock(failure_mutex_);
      if (failure_) std::rethrow_exception(failure_);  // the first one: others may only say that they were cancelled
      throw;
    }
  }

 private:
  ConvertReport run_all() {
    ConvertReport report;
    run_standing(pool_, standing_, [&](std::size_t task, std::size_t worker) { convert_task(task, worker); });
    if (standing_quantizes_) used(report, plan_.schedule_);
    report.quantized_there = plan_.largest_quantized_there_bytes() > 0;
    for (const Group& group : groups_) {
      const auto experts = static_cast<std::int64_t>(group.tensor->expert_first.size()) - 1;
      used(report, schedule_for(plan_.schedule_, experts, pool_.threads()));
      report.launches += run_spawning(plan_.schedule_, group.tensor->expert_first, pool_.threads(),
                                      [&](std::size_t task, std::size_t worker) { convert_task(group.first + task, worker); });
    }
    {
      const Range range(fetch_.parts() > 1 ? &traces_[0] : nullptr, "wait");
      fetch_.leave(options_.part);
    }
    const std::vector<Trace>& readers = fetch_.readers();
    for (std::size_t i = 0; i < readers.size(); ++i)
      (i % fetch_.parts() == options_.part ? report.readers : report.shared_readers).push_back(readers[i]);
    report.bytes_read = fetch_.bytes_read(options_.part);
    report.peak_buffer_bytes = fetch_.peak_buffer_bytes(options_.part);
    return report;
  }

  struct Group {
    const ConvertPlan::TensorTasks* tensor;
    std::size_t first;  // of its tasks
  };

  bool standing(const ConvertPlan::TensorTasks& tensor) const {
    return !tensor.quantizes || tensor.there || plan_.schedule_ == Schedule::kSerial || plan_.schedule_ == Schedule::kPool;
  }

  std::tuple<std::int32_t, std::uint64_t> place(const ConvertTask& task) const {
    const std::vector<Extent> extents = task.rows_of->extents(task.first_row, 1);
    return extents.empty() ? std::tuple(-1, std::uint64_t{0}) : std::tuple(extents[0].file, extents[0].offset);
  }

  // What standing threads do comes first, all of it in file order; then tensor by tensor, those in file order.
  void order() {
    std::vector<std::pair<std::tuple<std::int32_t, std::uint64_t>, const ConvertTask*>> placed;
    std::vector<std::pair<std::tuple<std::int32_t, std::uint64_t>, const ConvertPlan::TensorTasks*>> spawning;
    for (const ConvertPlan::TensorTasks& tensor : plan_.tensors_) {
      if (!standing(tensor)) {
        spawning.emplace_back(place(tensor.tasks.front()), &tensor);
        continue;
      }
      standing_quantizes_ = standing_quantizes_ || (tensor.quantizes && !tensor.there);
      for (const ConvertTask& task : tensor.tasks) placed.emplace_back(place(task), &task);
    }
    std::sort(placed.begin(), placed.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    std::sort(spawning.begin(), spawning.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    for (const auto& [at, task] : placed) tasks_.push_back(task);
    standing_ = tasks_.size();
    for (const auto& [at, tensor] : spawning) {
      groups_.push_back({tensor, tasks_.size()});
      for (const ConvertTask& task : tensor->tasks) tasks_.push_back(&task);
    }
  }

  static void used(ConvertReport& report, Schedule schedule) {
    if (std::find(report.schedules.begin(), report.schedules.end(), schedule) == report.schedules.end()) report.schedules.push_back(schedule);
  }

  void convert_task(std::size_t index, std::size_t worker) {
    try {
      convert_one(index, worker);
    } catch (const std::exception&) {
      {
        const std::lock_guard lock(failure_mutex_);
        if (!failure_) failure_ = std::current_exception();
      }
      fetch_.fetcher().cancel(std::current_exception());  // or workers would wait for room that this one no longer gives back
      throw;
    }
  }

  void convert_one(std::size_t index, std::size_t worker) {
    const ConvertTask& task = *tasks_[index];
    const SourceTensor& tensor = plan_.source_.tensors[task.tensor];
    Trace* trace = &traces_[worker];
    Scratch& scratch = scratch_[worker];
    const bool panels = task.layout == Layout::kPanels;
    std::byte* out = task.out && !panels && !options_.deliver ? task.out : nullptr;
    const std::span<const std::byte* const> data = checked(task, fetch_.fetcher().acquire(item(index), trace), scratch, trace);
    const std::byte* stored = nullptr;
    if (task.rows_of->in_place(data, task.first_row, task.rows)) {
      stored = data.front();
    } else {
      const Range range(trace, task.phase ? task.phase : "gather");
      std::byte* gathered = grown(scratch.stored, task.rows * task.rows_of->row_bytes());
      task.rows_of->gather(task.first_row, task.rows, data, gathered);
      stored = gathered;
    }
    if (task.there) return quantize_there(index, task, stored, scratch, trace);
    // What is stored in the type it is held in is packed from where it lies, after its scales were checked.
    const bool as_stored = panels && tensor.dtype == task.to && tensor.transform == Transform::kNone;
    if (as_stored) out = const_cast<std::byte*>(stored);
    else if (!out) out = grown(scratch.out, task.bytes());
    if (task.out && !options_.deliver) touch(task, trace);
    if (needs_quantizing(tensor, task.to)) quantize(task, tensor, stored, out, scratch, trace);
    else {
      const Range range(trace, task.phase ? task.phase : tensor.dtype == task.to ? "gather" : "cast");
      transform(task, tensor, stored, out, scratch);
    }
    if (panels) pack(task, out, scratch, trace);
    if (options_.deliver && task.out) deliver(task, out, trace);
    if (!as_stored) fetch_.fetcher().release(item(index));
    if (options_.sink && task.kept) options_.sink(task, out, trace);
    if (as_stored) fetch_.fetcher().release(item(index));
    if (options_.progress) progress(task);
  }

  void quantize_there(std::size_t index, const ConvertTask& task, const std::byte* stored, Scratch& scratch, Trace* trace) {
    std::byte* const blocks = options_.sink && task.kept ? grown(scratch.out, task.bytes()) : nullptr;
    options_.quantize_there(task, plan_.source_.tensors[task.tensor], stored, blocks, trace);
    fetch_.fetcher().release(item(index));
    if (blocks) options_.sink(task, blocks, trace);
    if (options_.progress) progress(task);
  }

  std::size_t item(std::size_t index) const { return fetch_.item(options_.part, index); }

  void deliver(const ConvertTask& task, const std::byte* rows, Trace* trace) const {
    const Range range(trace, task.phase ? task.phase : is_block_format(task.to) ? "upload_blocks" : "upload");
    options_.deliver(task.out, rows, static_cast<std::size_t>(task.bytes()));
  }

  // The memory that the rows will stay in: the system hands it out when it is first written, which costs as much as all else where a
  // virtual machine has to ask its host for it, and would be taken for the work of whoever writes first.
  static void touch(const ConvertTask& task, Trace* trace) {
    const Range range(trace, task.phase ? task.phase : "first_touch");
    std::int64_t first = 0, rows = task.rows;
    if (task.layout == Layout::kPanels) first = task.out_row / kPanelRows * kPanelRows, rows = task.out_row + task.rows - first;
    const std::int64_t stride = row_bytes(task.to, task.columns_count);
    populate(task.out + first * stride, rows * stride);
  }

  // Rows of the task to the panels of their expert; a part of a panel by way of a panel of the worker's own.
  void pack(const ConvertTask& task, const std::byte* rows, Scratch& scratch, Trace* trace) const {
    const Range range(trace, task.phase ? task.phase : "pack");
    const auto pack_panel = options_.micro->panels->pack;
    const std::int64_t stride = row_bytes(task.to, task.columns_count), end = task.out_row + task.rows;
    for (std::int64_t row = task.out_row, next = row; row < end; rows += (next - row) * stride, row = next) {
      next = std::min(end, (row / kPanelRows + 1) * kPanelRows);
      const std::int64_t first = row % kPanelRows;
      std::byte* panel = task.out + (row - first) * stride;
      const bool last = task.ends_expert && next == end;
      if (first == 0 && (last || next - row == kPanelRows)) {
        pack_panel(rows, 0, next - row, task.columns_count, panel);
        continue;
      }
      std::byte* part = grown(scratch.panel, kPanelRows * stride);
      pack_panel(rows, first, next - row, task.columns_count, part);
      // The last part brings the zeros of the rows that do not exist.
      copy_panel_rows(task.to, part, first, last ? kPanelRows - first : next - row, task.columns_count, panel);
    }
  }

  // The bytes that hold a task's rows. Where pieces are to be checked and what is read is a copy, whole pieces are.
  std::vector<Extent> wanted(const ConvertTask& task) const {
    std::vector<Extent> extents = task.rows_of->extents(task.first_row, task.rows);
    if (!options_.check || extents.empty() || options_.fetch.mode == ReadMode::kMap) return extents;
    const PieceCheck::Pieces pieces = options_.check->covering(extents.front().offset, extents.back().offset + extents.back().bytes - extents.front().offset);
    std::uint64_t bytes = 0;
    for (std::int64_t piece = pieces.first; piece < pieces.first + pieces.count; ++piece) bytes += options_.check->bytes_of(piece);
    return {{extents.front().file, options_.check->data_offset() + static_cast<std::uint64_t>(pieces.first) * PieceCheck::piece_bytes(), bytes}};
  }

  // Where the extents of a task lie, once they are known to be what was written.
  std::span<const std::byte* const> checked(const ConvertTask& task, std::span<const std::byte* const> data, Scratch& scratch, Trace* trace) {
    if (!options_.check || data.empty()) return data;
    const Range range(trace, "verify");
    const std::vector<Extent> extents = task.rows_of->extents(task.first_row, task.rows);
    if (options_.fetch.mode == ReadMode::kMap) {
      for (std::size_t i = 0; i < extents.size(); ++i) options_.check->check_once(data[i] - extents[i].offset, extents[i].offset, extents[i].bytes);
      return data;
    }
    const std::uint64_t first = extents.front().offset;
    const PieceCheck::Pieces pieces = options_.check->covering(first, extents.back().offset + extents.back().bytes - first);
    options_.check->check(pieces.first, data.front(), pieces.count);
    const std::uint64_t start = options_.check->data_offset() + static_cast<std::uint64_t>(pieces.first) * PieceCheck::piece_bytes();
    scratch.data.clear();
    for (const Extent& extent : extents) scratch.data.push_back(data.front() + (extent.offset - start));
    return scratch.data;
  }

  void expect_progress() {
    left_ = std::vector<std::atomic<std::size_t>>(plan_.source_.tensors.size());
    for (const ConvertTask* task : tasks_) left_[task->tensor].fetch_add(1, std::memory_order_relaxed);
    const auto tensors = std::count_if(left_.begin(), left_.end(), [](const auto& left) { return left.load(std::memory_order_relaxed) > 0; });
    options_.progress->expect(plan_.out_bytes(), tensors);
  }

  void progress(const ConvertTask& task) {
    const bool quantizes = needs_quantizing(plan_.source_.tensors[task.tensor], task.to);
    options_.progress->enter(task.phase ? task.phase : quantizes ? "quantize" : "gather");
    options_.progress->finish_rows(task.bytes());
    if (left_[task.tensor].fetch_sub(1, std::memory_order_relaxed) == 1) options_.progress->finish_tensor();
  }

  void quantize(const ConvertTask& task, const SourceTensor& tensor, const std::byte* stored, std::byte* out, Scratch& scratch, Trace* trace) {
    std::unique_lock<std::mutex> turn;
    if (options_.quantize_turn) {
      const Range range(trace, "wait");
      turn = std::unique_lock(*options_.quantize_turn);
    }
    {
      const Range range(trace, task.phase ? task.phase : "quantize");
      transform(task, tensor, stored, out, scratch);
    }
    if (!turn.owns_lock()) return;
    const Range range(trace, "wait");  // handing the turn over wakes a thread, which may cost this one its core
    turn.unlock();
  }

  void transform(const ConvertTask& task, const SourceTensor& tensor, const std::byte* stored, std::byte* out, Scratch& scratch) const {
    const auto convert = options_.micro ? options_.micro->formats->convert : convert_values;
    const std::int64_t values = task.values();
    DType from = tensor.dtype;
    const std::byte* as_stored = stored;
    if (tensor.transform != Transform::kNone) {
      auto* widened = reinterpret_cast<float*>(grown(scratch.widened, values * static_cast<std::int64_t>(sizeof(float))));
      widen(tensor, stored, values, widened);
      stored = reinterpret_cast<const std::byte*>(widened), from = DType::kF32;
    }
    if (const std::int64_t bad = convert(from, stored, task.to, out, values); bad >= 0)
      refuse_value(task, tensor, is_block_format(tensor.dtype) ? as_stored : as_stored + row_bytes(tensor.dtype, bad), bad);
  }

  const ConvertPlan& plan_;
  const ConvertOptions& options_;
  ThreadPool& pool_;
  std::vector<Trace>& traces_;
  std::vector<Scratch> scratch_;
  std::vector<const ConvertTask*> tasks_;
  std::size_t standing_ = 0;
  bool standing_quantizes_ = false;
  std::vector<Group> groups_;
  std::vector<std::atomic<std::size_t>> left_;  // tasks of each source tensor that are not finished; for the progress alone
  std::mutex failure_mutex_;
  std::exception_ptr failure_;
  FetchTogether alone_{1, [] {}};
  FetchTogether& fetch_;  // with the others, or alone
};

std::string quantize_path(Schedule schedule, const cpu::Micro* micro) {
  return fmt::format("{}-{}", name(schedule), micro ? cpu::name(micro->isa) : "scalar");
}

ConvertReport convert(const ConvertPlan& plan, const ConvertOptions& options, ThreadPool& pool, std::vector<Trace>& traces) {
  return Conversion(plan, options, pool, traces).run();
}

}  // namespace crossover
