// Formats of other programs, and the trace, against their rules.
#include "bench/export/export.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "bench/report/report.h"
#include "bench/tests/sample_result.h"
#include "engine/tests/temp_folder.h"

namespace crossover {
namespace {

namespace fs = std::filesystem;

class Export : public test::FolderTest {
 protected:
  std::string exported(const std::string& format, const ordered_json& result, bool publish = false) {
    std::ofstream(folder_ / "result.json") << result.dump();
    write_export(parse_export(format + "=" + (folder_ / "out").string()), {folder_ / "result.json"}, publish);
    return test::read_bytes(folder_ / "out");
  }
  ordered_json trace_of(const ordered_json& result) {
    std::ofstream(folder_ / "result.json") << result.dump();
    write_report({folder_ / "result.json"}, folder_ / "report", false);
    return ordered_json::parse(test::read_bytes(folder_ / "report" / "trace.json"));
  }
};

TEST_F(Export, NamesAreCheckedBeforeAnythingRuns) {
  EXPECT_EQ(parse_export("llama-bench=x.json").format, "llama-bench");
  EXPECT_EQ(parse_export("csv=a=b").file, "a=b");
  EXPECT_THROW(parse_export("gbenchh=x"), std::invalid_argument);
  EXPECT_THROW(parse_export("csv"), std::invalid_argument);
  EXPECT_THROW(parse_export("csv="), std::invalid_argument);
  EXPECT_THROW(parse_export("=x"), std::invalid_argument);
}

// What tools/compare.py of Google Benchmark reads: name, run_name, run_type, repetitions, times and their unit of every run.
TEST_F(Export, GbenchHasARunForEachSampleOfEachArm) {
  const auto out = ordered_json::parse(exported("gbench", sample_result()));
  EXPECT_TRUE(out.at("context").contains("date"));
  std::map<std::string, int> runs;
  for (const auto& run : out.at("benchmarks")) {
    ++runs[run.at("name")];
    EXPECT_EQ(run.at("run_name"), run.at("name"));
    EXPECT_EQ(run.at("run_type"), "iteration");
    EXPECT_EQ(run.at("time_unit"), "ns");
    EXPECT_EQ(run.at("repetitions"), 8);
    EXPECT_GT(run.at("real_time").get<double>(), 0);
    EXPECT_EQ(run.at("cpu_time"), run.at("real_time"));
  }
  EXPECT_EQ(runs, (std::map<std::string, int>{{"planted/prefill.total_s/arm:A", 8}, {"planted/prefill.total_s/arm:B", 8}}));
  EXPECT_DOUBLE_EQ(out["benchmarks"][0]["real_time"].get<double>(), 1e9) << "the first sample is an A of one second";
}

TEST_F(Export, GbenchTurnsRatesIntoTimes) {
  ordered_json result = sample_result();
  result["plan"]["primary"] = "decode.tokens_per_s";
  result["analysis"]["cells"][0]["metrics"] = {{"decode.tokens_per_s", {{"effect_percent", 1}}}};
  for (auto& sample : result["samples"]) sample["metrics"] = {{"decode.tokens_per_s", 50.0}};
  const auto out = ordered_json::parse(exported("gbench", result));
  EXPECT_DOUBLE_EQ(out["benchmarks"][0]["real_time"].get<double>(), 2e7) << "20 ms a token";
}

TEST_F(Export, LlamaBenchRowsHaveTheSettingsOfTheirArm) {
  ordered_json result = sample_result();
  result["scenario"]["workload"].update(
      {{"prompt_tokens", 512}, {"generate_tokens", 32}, {"kv_k", "f16"}, {"kv_v", "f16"}, {"threads", 2}, {"chunk", 256}});
  result["scenario"]["arms"]["B"]["workload"] = {{"kv_k", "q8_0"}};
  for (auto& sample : result["samples"])
    sample["metrics"].update({{"prefill.tokens_per_s", 512 / sample["metrics"]["prefill.total_s"].get<double>()}});
  const auto rows = ordered_json::parse(exported("llama-bench", result));
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[0]["type_k"], "f16");
  EXPECT_EQ(rows[1]["type_k"], "q8_0");
  EXPECT_EQ(rows[1]["n_prompt"], 512);
  EXPECT_EQ(rows[1]["n_gen"], 0);
  EXPECT_EQ(rows[1]["samples_ts"].size(), 8U);
  EXPECT_NEAR(rows[0]["avg_ns"].get<double>(), 1.007e9, 2e6);
  EXPECT_THROW(exported("llama-bench", sample_result()), std::runtime_error) << "no rate, no row";
}

TEST_F(Export, GithubAnnotationsAreOneLineEach) {
  ordered_json result = sample_result();
  result["verdict"]["word"] = "SLOWER", result["scenario"]["name"] = "a:b,c%\nd",
  result["verdict"]["reason"] = "first\n::error::second 5 %";
  EXPECT_EQ(exported("github", result), "::error title=SLOWER a%3Ab%2Cc%25%0Ad::first%0A::error::second 5 %25\n");
  result["verdict"]["word"] = "EQUIVALENT";
  EXPECT_TRUE(exported("github", result).starts_with("::notice "));
}

// OpenMetrics 1.0: families are not interleaved, samples follow their TYPE, the last line is "# EOF".
TEST_F(Export, OpenMetricsKeepsFamiliesTogether) {
  ordered_json result = sample_result();
  result["scenario"]["name"] = "quote \" back \\ line\nend";
  std::istringstream lines(exported("openmetrics", result));
  std::set<std::string> closed;
  std::string family, last;
  for (std::string line; std::getline(lines, line); last = line) {
    ASSERT_FALSE(line.empty());
    if (line.starts_with("# TYPE ")) {
      EXPECT_TRUE(closed.insert(family).second);
      family = line.substr(7, line.find(' ', 7) - 7);
    } else if (line.front() != '#') {
      EXPECT_EQ(line.substr(0, line.find('{')), family);
      EXPECT_NE(line.find("scenario=\"quote \\\" back \\\\ line\\nend\""), std::string::npos) << line;
      EXPECT_NO_THROW((void)std::stod(line.substr(line.rfind(' '))));
    }
  }
  EXPECT_EQ(last, "# EOF");
}

TEST_F(Export, CsvKeepsEveryDigitAndQuotes) {
  ordered_json result = sample_result();
  result["samples"][0]["metrics"]["prefill.total_s"] = 0.1234567890123456;
  result["scenario"]["name"] = "a,\"b\"";
  const std::string csv = exported("csv", result);
  EXPECT_NE(csv.find("\"a,\"\"b\"\"\",,0,0,A,0,,prefill.total_s,0.1234567890123456\n"), std::string::npos) << csv.substr(0, 300);
}

TEST_F(Export, JunitAndMarkdownSayEachCell) {
  ordered_json result = sample_result();
  result["verdict"] = {{"word", "INVALID"}, {"reason", "a < b & c"}};
  EXPECT_NE(exported("junit", result).find("<failure message=\"INVALID: a &lt; b &amp; c\"/>"), std::string::npos);
  EXPECT_NE(exported("markdown", result).find("| planted |  | INVALID | a &lt; b &amp; c |"), std::string::npos);
}

TEST_F(Export, PublishedOnesNameNoHostAndNoFolder) {
  for (const char* format : {"json", "gbench", "csv", "markdown", "openmetrics"}) {
    const std::string text = exported(format, sample_result(), true);
    for (const char* secret : {"build-box-7", "/home", "someone"})
      EXPECT_EQ(text.find(secret), std::string::npos) << format << " " << secret;
  }
  EXPECT_NE(exported("json", sample_result(), true).find("\"machine\": \"machine-"), std::string::npos);
}

// Trace Event Format: every event has ph, pid and tid; slices (X) have ts and dur >= 0 in microseconds and nest within a row; metadata
// (M) has args.name; counters (C) have numbers.
void check_trace(const ordered_json& trace) {
  std::map<std::pair<long, long>, std::vector<std::pair<double, double>>> rows;
  std::set<long> named, used;
  for (const auto& event : trace.at("traceEvents")) {
    const std::string phase = event.at("ph");
    const long process = event.at("pid"), row = event.at("tid");
    EXPECT_TRUE(event.at("name").is_string());
    used.insert(process);
    if (phase == "M") {
      EXPECT_TRUE(event.at("args").is_object());
      if (event["name"] == "process_name") named.insert(process);
    } else if (phase == "X") {
      EXPECT_GE(event.at("ts").get<double>(), 0);
      EXPECT_GE(event.at("dur").get<double>(), 0);
      rows[{process, row}].emplace_back(event["ts"], event["ts"].get<double>() + event["dur"].get<double>());
    } else {
      EXPECT_EQ(phase, "C");
      for (const auto& [name, value] : event.at("args").items()) EXPECT_TRUE(value.is_number()) << name;
    }
  }
  EXPECT_EQ(named, used) << "every process has a name";
  for (auto& [row, slices] : rows)
    for (std::size_t i = 0; i < slices.size(); ++i)
      for (std::size_t j = i + 1; j < slices.size(); ++j) {
        const auto [a, b] = slices[i];
        const auto [c, d] = slices[j];
        const double hair = 5e-4;  // half a nanosecond
        const bool apart = b <= c + hair || d <= a + hair, inside = (a <= c + hair && d <= b + hair) || (c <= a + hair && b <= d + hair);
        EXPECT_TRUE(apart || inside) << a << ".." << b << " crosses " << c << ".." << d;
      }
}

TEST_F(Export, TraceKeepsTheRulesOfItsFormat) {
  ordered_json result = sample_result();
  const auto phase = [](const char* name, int rank, double start_s, double duration_s, int parent) {
    return ordered_json{{"name", name}, {"rank", rank}, {"start_s", start_s}, {"duration_s", duration_s}, {"parent", parent}};
  };
  // Thirds do not add up in binary, and the last share leaves its parent by a rounding.
  result["samples"][0]["phases"] = {phase("load", 0, 0, 1.0 / 3 * 3, -1), phase("load.read", 0, 0, 1.0 / 3, 0),
                                    phase("load.cast", 0, 0, 1.0 / 3, 0), phase("load.wait", 0, 0, 1.0 / 3 + 1e-12, 0),
                                    phase("load", 1, 0, 2, -1),           phase("load.read", 1, 0, 3, 4),
                                    phase("odd", 1, -5, -1, 77)};
  result["samples"][0]["timeline"] = {{{"rank", 0}, {"thread", 0}, {"spans", {{"read", 0.0, 0.5}, {"cast", 0.4999999, 0.75}}}},
                                      {{"rank", 1}, {"thread", -1}, {"spans", {{"read", 0.25, 0.5}}}}};
  result["samples"][0]["page_cache"]["bytes_resident_before"] = 4096;
  result["samples"][0]["counters"] = {{"bytes.read", 1e9}};
  const auto trace = trace_of(result);
  check_trace(trace);
  EXPECT_EQ(trace.at("displayTimeUnit"), "ms");
  std::set<std::string> processes, counters;
  for (const auto& event : trace["traceEvents"]) {
    if (event["name"] == "process_name") processes.insert(event["args"]["name"]);
    if (event["ph"] == "C") counters.insert(event["name"]);
  }
  EXPECT_TRUE(processes.contains("planted A pair 0 rank 0") && processes.contains("planted A pair 0 rank 1"));
  EXPECT_EQ(counters, (std::set<std::string>{"bytes.read", "page cache before, bytes"}));
}

TEST_F(Export, TraceOfASimpleResultKeepsThemToo) { check_trace(trace_of(sample_result())); }

}  // namespace
}  // namespace crossover
