// The trace.json of a report, which trace viewers open.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "bench/tests/report_files.h"
#include "bench/tests/sample_result.h"

namespace crossover {
namespace {

using nlohmann::ordered_json;
using Report = ReportFiles;

TEST_F(Report, TraceHoldsThePhases) {
  html_of(sample_result());
  const auto trace = ordered_json::parse(test::read_bytes(folder_ / "out" / "trace.json"));
  int phases = 0;
  for (const auto& event : trace.at("traceEvents")) {
    if (event.at("ph") != "X") continue;
    ++phases;
    EXPECT_EQ(event.at("name"), "gdn.scan");
    EXPECT_DOUBLE_EQ(event.at("dur"), 5e5);
  }
  EXPECT_EQ(phases, 16);
}

TEST_F(Report, TraceShowsThreadsWhereTheirTimelineWasKept) {
  ordered_json result = sample_result();
  result["samples"][0]["timeline"] = {{{"rank", 1}, {"thread", 0}, {"spans", {{"quantize", 0.5, 0.75}, {"wait", 0.75, 1.0}}}},
                                      {{"rank", 1}, {"thread", -1}, {"spans", {{"read", 0.25, 0.5}, {"read"}, 7}}},
                                      5};
  html_of(result);
  const auto trace = ordered_json::parse(test::read_bytes(folder_ / "out" / "trace.json"));
  std::vector<std::string> names, spans;
  for (const auto& event : trace.at("traceEvents")) {
    if (event.at("name") == "thread_name" && event.at("tid") != 0) names.push_back(event.at("args").at("name"));
    if (event.at("ph") == "X" && event.at("tid").get<long>() >= 1) spans.push_back(event.at("name"));
  }
  EXPECT_EQ(names, (std::vector<std::string>{"worker 0", "reader 0"}));
  EXPECT_EQ(spans, (std::vector<std::string>{"quantize", "wait", "read"}));
}

TEST_F(Report, TraceShowsWhatAGpuDidInRowsOfItsOwn) {
  ordered_json result = sample_result();
  result["samples"] = ordered_json::array();
  result["traces"] = {{{"arm", "B"}, {"cell", 0}, {"flags", {"traced"}},
                       {"trace", {{"source", "cupti"}, {"launches", {{"engine", 2}}},
                                  {"rows", {{{"name", "GPU 0 kernels, stream 7"}, {"spans", {{"gemm", 0.25, 0.5, "mlp"}, {"norm", 0.5, 0.75, "norm"}, 7}}},
                                            {{"name", "rank 0 phases"}, {"spans", {{"mlp", 0.25, 0.5, "mlp"}}}}, 3}}}}},
                      {{"arm", "A"}, {"cell", 0}, {"flags", {"traced"}}, {"trace", {{"source", "events"}, {"why", "no libcupti"}, {"rows", 5}}}}, 9};
  html_of(result);
  const auto trace = ordered_json::parse(test::read_bytes(folder_ / "out" / "trace.json"));
  std::vector<std::string> rows, spans;
  for (const auto& event : trace.at("traceEvents")) {
    if (event.at("name") == "thread_name") rows.push_back(event.at("args").at("name"));
    if (event.at("ph") == "X") spans.push_back(event.at("name").get<std::string>() + " in " + event.at("cat").get<std::string>());
  }
  EXPECT_EQ(rows, (std::vector<std::string>{"GPU 0 kernels, stream 7", "rank 0 phases"}));
  EXPECT_EQ(spans, (std::vector<std::string>{"gemm in mlp", "norm in norm", "mlp in mlp"}));
}

TEST_F(Report, TraceLaysSharesEndToEnd) {
  ordered_json result = sample_result();
  const auto phase = [](const char* name, int rank, double duration_s, int parent) {
    return ordered_json{{"name", name}, {"rank", rank}, {"start_s", 0}, {"duration_s", duration_s}, {"parent", parent}};
  };
  result["samples"] = {
      {{"arm", "A"},
       {"phases",
        {phase("load", 0, 3, -1), phase("load.read", 0, 1, 0), phase("load.quantize", 0, 2, 0), phase("load", 1, 3, -1),
         phase("load.read", 1, 3, 3), phase("prefill", 0, 1, -1), phase("prefill.embed", 0, 0.5, 5)}}}};
  html_of(result);
  const auto trace = ordered_json::parse(test::read_bytes(folder_ / "out" / "trace.json"));
  std::vector<std::pair<std::string, double>> found;
  for (const auto& event : trace.at("traceEvents"))
    if (event.at("ph") == "X") found.emplace_back(event.at("name"), event.at("ts").get<double>() / 1e6);
  const std::vector<std::pair<std::string, double>> wanted{{"load", 0},         {"load.read", 0}, {"load.quantize", 1},
                                                           {"load", 0},         {"load.read", 0}, {"prefill", 3},
                                                           {"prefill.embed", 3}};
  EXPECT_EQ(found, wanted);
}

}  // namespace
}  // namespace crossover
