#include "bench/export.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "bench/json_text.h"
#include "bench/result.h"
#include "engine/knobs.h"

namespace crossover {

namespace {

const std::vector<std::string> kFormats{"json", "junit", "csv", "markdown"};

std::string escape_xml(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '&') out += "&amp;";
    else if (c == '<') out += "&lt;";
    else if (c == '>') out += "&gt;";
    else if (c == '"') out += "&quot;";
    else if (static_cast<unsigned char>(c) >= 0x20 || c == '\n' || c == '\t') out += c;
  }
  return out;
}

std::string quote_csv(const std::string& text) {
  if (text.find_first_of(",\"\n") == std::string::npos) return text;
  std::string out = "\"";
  for (const char c : text) out += c == '"' ? "\"\"" : std::string(1, c);
  return out + "\"";
}

std::string as_json(const std::vector<Finished>& results) {
  nlohmann::json list = nlohmann::json::array();
  for (const Finished& one : results) {
    const std::string file = one.outcome.result_file.string();
    list.push_back(parse_json(read_text_file(file, std::size_t{1} << 30), file));
  }
  return list.dump(1) + "\n";
}

// One test case per cell. SLOWER and INVALID fail; INCONCLUSIVE is skipped: nothing was shown.
std::string as_junit(const std::vector<Finished>& results) {
  std::string suites;
  for (const Finished& one : results) {
    std::string cases;
    int failures = 0, skipped = 0;
    for (const CellAnalysis& cell : one.outcome.verdict.cells) {
      const std::string message = fmt::format("message=\"{}\"", escape_xml(std::string(word_text(cell.word)) + ": " + cell.reason));
      cases += fmt::format("    <testcase classname=\"crossover.{}\" name=\"{}\">", escape_xml(one.scenario.name),
                           escape_xml(cell.name.empty() ? one.scenario.primary : cell.name));
      if (cell.word == Word::kSlower || cell.word == Word::kInvalid) cases += fmt::format("<failure {}/>", message), ++failures;
      if (cell.word == Word::kInconclusive) cases += fmt::format("<skipped {}/>", message), ++skipped;
      cases += "</testcase>\n";
    }
    suites += fmt::format("  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"{}\">\n{}  </testsuite>\n",
                          escape_xml(one.scenario.name), one.outcome.verdict.cells.size(), failures, skipped, cases);
  }
  return "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n" + suites + "</testsuites>\n";
}

std::string as_csv(const std::vector<Finished>& results) {
  std::string text = "scenario,cell,pair,position,arm,control,failure,metric,value\n";
  for (const Finished& one : results)
    for (const Sample& sample : one.outcome.samples) {
      const std::string start =
          fmt::format("{},{},{},{},{},{},{}", quote_csv(one.scenario.name),
                      quote_csv(one.scenario.cells[static_cast<std::size_t>(sample.cell)].name), sample.pair, sample.position,
                      sample.arm, sample.control ? 1 : 0, quote_csv(sample.failure));
      if (sample.metrics.empty()) text += start + ",,\n";
      for (const auto& [name, value] : sample.metrics) text += fmt::format("{},{},{}\n", start, quote_csv(name), value);
    }
  return text;
}

std::string escape_cell(std::string text) {
  for (std::size_t at = text.find('|'); at != std::string::npos; at = text.find('|', at + 2)) text.insert(at, "\\");
  return text;
}

std::string as_markdown(const std::vector<Finished>& results) {
  std::string text = "| scenario | cell | verdict | why |\n|---|---|---|---|\n";
  for (const Finished& one : results)
    for (const CellAnalysis& cell : one.outcome.verdict.cells)
      text += fmt::format("| {} | {} | {} | {} |\n", one.scenario.name, escape_cell(cell.name), word_text(cell.word), escape_cell(cell.reason));
  return text;
}

}  // namespace

ExportTo parse_export(const std::string& option) {
  const std::size_t equals = option.find('=');
  const std::string format = option.substr(0, equals);
  if (std::find(kFormats.begin(), kFormats.end(), format) == kFormats.end()) {
    const std::string guess = nearest(format, kFormats);
    throw std::invalid_argument(fmt::format("--export knows no format '{}'; {}", format,
                                            guess.empty() ? "use json, junit, csv or markdown" : "did you mean " + guess + "?"));
  }
  if (equals == std::string::npos || equals + 1 == option.size())
    throw std::invalid_argument(fmt::format("--export {} names no file; write --export {}=FILE", option, format));
  return {format, option.substr(equals + 1)};
}

void write_export(const ExportTo& to, const std::vector<Finished>& results) {
  const std::string text = to.format == "json"    ? as_json(results)
                           : to.format == "junit" ? as_junit(results)
                           : to.format == "csv"   ? as_csv(results)
                                                  : as_markdown(results);
  write_whole_file(to.file, text);
}

}  // namespace crossover
