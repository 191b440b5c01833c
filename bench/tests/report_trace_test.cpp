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

TEST_F(Report, PhasesOfAGpuShowTheirBytesOrWhyThereAreNone) {
  ordered_json result = sample_result();
  EXPECT_EQ(html_of(result).find("What the GPU did"), std::string::npos);
  const ordered_json counted{{"metrics", {"dram__bytes_read.sum"}},
                             {"phases",
                              {{{"name", "norm"}, {"device", 0}, {"launches", 3}, {"busy_s", 0.001}, {"sampled_s", 0}},
                               {{"name", "mlp"}, {"device", 0}, {"launches", 2}, {"busy_s", 0.5}, {"sampled_s", 0.5}, {"read_bytes", 1.5e12},
                                {"written_bytes", 2e9}, {"bytes_per_s", 3.004e12}, {"of_peak_percent", 62.5}, {"divided_percent", 12.5}},
                               7}}};
  result["traces"] = {{{"arm", "A"}, {"cell", 0}, {"flags", {"traced", "trace: counters of GPU 0 saw 38 % of the time"}},
                       {"trace", {{"source", "cupti"}, {"phases", {{{"name", "phase_of_kernels"}, {"launches", 1}, {"kernel_s", 1}}}}, {"counters", counted}}}},
                      {{"arm", "B"}, {"cell", 0}, {"flags", {"traced"}},
                       {"trace", {{"source", "cupti"}, {"phases", {{{"name", "mlp"}, {"launches", 9}, {"kernel_s", 0.25}}}},
                                  {"counters", {{"why", "no <counters> here"}}}}}},
                      {{"arm", "B"}, {"cell", 0}, {"trace", {{"counters", 5}, {"phases", 5}}}}};
  const std::string html = html_of(result);
  const auto has = [&](const char* text) { return html.find(text) != std::string::npos; };
  EXPECT_TRUE(has("What the GPU did"));
  EXPECT_TRUE(has("1500 GB")) << html;
  EXPECT_TRUE(has("3004 GB/s"));
  EXPECT_TRUE(has("62.5 %"));
  EXPECT_TRUE(has("saw 38 % of the time"));
  EXPECT_TRUE(has("250 ms"));
  EXPECT_TRUE(has("No counters of its memory: no &lt;counters&gt; here"));
  EXPECT_FALSE(has("phase_of_kernels"));  // the counters' own phases stand for it
  EXPECT_LT(html.find("<td>mlp</td>"), html.find("<td>norm</td>"));  // the longest first
  EXPECT_FALSE(has("<th class=\"n\">GPU</th>"));
  result["traces"][0]["trace"]["counters"]["phases"][0]["device"] = 1;
  EXPECT_NE(html_of(result).find("<th class=\"n\">GPU</th>"), std::string::npos);
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
