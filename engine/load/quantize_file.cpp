#include "engine/load/quantize_file.h"

#include <algorithm>
#include <atomic>
#include <mutex>

#include "engine/checkpoint/read_rows.h"
#include "engine/checkpoint/write_gguf.h"
#include "engine/load/convert.h"
#include "engine/load/load_knobs.h"
#include "kernels/thread_pool.h"

namespace crossover {
namespace {

struct FileTask {
  std::size_t tensor;
  RowTask rows;        // out is set by the worker that takes it
  std::int64_t to_row;  // in the written tensor, expert-major
};

std::vector<FileTask> file_tasks(const Source& source, const std::vector<GgufTensorPlan>& plan) {
  std::vector<FileTask> tasks;
  for (std::size_t i = 0; i < plan.size(); ++i) {
    const SourceTensor& tensor = source.tensors[i];
    const std::int64_t rows = tensor.shape[0] * tensor.shape[1], columns = tensor.shape[2], piece = rows_per_task(columns);
    for (std::int64_t first = 0; first < rows; first += piece)
      tasks.push_back({i, {&tensor, plan[i].dtype, first, std::min(piece, rows - first), {}, columns, nullptr}, first});
  }
  return tasks;
}

}  // namespace

QuantizeReport quantize_checkpoint(const std::filesystem::path& model, const std::filesystem::path& out, const QuantizeOptions& options) {
  const double begin_s = monotonic_s();
  ThreadPool pool(options.threads);
  std::vector<Trace> traces(static_cast<std::size_t>(options.threads));
  QuantizeReport report;
  const std::size_t open = traces[0].open("open");
  const Source source = open_checkpoint(model);
  const SourceFiles files(source, read_mode(options.knobs));
  const std::vector<GgufTensorPlan> plan = plan_gguf(source, options.type);
  std::int64_t total_bytes = 0;
  for (const GgufTensorPlan& tensor : plan) {
    const std::int64_t rows = tensor.shape[0] * tensor.shape[1];
    total_bytes += rows * row_bytes(tensor.dtype, tensor.shape[2]);
    report.weights += rows * tensor.shape[2];
  }
  GgufWriter writer(out, source, plan);
  traces[0].close(open);

  std::mutex turn;
  const ConvertJob job{files, load_micro(options.knobs), is_serial(options.knobs) ? &turn : nullptr};
  report.counters.path("quantize", quantize_path(options.knobs, job.micro));
  const std::vector<FileTask> tasks = file_tasks(source, plan);
  std::vector<ConvertScratch> scratch(traces.size());
  std::vector<HostBuffer> outputs(traces.size());
  std::atomic<std::int64_t> done_bytes{0};
  pool.parallel_for(static_cast<std::int64_t>(tasks.size()), 1, [&](std::int64_t begin, std::int64_t end) {
    const auto worker = static_cast<std::size_t>(ThreadPool::worker());
    for (std::int64_t t = begin; t < end; ++t) {
      FileTask task = tasks[static_cast<std::size_t>(t)];
      const std::int64_t bytes = task.rows.rows * row_bytes(task.rows.to, task.rows.columns_count);
      if (outputs[worker].size() < static_cast<std::size_t>(bytes)) outputs[worker] = HostBuffer(static_cast<std::size_t>(bytes));
      task.rows.out = outputs[worker].data();
      convert_rows(job, task.rows, scratch[worker], &traces[worker]);
      {
        const Range range(&traces[worker], "cache_write");
        writer.write(task.tensor, task.to_row, task.rows.out, task.rows.rows);
      }
      const std::int64_t done = done_bytes.fetch_add(bytes, std::memory_order_relaxed) + bytes;
      if (worker == 0 && options.progress) options.progress(done, total_bytes);
    }
  });
  {
    const Range range(&traces[0], "cache_write");
    writer.finish();
  }
  report.bytes = total_bytes;
  const double end_s = monotonic_s();
  report.total_s = end_s - begin_s;
  std::vector<const Trace*> threads;
  for (const Trace& trace : traces) threads.push_back(&trace);
  report.phases = wall_shares(threads, begin_s, end_s);
  return report;
}

}  // namespace crossover
