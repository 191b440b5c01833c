#include "engine/load/quantize_file.h"

#include <mutex>

#include "engine/checkpoint/write_gguf.h"
#include "engine/load/convert.h"
#include "engine/load/load_knobs.h"
#include "engine/load/row_blocks.h"
#include "kernels/thread_pool.h"

namespace crossover {

QuantizeReport quantize_checkpoint(const std::filesystem::path& model, const std::filesystem::path& out, const QuantizeOptions& options) {
  const double begin_s = monotonic_s();
  ThreadPool pool(options.threads);
  std::vector<Trace> traces(static_cast<std::size_t>(options.threads));
  for (Trace& trace : traces) trace.delay_once(delay_of(options.knobs));
  QuantizeReport report;
  const std::size_t open = traces[0].open("open");
  const Source source = open_checkpoint(model);
  report.read = read_choice(options.knobs, source, 1);
  const SourceFiles files(source, report.read.mode);
  const std::vector<GgufTensorPlan> tensors = plan_gguf(source, options.type);
  const Schedule schedule = schedule_of(options.knobs);
  ConvertPlan plan(source, schedule);
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    plan.add(i, tensors[i].dtype, {}, {}, nullptr);
    report.weights += tensors[i].shape[0] * tensors[i].shape[1] * tensors[i].shape[2];
  }
  report.bytes = plan.out_bytes();
  report.quantized_values = plan.quantized_values();
  GgufWriter writer(out, source, tensors);
  traces[0].close(open);

  std::mutex turn;
  ConvertOptions convert_options{files, fetch_options(options.knobs, report.read.mode), load_micro(options.knobs), schedule == Schedule::kSerial ? &turn : nullptr, options.progress, {}};
  RowBlocks blocks(source, schedule, [&](std::size_t tensor, std::int64_t first_row, const std::byte* bytes, std::int64_t rows) {
    writer.write(tensor, first_row, bytes, rows);
  });
  convert_options.sink = [&](const ConvertTask& task, const std::byte* bytes, Trace* trace) {
    const Range range(trace, "cache_write");
    blocks.put(task, bytes);
  };
  const ConvertReport converted = convert(plan, convert_options, pool, traces);
  {
    const Range range(&traces[0], "cache_write");
    if (options.progress) options.progress->enter("cache_write");
    writer.finish();
  }
  const double end_s = monotonic_s();
  report.total_s = end_s - begin_s;
  report.bytes_read = converted.bytes_read;
  report.peak_buffer_bytes = converted.peak_buffer_bytes;
  report.counters.add("launches.quantize", converted.launches);
  report.counters.path("read", name(report.read.mode));
  for (Schedule used : converted.schedules) report.counters.path("quantize", quantize_path(used, convert_options.micro));
  report.phases = load_shares(traces, converted, begin_s, end_s);
  report.thread_busy_s = busy_seconds(traces, begin_s, end_s);
  add_timeline(0, traces, converted.readers, begin_s, report.timeline);
  return report;
}

}  // namespace crossover
