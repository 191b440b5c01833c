// Kernels of the cuda backend: `crossover_gpu_micro [--benchmark_filter=REGEX] [--benchmark_out=FILE.json]`, and at the end one table with the
// fraction of the ceiling that each one reaches. Exit code 4 without a GPU, unless the benchmarks are only listed.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "bench/micro/gpu/gpu_rows.h"
#include "kernels/cuda/runtime.h"

namespace {

using crossover::cuda::Device;

// Best published figure of the same work where one is known, with its source; what is not comparable in full says so.
const std::map<std::string, const char*>& published() {
  static const std::map<std::string, const char*> kFigures{
      {"gdn_mixer/T:2048/nk:16/nv:32", "scan alone 108 us, FlashInfer, H100 (PR 3788)"},
      {"gdn_mixer/T:8192/nk:16/nv:32", "scan alone 246 us, FlashInfer, H100 (PR 3788); 280 us FlashQLA, H200"},
      {"gdn_mixer/T:32768/nk:16/nv:32", "scan alone 806 us, FlashInfer, H100 (PR 3788)"},
      {"gdn_mixer/T:1/nk:16/nv:32", "step alone 3.3 us, FlashInfer, H20 (PR 2370)"},
      {"attention/f16/T:2048/past:0/heads:16/kv_heads:2", "537 TFLOP/s, FlashAttention-3, H100 (paper)"},
      {"attention/f16/T:8192/past:0/heads:16/kv_heads:2", "628 TFLOP/s, FlashAttention-3, H100 (paper)"},
      {"attention/f16/T:16384/past:0/heads:16/kv_heads:2", "642 TFLOP/s, FlashAttention-3, H100 (paper)"},
      {"attention/f16/T:2048/past:0/heads:16/kv_heads:2/wgmma", "537 TFLOP/s, FlashAttention-3, H100 (paper)"},
      {"attention/f16/T:8192/past:0/heads:16/kv_heads:2/wgmma", "628 TFLOP/s, FlashAttention-3, H100 (paper)"},
      {"attention/f16/T:16384/past:0/heads:16/kv_heads:2/wgmma", "642 TFLOP/s, FlashAttention-3, H100 (paper)"},
      {"moe_experts/q6_k/T:1/E:256/k:8/H:2048/Im:512", "29.5 us, other shard and FP8, vLLM, H100 (PR 44830)"},
  };
  return kFigures;
}

class Table : public benchmark::ConsoleReporter {
 public:
  Table() : ConsoleReporter(OO_Tabular) {}
  void ReportRuns(const std::vector<Run>& runs) override {
    runs_.insert(runs_.end(), runs.begin(), runs.end());
    ConsoleReporter::ReportRuns(runs);
  }
  void print() const {
    std::map<std::string, double> ceilings;
    for (const Run& run : runs_)
      if (!run.error_occurred && run.benchmark_name().starts_with("ceiling/")) ceilings[run.report_label] = rate(run);
    fmt::print("\n| kernel | us | TFLOP/s | GB/s | bound | of it | published |\n|---|--:|--:|--:|---|--:|---|\n");
    for (const Run& run : runs_) {
      const std::string name = name_of(run);
      if (run.error_occurred) {
        fmt::print("| {} | not run: {} | | | | | |\n", name, run.error_message);
        continue;
      }
      const double ceiling = ceilings.contains(run.report_label) ? ceilings.at(run.report_label) : 0;
      const auto figure = published().find(name);
      fmt::print("| {} | {:.1f} | {:.1f} | {:.0f} | {} | {} | {} |\n", name, run.GetAdjustedRealTime(), run.counters.at("flop/s").value / 1e12,
                 run.counters.at("bytes/s").value / 1e9, run.report_label, ceiling > 0 ? fmt::format("{:.0f} %", 100 * rate(run) / ceiling) : "",
                 figure == published().end() ? "" : figure->second);
    }
  }

 private:
  static double rate(const Run& run) { return run.counters.at(run.report_label == "memory" ? "bytes/s" : "flop/s").value; }
  static std::string name_of(const Run& run) { return run.run_name.function_name; }
  std::vector<Run> runs_;
};

}  // namespace

int main(int argc, char** argv) {
  const bool lists = std::any_of(argv, argv + argc, [](std::string_view argument) { return argument.starts_with("--benchmark_list_tests"); });
  std::string why;
  if (!lists && crossover::cuda::device_count(&why) == 0) {
    fmt::print(stderr, "crossover_gpu_micro: {}\n", why);
    return 4;
  }
  crossover::micro_bench::add_gpu_rows();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 4;
  Table table;
  benchmark::RunSpecifiedBenchmarks(&table);
  if (!lists) table.print();
  return 0;
}
