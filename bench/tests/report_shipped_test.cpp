// The reports of all shipped scenarios, without pictures: their numbers are those of the results, their traces keep the
// rules of the Trace Event Format ("Trace Event Format", the Chromium project: JSON object format, complete, counter
// and metadata events).
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <sstream>

#include "bench/report/report.h"
#include "bench/tests/shipped_result.h"

namespace crossover {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

class ShippedReport : public testing::Test {
 protected:
  fs::path folder_ = fs::temp_directory_path() / ("crossover-shipped-" + std::to_string(getpid()));
  std::string path_ = getenv("PATH");

  void SetUp() override {
    fs::create_directories(folder_);
    setenv("PATH", "/nonexistent", 1);  // no gnuplot: pictures have tests of their own
  }
  void TearDown() override {
    setenv("PATH", path_.c_str(), 1);
    fs::remove_all(folder_);
  }
  void report(const json& result) {
    std::ofstream(folder_ / "result.json") << result.dump();
    write_report({folder_ / "result.json"}, folder_ / "out", false);
  }
};

double median(const json& result, std::size_t cell, const char* arm, const std::string& metric) {
  std::vector<double> values;
  for (const json& sample : result["samples"])
    if (sample["cell"] == cell && sample["arm"] == arm && !sample.value("control", false))
      values.push_back(sample["metrics"][metric]);
  std::sort(values.begin(), values.end());
  return (values[(values.size() - 1) / 2] + values[values.size() / 2]) / 2;
}

// As a row of the table of metrics has them; what the result does not say is left out.
std::vector<double> wanted_row(const json& result, std::size_t cell) {
  const std::string primary = result["plan"]["primary"];
  const json& metric = result["analysis"][cell]["metrics"][primary];
  std::vector<double> values{median(result, cell, "A", primary), median(result, cell, "B", primary)};
  for (const char* key : {"effect_percent", "interval_percent", "mde_percent", "p_adjusted", "hodges_lehmann_percent",
                          "order_effect_percent", "order_interval_percent", "n_pairs"}) {
    if (!metric.contains(key)) continue;
    if (metric[key].is_array())
      for (const json& end : metric[key]) values.push_back(end);
    else
      values.push_back(metric[key]);
  }
  return values;
}

TEST_F(ShippedReport, NumbersAreThoseOfTheResult) {
  const std::regex row("<tr class=\"primary\"><td[^>]*>[^<]*</td><td class=\"n\"><data.*"),
      data("<data value=\"([^\"]*)\">");
  for (const ShippedScenario& shipped : shipped_scenarios()) {
    const json result = shipped_result(shipped);
    report(result);
    const std::string html = read(folder_ / "out" / "report.html");
    std::size_t cell = 0;
    std::istringstream lines(html);
    for (std::string line; std::getline(lines, line);) {
      if (!std::regex_match(line, row)) continue;
      ASSERT_LT(cell, result["analysis"].size()) << shipped.name;
      std::vector<double> shown;
      for (std::sregex_iterator it(line.begin(), line.end(), data), end; it != end; ++it)
        shown.push_back(std::stod((*it)[1]));
      const std::vector<double> wanted = wanted_row(result, cell++);
      ASSERT_EQ(shown.size(), wanted.size()) << shipped.name << line;
      for (std::size_t i = 0; i < wanted.size(); ++i) EXPECT_DOUBLE_EQ(shown[i], wanted[i]) << shipped.name << i;
    }
    EXPECT_EQ(cell, result["analysis"].size()) << shipped.name << ": a row for each cell";
    EXPECT_NE(html.find(result["verdict"]["word"].get<std::string>() + (cell > 1 ? " <span" : "</p>")),
              std::string::npos)
        << shipped.name;
  }
}

TEST_F(ShippedReport, SaysWhatBothArmsAre) {
  report(shipped_result(*find_shipped_scenario("external_example")));
  const std::string html = read(folder_ / "out" / "report.html");
  EXPECT_NE(html.find("<td>env.ROUNDS</td><td>1200000</td><td>600000</td>"), std::string::npos)
      << "what A has from the workload";
  EXPECT_NE(html.find("B (600000) is "), std::string::npos);
  EXPECT_NE(html.find(" faster than A (1200000): "), std::string::npos);
}

TEST_F(ShippedReport, ShowsCountersThatAreToDiffer) {
  report(shipped_result(*find_shipped_scenario("decode_flatness")));
  const std::string html = read(folder_ / "out" / "report.html");
  EXPECT_NE(html.find("counters.tokens.used differs between the arms</td><td>A 1; B 2</td>"), std::string::npos);
  EXPECT_EQ(html.find("could not be judged"), std::string::npos);
  EXPECT_NE(html.find("Measured: tokens generated per second: decode.tokens_per_s; percentages are of the time."),
            std::string::npos);
}

struct Row {
  std::string name;                                    // as a metadata event says
  std::vector<std::pair<double, double>> open_slices;  // begin and end, outermost first
};

// What is wrong with an event by itself; "" for nothing.
std::string complaint(const json& event) {
  const std::string kind = event.value("ph", "");
  if (!event.contains("name") || !event["name"].is_string()) return "no name";
  if (!event.contains("pid") || !event["pid"].is_number_integer() || !event.contains("tid") ||
      !event["tid"].is_number_integer())
    return "no place";
  const auto time = [&](const char* key) {
    return event.contains(key) && event[key].is_number() && event[key].get<double>() >= 0;
  };
  if (kind == "M") {
    const std::string name = event["name"];
    if (name == "process_name" || name == "thread_name")
      return event["args"]["name"].is_string() ? "" : "a name that is none";
    return name == "process_sort_index" && event["args"]["sort_index"].is_number_integer() ? ""
                                                                                           : "unknown metadata " + name;
  }
  if (!time("ts")) return "no time";
  if (kind == "X") return time("dur") && event.contains("cat") ? "" : "no duration";
  if (kind != "C") return "unknown kind " + kind;
  for (const json& value : event["args"])
    if (!value.is_number()) return "a counter that is no number";
  return event["args"].empty() ? "a counter without a value" : "";
}

TEST_F(ShippedReport, TracesKeepTheRulesOfTheirFormat) {
  for (const ShippedScenario& shipped : shipped_scenarios()) {
    report(shipped_result(shipped));
    const json trace = json::parse(read(folder_ / "out" / "trace.json"));
    EXPECT_EQ(trace.at("displayTimeUnit"), "ms");
    std::map<long, std::string> processes;
    std::map<std::pair<long, long>, Row> rows;
    int slices = 0;
    for (const json& event : trace.at("traceEvents")) {
      ASSERT_EQ(complaint(event), "") << shipped.name << event;
      const long process = event["pid"];
      Row& row = rows[{process, event["tid"]}];
      if (event["name"] == "process_name") {
        EXPECT_TRUE(processes.emplace(process, event["args"]["name"]).second) << event;
      }
      if (event["name"] == "thread_name") row.name = event["args"]["name"];
      if (event["ph"] == "M") continue;
      EXPECT_TRUE(processes.contains(process)) << event;
      if (event["ph"] != "X") continue;
      ++slices;
      // In nanoseconds, in which they are whole: slices of a row lie inside each other or apart.
      const double begin = std::round(event["ts"].get<double>() * 1e3),
                   end = begin + std::round(event["dur"].get<double>() * 1e3);
      while (!row.open_slices.empty() && row.open_slices.back().second <= begin) row.open_slices.pop_back();
      if (!row.open_slices.empty()) {
        EXPECT_GE(begin, row.open_slices.back().first) << shipped.name << event;
        EXPECT_LE(end, row.open_slices.back().second) << shipped.name << event;
      }
      row.open_slices.emplace_back(begin, end);
      EXPECT_FALSE(row.name.empty()) << "a slice in a row without a name: " << event;
    }
    const json kind = json::parse(shipped.text, nullptr, true, true)["workload"]["kind"];
    EXPECT_EQ(slices > 0, kind != "external" && kind != "endpoint") << shipped.name;
    std::set<std::string> names;
    for (const auto& [process, name] : processes)
      EXPECT_TRUE(names.insert(name).second) << shipped.name << ": two processes named " << name;
  }
}

}  // namespace
}  // namespace crossover
