#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "bench/micro/table.h"
#include "bench/page_tables.h"

namespace crossover::micro_bench {
namespace {

using nlohmann::json;

json benchmark_row(const char* name, const char* label, double rate, double seconds) {
  return {{"name", name}, {"run_type", "iteration"}, {"label", label}, {"flop/s", rate}, {"bytes/s", rate}, {"s/call", seconds}};
}

std::string run_of(json rows, json peers = json::object()) {
  const json run{{"ceilings", {{"threads", 4}, {"fma_f32_1_flop_per_s", 100e9}, {"fma_f32_all_flop_per_s", 400e9}, {"dot_int8_1_op_per_s", 400e9}, {"dot_int8_all_op_per_s", 1200e9},
                        {"dot_bf16_1_flop_per_s", 0.0}, {"dot_bf16_all_flop_per_s", 0.0}, {"read_1_bytes_per_s", 20e9}, {"read_all_bytes_per_s", 40e9}}},
          {"benchmarks", std::move(rows)},
          {"peers", std::move(peers)}};
  return run.dump();
}

TEST(KernelTable, SetsInstructionSetsSideBySideUnderTheirCeilings) {
  const std::string run = run_of({benchmark_row("matmul/q6_k/avx2/M:16/N:8/threads:1/min_time:0.300/manual_time", "f32", 25e9, 2),
                           benchmark_row("matmul/q6_k/avx512/M:16/N:8/threads:1/min_time:0.300/manual_time", "int8", 200e9, 1)});
  EXPECT_EQ(kernel_table(run),
            "| kernel | shape | threads | bound by | avx2 | avx512 |\n| --- | --- | --- | --- | --- | --- |\n"
            "| `matmul/q6_k` | M:16 N:8 | 1 | f32, int8 | 25 (25 %) | 200 (50 %) |\n");
}

TEST(KernelTable, ThreadsHaveTheirShareOfTheMachine) {
  const std::string run = run_of({benchmark_row("a/avx512/M:1/threads:2", "int8", 300e9, 1), benchmark_row("a/avx512/M:1/threads:8", "int8", 300e9, 1)});
  const std::string table = kernel_table(run);
  EXPECT_NE(table.find("| 2 | int8 | 300 (50 %) |"), std::string::npos) << table;
  EXPECT_NE(table.find("| 8 | int8 | 300 (25 %) |"), std::string::npos) << table;
}

TEST(KernelTable, ReadLoopOfTheSameMinutesComesBeforeTheCeiling) {
  json row = benchmark_row("matvec/avx512/N:8/threads:1", "memory", 12e9, 1);
  EXPECT_NE(kernel_table(run_of({row})).find("12 (60 %)"), std::string::npos);
  row["read_bytes/s"] = 16e9;
  EXPECT_NE(kernel_table(run_of({row})).find("12 (75 %)"), std::string::npos);
}

TEST(KernelTable, WithoutACeilingThereIsNoFraction) {
  EXPECT_NE(kernel_table(run_of({benchmark_row("a/avx512bf16/M:1/threads:1", "bf16", 7e9, 1)})).find("| bf16 | 7 |"), std::string::npos);
}

TEST(KernelTable, RepetitionsCountByTheirMedianAndAggregatesNot) {
  json mean = benchmark_row("a/avx512/M:1/threads:1_mean", "f32", 99e9, 1);
  mean["run_type"] = "aggregate";
  const std::string run = run_of({benchmark_row("a/avx512/M:1/threads:1", "f32", 10e9, 1), benchmark_row("a/avx512/M:1/threads:1", "f32", 50e9, 1),
                           benchmark_row("a/avx512/M:1/threads:1", "f32", 20e9, 1), mean});
  EXPECT_NE(kernel_table(run).find("| 20 (20 %) |"), std::string::npos) << kernel_table(run);
}

// Other programs count operations in other ways: seconds of a call are compared, and shown in our count.
TEST(KernelTable, PeersStandBesideTheFastestPath) {
  const json peers = {{"other", {{{"kernel", "a"}, {"shape", "M:1"}, {"threads", 1}, {"seconds", 4.0}}, {{"kernel", "b"}, {"shape", "M:1"}, {"threads", 1}, {"seconds", 1.0}}}}};
  const std::string run = run_of({benchmark_row("a/portable/M:1/threads:1", "f32", 5e9, 8), benchmark_row("a/avx2/M:1/threads:1", "f32", 20e9, 2),
                           benchmark_row("a/avx2/M:2/threads:1", "f32", 20e9, 2)},
                          peers);
  const std::string table = kernel_table(run);
  EXPECT_NE(table.find("| other | fastest / other |"), std::string::npos) << table;
  EXPECT_NE(table.find("| `a` | M:1 | 1 | f32 | 5 (5 %) | 20 (20 %) | 10 | 2.00 |"), std::string::npos) << table;
  EXPECT_NE(table.find("| `a` | M:2 | 1 | f32 |  | 20 (20 %) |  |  |"), std::string::npos) << table;
  EXPECT_EQ(unmatched_rows(run, "other"), std::vector<std::string>{"b M:1 threads:1"});
}

TEST(KernelTable, RowsWithoutInstructionSetOrCeilingAreLeftOut) {
  const std::string table = kernel_table(run_of({benchmark_row("dequantize/q6_k/plain", "", 1, 1), benchmark_row("dequantize/q6_k/avx2", "", 1, 1)}));
  EXPECT_EQ(std::count(table.begin(), table.end(), '\n'), 2) << table;
}

TEST(KernelTable, SaysWhatIsWrongWithARow) {
  EXPECT_THROW(kernel_table(run_of({benchmark_row("a/avx2/M:1/threads:1", "sparkle", 1, 1)})), std::runtime_error);
  json row = benchmark_row("a/avx2/M:1/threads:1", "f32", 1, 1);
  row.erase("s/call");
  EXPECT_THROW(kernel_table(run_of({row})), std::runtime_error);
}

TEST(KernelTable, OfAGpuStandsBesideTheCeilingsOfItsRun) {
  const auto row = [](const char* name, const char* label, double flops, double bytes) {
    return json{{"name", name}, {"run_type", "iteration"}, {"label", label}, {"flop/s", flops}, {"bytes/s", bytes}, {"real_time", 12.5}, {"time_unit", "us"}};
  };
  const json failed{{"name", "moe/T:1/manual_time"}, {"run_type", "iteration"}, {"error_occurred", true}, {"error_message", "too little memory"}};
  const json run{{"benchmarks", {row("ceiling/read/manual_time", "memory", 0, 4e12), row("matvec/q6_k/M:1/min_time:0.1/manual_time", "memory", 5e12, 3e12),
                                 row("gemm/M:512/manual_time", "bf16", 4e14, 1e12), failed}}};
  const Cells table = gpu_kernel_cells(run.dump());
  ASSERT_EQ(table.rows.size(), 4u);
  EXPECT_EQ(table.rows[1], (std::vector<std::string>{"matvec/q6_k/M:1", "12.5 us", "5.0", "3000", "memory", "75 %"}));
  EXPECT_EQ(table.rows[2].back(), "");  // without that ceiling
  EXPECT_EQ(table.rows[3], (std::vector<std::string>{"moe/T:1", "not run: too little memory", "", "", "", ""}));
  for (const auto& cells : table.rows) EXPECT_EQ(cells.size(), table.head.size());
}

TEST(PageTables, OnlyWhatStandsBetweenTheMarksChanges) {
  int tables = 0;
  const auto make = [](const std::string& kind, const std::string& result) { return kind + " of " + result + "\n"; };
  EXPECT_EQ(with_tables("words\n<!-- table kernels x -->\nold\n<!-- end -->\nmore\n", make, tables), "words\n<!-- table kernels x -->\n\nkernels of x\n\n<!-- end -->\nmore\n");
  EXPECT_EQ(tables, 1);
}

}  // namespace
}  // namespace crossover::micro_bench
