#include "bench/calibrate/calibrate_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "bench/build_info.h"

namespace crossover {

namespace {

using Json = nlohmann::ordered_json;
using Row = std::vector<std::string>;

constexpr const char* kSchema = "crossover.calibration/1";

const char* holds_text(Holds holds) {
  constexpr const char* kTexts[] = {"holds", "open", "fails"};
  return kTexts[static_cast<int>(holds)];
}

Json rate_json(const CalibrationRate& rate) {
  const Interval interval = exact_interval(rate.counted);
  Json out{{"shape", rate.shape}, {"measure", rate.measure}, {"says", rate.says}, {"count", rate.counted.count}, {"of", rate.counted.of},
           {"percent", 100 * rate.counted.share()}, {"interval_percent", {100 * interval.low, 100 * interval.high}}};
  if (rate.limit) {
    out[rate.at_most ? "at_most_percent" : "at_least_percent"] = 100 * *rate.limit;
    out["criterion"] = holds_text(rate.holds());
  }
  return out;
}

Json rates_json(const std::vector<CalibrationRate>& rates) {
  Json out = Json::array();
  for (const CalibrationRate& rate : rates) out.push_back(rate_json(rate));
  return out;
}

// Cells padded to the width of their column: a source file and a terminal show the same table.
std::string table_of(const std::vector<Row>& rows) {
  std::vector<std::size_t> widths(rows.at(0).size(), 3);
  for (const Row& row : rows)
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  const auto line = [&](const Row& row, char fill) {
    std::string text = "|";
    for (std::size_t i = 0; i < widths.size(); ++i) {
      const std::string cell = i < row.size() ? row[i] : "";
      text += fmt::format("{}{}{}{}|", fill, cell, std::string(widths[i] - cell.size(), fill), fill);
    }
    return text + "\n";
  };
  std::string text = line(rows[0], ' ') + line({}, '-');
  for (std::size_t i = 1; i < rows.size(); ++i) text += line(rows[i], ' ');
  return text;
}

std::string shown(const Json& rate) {
  const Json& interval = rate.at("interval_percent");
  std::string text = fmt::format("{:.2f} ({:.2f} to {:.2f})", rate.at("percent").get<double>(), interval.at(0).get<double>(), interval.at(1).get<double>());
  if (const std::string criterion = rate.value("criterion", "holds"); criterion != "holds") text += " " + criterion;
  return text;
}

std::string limit_of(const Json& rate) {
  if (rate.contains("at_most_percent")) return fmt::format("at most {:g}", rate["at_most_percent"].get<double>());
  if (rate.contains("at_least_percent")) return fmt::format("at least {:g}", rate["at_least_percent"].get<double>());
  return "";
}

// A row for each shape, a column for each measure, both in the order of the file; `planted` adds what was planted.
std::string by_shape(const Json& file, const char* part, const std::map<std::string, std::string>& heads, bool planted) {
  Row head{"shape"};
  std::vector<std::string> measures;
  for (const Json& rate : file.at(part)) {
    const std::string measure = rate.at("measure");
    if (std::count(measures.begin(), measures.end(), measure) > 0) continue;
    measures.push_back(measure);
    const std::string limit = limit_of(rate);
    head.push_back(heads.at(measure) + (limit.empty() ? ", %" : ", %, " + limit));
  }
  if (planted) head.push_back("planted, %");
  std::vector<Row> rows{head};
  for (const Json& shape : file.at("shapes")) {
    Row row(1 + measures.size());
    row[0] = shape.at("name");
    for (const Json& rate : file.at(part)) {
      const auto column = std::find(measures.begin(), measures.end(), rate.at("measure").get<std::string>()) - measures.begin();
      if (rate.at("shape") == shape.at("name")) row[static_cast<std::size_t>(column) + 1] = shown(rate);
    }
    if (planted) row.push_back(fmt::format("{:+.2f}", shape.at("planted_percent").get<double>()));
    rows.push_back(row);
  }
  return table_of(rows);
}

std::string shapes(const Json& file) {
  std::string text = by_shape(file, "rates",
                              {{"false_verdict", "false verdicts"}, {"covered", "interval holds 0"}, {"invalid", "INVALID"},
                               {"found", "effect found"}, {"covered_planted", "interval holds it"}},
                              true);
  text += "\n";
  for (const Json& shape : file.at("shapes"))
    text += fmt::format("- {}: {}\n", shape.at("name").get<std::string>(), shape.at("says").get<std::string>());
  return text;
}

Json overhead_json(const OverheadSummary& overhead) {
  Json out{{"samples", overhead.samples}, {"clean_windows", overhead.clean_windows}, {"at_most_s", kOverheadLimit_s},
           {"watching_share_of_a_core", overhead.watching_share}, {"parts", Json::array()}};
  const auto add = [&out](const char* says, const OverheadPart& part) {
    out["parts"].push_back({{"says", says}, {"median_s", part.median_s}, {"worst_s", part.worst_s}});
  };
  add("spawn to main", overhead.start);
  add("end of the timed window to the answer in hand", overhead.finish);
  add("journal: append and fsync", overhead.journal);
  add("spawn to main and journal", overhead.overhead);
  return out;
}

Json run_json(const ProcessRun& run) {
  Json out{{"seed", run.seed}, {"word", run.word}, {"seconds", run.seconds}, {"cells", Json::array()}};
  for (const CrossoverEstimate& estimate : run.cells) {
    Json cell{{"effect_percent", percent(estimate.effect)}, {"order_effect_percent", percent(estimate.order_effect)}};
    if (estimate.interval) cell["interval_percent"] = {percent(estimate.interval->low), percent(estimate.interval->high)};
    out["cells"].push_back(cell);
  }
  return out;
}

std::string overhead(const Json& file) {
  const Json& found = file.at("overhead");
  std::vector<Row> rows{{"what the harness does around a sample", "median, ms", "worst, ms"}};
  for (const Json& part : found.at("parts"))
    rows.push_back({part.at("says"), fmt::format("{:.2f}", 1e3 * part.at("median_s").get<double>()), fmt::format("{:.2f}", 1e3 * part.at("worst_s").get<double>())});
  return table_of(rows) +
         fmt::format("\nNothing of that lay inside the timed window of {} of {} samples. While a sample ran, watching it took {:.2f} % of one core.\n",
                     found.at("clean_windows").get<int>(), found.at("samples").get<int>(), 100 * found.at("watching_share_of_a_core").get<double>());
}

std::string listed(const Json& rates) {
  std::vector<Row> rows{{"what", "%", "asked, %"}};
  for (const Json& rate : rates) rows.push_back({rate.at("says"), shown(rate), limit_of(rate)});
  return table_of(rows);
}

}  // namespace

std::string calibration_json(const Calibration& calibration) {
  Json out{{"schema", kSchema},
           {"build", Json::parse(build_info_json())},
           {"experiments", calibration.options.experiments},
           {"pairs", calibration.options.pairs},
           {"seed", calibration.options.seed},
           {"shapes", Json::array()}};
  for (std::size_t i = 0; i < calibration.shapes.size(); ++i)
    out["shapes"].push_back({{"name", calibration.shapes[i].name},
                             {"says", calibration.shapes[i].says},
                             {"planted_percent", percent(calibration.planted_ln[i])}});
  out["rates"] = rates_json(calibration.rates);
  out["checks"] = rates_json(calibration.checks);
  out["habits"] = rates_json(calibration.habits);
  return out.dump(1) + "\n";
}

std::string calibration_json(const ProcessCalibration& calibration, const OverheadSummary& overhead) {
  Json out{{"schema", kSchema}, {"build", Json::parse(build_info_json())}};
  if (!calibration.runs.empty()) {
    out["environment"] = Json::parse(calibration.environment);
    out["environment"].erase("host");  // the file is made to be published
    out["scenario"] = calibration.scenario, out["primary"] = calibration.primary;
    out["threshold_percent"] = calibration.threshold_percent, out["pairs"] = calibration.pairs;
    for (const ProcessRun& run : calibration.runs) out["runs"].push_back(run_json(run));
    out["processes"] = rates_json(calibration.rates);
  }
  out["overhead"] = overhead_json(overhead);
  return out.dump(1) + "\n";
}

std::string calibration_table(const std::string& json, const std::string& kind) {
  const Json file = Json::parse(json);
  if (file.value("schema", "") != kSchema) throw std::runtime_error(fmt::format("a calibration is {}, this is not", kSchema));
  const std::string part = kind == "shapes" ? "rates" : kind;
  if (!file.contains(part)) throw std::runtime_error(fmt::format("this calibration has no table '{}'", kind));
  if (kind == "shapes") return shapes(file);
  if (kind == "checks") return listed(file.at("checks"));
  if (kind == "habits")
    return by_shape(file, "habits", {{"blocks", "A first, then B, Welch"}, {"alternating", "A B A B, paired t"}}, false);
  if (kind == "processes") return listed(file.at("processes"));
  if (kind == "overhead") return overhead(file);
  throw std::runtime_error(fmt::format("'{}' is a part of a calibration and no table", kind));
}

}  // namespace crossover
