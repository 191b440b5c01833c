// The tables of reports/*.md are made from results/*.json: between "<!-- table KIND RESULT -->" and "<!-- end -->" stands what this
// test makes of that file. With CROSSOVER_UPDATE_PAGES=1 in the environment it writes the tables into the pages instead of comparing.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "bench/calibrate/calibrate_table.h"
#include "bench/micro/table.h"
#include "bench/page_tables.h"
#include "bench/report/words.h"
#include "bench/scenario_schema.h"

namespace crossover {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

const fs::path kSource = CROSSOVER_SOURCE_DIR;
constexpr const char* kAbsent = "–";

json result_of(const std::string& name) {
  std::ifstream file(kSource / "results" / (name + ".json"));
  if (!file) throw std::runtime_error("no results/" + name + ".json");
  return json::parse(file);
}

const json& at(const json& object, const char* key) {
  static const json kNothing;
  return object.is_object() && object.contains(key) ? object[key] : kNothing;
}

std::string shown(const json& value, const char* format = "{:.3g}", double scale = 1) {
  return value.is_number() ? fmt::format(fmt::runtime(format), value.get<double>() * scale) : kAbsent;
}

std::string interval(const json& pair) { return pair.is_array() ? fmt::format("{:+.1f} to {:+.1f} %", pair[0].get<double>(), pair[1].get<double>()) : kAbsent; }

std::string row(const std::vector<std::string>& cells) {
  std::string line = "|";
  for (const std::string& cell : cells) line += " " + cell + " |";
  return line + "\n";
}

std::string head(const std::vector<std::string>& cells) { return row(cells) + row(std::vector<std::string>(cells.size(), "---")); }

std::string cell_name(const json& cell) { return cell.contains("name") ? "`" + cell["name"].get<std::string>() + "`" : "all"; }

std::vector<const json*> samples_of(const json& result, const json& cell, const char* arm) {
  std::vector<const json*> out;
  for (const json& sample : result["samples"])
    if (sample["cell"] == cell["cell"] && sample["arm"] == arm && !sample.contains("failure") && !sample.value("control", false)) out.push_back(&sample);
  return out;
}

std::optional<double> median(std::vector<double> values) {
  if (values.empty()) return std::nullopt;
  std::sort(values.begin(), values.end());
  return (values[(values.size() - 1) / 2] + values[values.size() / 2]) / 2;
}

json median_of(const std::vector<const json*>& samples, const char* group, const std::string& name) {
  std::vector<double> values;
  for (const json* sample : samples)
    if (const json& value = at(at(*sample, group), name.c_str()); value.is_number()) values.push_back(value);
  const auto found = median(values);
  return found ? json(*found) : json();
}

std::string verdicts(const json& result) {
  const std::string primary = result["plan"]["primary"];
  const std::string unit = report::scale_of(primary, 1).unit;
  std::string text = head({"cell", "A, " + unit, "B, " + unit, "B against A", "95 % interval", "order effect", "verdict"});
  for (const json& cell : result["analysis"]) {
    const json& metric = cell["metrics"][primary];
    text += row({cell_name(cell), shown(median_of(samples_of(result, cell, "A"), "metrics", primary)),
                 shown(median_of(samples_of(result, cell, "B"), "metrics", primary)), shown(at(metric, "effect_percent"), "{:+.1f} %"),
                 interval(at(metric, "interval_percent")), shown(at(metric, "order_effect_percent"), "{:+.1f} %"),
                 cell["verdict"]["word"].get<std::string>()});
  }
  return text;
}

// Largest share that a rank spent in no named phase, over the samples.
json worst_other(const std::vector<const json*>& samples) {
  double worst = -1;
  for (const json* sample : samples)
    for (const json& phase : at(*sample, "phases"))
      if (phase["name"] == "load.other" && phase["parent"].get<int>() >= 0)
        worst = std::max(worst, phase["duration_s"].get<double>() / (*sample)["phases"][phase["parent"].get<std::size_t>()]["duration_s"].get<double>());
  return worst < 0 ? json() : json(worst);
}

std::string floors(const json& result) {
  std::string text = head({"cell", "arm", "load, s", "floor: reading, s", "floor: quantizing, s", "load / larger floor", "packing, s", "first touch, s", "rest / larger floor", "workers busy", "`other`, worst rank",
                           "peak memory over held, MiB", "derived for the whole model, s"});
  for (const json& cell : result["analysis"])
    for (const char* arm : {"A", "B"}) {
      const json& f = at(at(cell, "floors"), arm);
      json over = at(f, "peak_memory_bytes").is_number() && at(f, "held_bytes").is_number() ? json(f["peak_memory_bytes"].get<double>() - f["held_bytes"].get<double>()) : json();
      text += row({cell_name(cell), arm, shown(at(f, "total_s")), shown(at(f, "read_floor_s")), shown(at(f, "quantize_floor_s")),
                   shown(at(f, "total_over_floor"), "{:.2f}"), shown(at(f, "pack_s")), shown(at(f, "first_touch_s")), shown(at(f, "rest_over_floor"), "{:.2f}"), shown(at(f, "busy_share"), "{:.0f} %", 100),
                   shown(worst_other(samples_of(result, cell, arm)), "{:.2f} %", 100), shown(over, "{:.0f}", 1.0 / (1 << 20)),
                   shown(at(at(f, "derived"), "total_s"), "{:.0f}")});
    }
  return text;
}

std::string rates(const json& result) {
  std::string text = head({"cell", "arm", "bytes read", "at", "weights quantized", "at"});
  for (const json& cell : result["analysis"])
    for (const char* arm : {"A", "B"}) {
      const json& f = at(at(cell, "floors"), arm);
      text += row({cell_name(cell), arm, shown(at(f, "bytes_read"), "{:.3g} GB", 1e-9), shown(at(f, "read_bytes_per_s"), "{:.3g} GB/s", 1e-9),
                   shown(at(f, "quantized_values"), "{:.3g} G", 1e-9), shown(at(f, "quantize_values_per_s"), "{:.3g} M/s", 1e-6)});
    }
  return text;
}

std::string phases(const json& result) {
  std::string text = head({"cell", "phase", "A, s", "B, s", "B - A, s", "95 % interval, s"});
  for (const json& cell : result["analysis"]) {
    for (const json& step : at(cell, "waterfall")) {
      const std::string name = step["phase"];
      const json a = median_of(samples_of(result, cell, "A"), "metrics", name + "_s"), b = median_of(samples_of(result, cell, "B"), "metrics", name + "_s");
      const double largest = std::max(a.is_number() ? a.get<double>() : 0, b.is_number() ? b.get<double>() : 0);
      if (largest < 0.01) continue;  // of no weight in loads of seconds
      const json& range = at(step, "interval_s");
      text += row({cell_name(cell), "`" + name + "`", shown(a), shown(b), shown(step["delta_s"], "{:+.3f}"),
                   range.is_array() ? fmt::format("{:+.3f} to {:+.3f}", range[0].get<double>(), range[1].get<double>()) : kAbsent});
    }
  }
  return text;
}

std::string path_of(const std::vector<const json*>& samples, const char* name) {
  std::set<std::string> paths;
  for (const json* sample : samples)
    if (const json& path = at(at(*sample, "path"), name); path.is_string()) paths.insert(path);
  std::string text;
  for (const std::string& path : paths) text += (text.empty() ? "" : ", ") + path;
  return text.empty() ? kAbsent : text;
}

std::string schedules(const json& result) {
  std::string text = head({"cell", "arm", "schedules taken", "threads started", "workers busy", "load, s", "quantizing, s", "written, s", "M weights/s"});
  for (const json& cell : result["analysis"])
    for (const char* arm : {"A", "B"}) {
      const auto samples = samples_of(result, cell, arm);
      text += row({cell_name(cell), arm, path_of(samples, "quantize"), shown(median_of(samples, "counters", "launches.quantize"), "{:.0f}"),
                   shown(median_of(samples, "metrics", "load.busy_share"), "{:.0f} %", 100), shown(median_of(samples, "metrics", "load.total_s")),
                   shown(median_of(samples, "metrics", "load.quantize_s")), shown(median_of(samples, "metrics", "load.cache_write_s")),
                   shown(median_of(samples, "metrics", "quantize.weights_per_s"), "{:.0f}", 1e-6)});
    }
  return text;
}

std::string held(const json& result) {
  std::string text = head({"cell", "arm", "weights of rank 0, MB", "weights of rank 1, MB", "`load.lm_head`, s", "first token, s"});
  for (const json& cell : result["analysis"])
    for (const char* arm : {"A", "B"}) {
      const auto samples = samples_of(result, cell, arm);
      text += row({cell_name(cell), arm, shown(median_of(samples, "counters", "bytes.weights.rank0"), "{:.1f}", 1e-6),
                   shown(median_of(samples, "counters", "bytes.weights.rank1"), "{:.1f}", 1e-6), shown(median_of(samples, "metrics", "load.lm_head_s")),
                   shown(median_of(samples, "metrics", "ttft_s"))});
    }
  return text;
}

using Table = std::function<std::string(const json&)>;

Table calibration(const char* kind) {
  return [kind](const json& file) { return calibration_table(file.dump(), kind); };
}

const std::map<std::string, Table> kTables{{"verdicts", verdicts}, {"floors", floors}, {"rates", rates},
                                           {"phases", phases},     {"schedules", schedules}, {"held", held},
                                           {"kernels", [](const json& run) { return micro_bench::kernel_table(run.dump()); }},
                                           {"shapes", calibration("shapes")},       {"checks", calibration("checks")},
                                           {"habits", calibration("habits")},       {"processes", calibration("processes")},
                                           {"overhead", calibration("overhead")}};

TEST(ReportPages, TablesSayWhatTheResultsHold) {
  int tables = 0;
  for (const auto& entry : fs::directory_iterator(kSource / "reports")) {
    if (entry.path().extension() != ".md") continue;
    std::ifstream file(entry.path());
    const std::string page{std::istreambuf_iterator<char>(file), {}};
    const std::string anew = with_tables(page, [](const std::string& kind, const std::string& name) { return kTables.at(kind)(result_of(name)); }, tables);
    if (std::getenv("CROSSOVER_UPDATE_PAGES")) std::ofstream(entry.path()) << anew;
    else EXPECT_EQ(page, anew) << entry.path();
  }
  EXPECT_GT(tables, 0) << "no page has a table to check";
}

// The counts of one shape of noise taken again: what the page publishes is what this build does.
TEST(ReportPages, PublishedCalibrationComesBack) {
  const json file = result_of("calibration-simulated");
  CalibrationOptions options;
  options.experiments = file["experiments"], options.pairs = file["pairs"], options.seed = file["seed"];
  options.shapes = {"warm-up"}, options.threads = 2;
  for (const CalibrationRate& rate : calibrate(options).rates) {
    const auto published = std::find_if(file["rates"].begin(), file["rates"].end(), [&](const json& candidate) {
      return candidate["shape"] == rate.shape && candidate["measure"] == rate.measure;
    });
    ASSERT_NE(published, file["rates"].end()) << rate.measure;
    EXPECT_EQ((*published)["count"], rate.counted.count) << rate.measure << ": tools/calibration.sh makes the page anew";
  }
}

// Files of this version and of every older one.
TEST(Results, StayValid) {
  int results = 0;
  for (const auto& entry : fs::directory_iterator(kSource / "results")) {
    if (entry.path().extension() != ".json") continue;
    const json file = json::parse(std::ifstream(entry.path()));
    if (!at(file, "schema").is_string() || !file["schema"].get<std::string>().starts_with("crossover.result/")) continue;
    EXPECT_EQ(schema_complaint(file, result_schema_text()), "") << entry.path();
    EXPECT_FALSE(file["environment"].contains("host")) << entry.path();
    EXPECT_LT(fs::file_size(entry.path()), 1'000'000U) << entry.path() << ": a repository is no place for raw data";
    ++results;
  }
  EXPECT_GT(results, 0);
}

}  // namespace
}  // namespace crossover
