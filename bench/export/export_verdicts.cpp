// Formats that hold verdicts: CI's test cases and annotations, a table for a page, gauges for a monitor; and the rows of samples.
#include <fmt/format.h>

#include <functional>

#include "bench/export/export_formats.h"
#include "bench/report/words.h"

namespace crossover {

namespace {

using report::CellView;
using report::MetricRow;
using report::ResultView;

std::string escape_xml(const std::string& text) {
  return report::escape(text, {{'&', "&amp;"}, {'<', "&lt;"}, {'>', "&gt;"}, {'"', "&quot;"}}, "\n\t");
}

std::string quote_csv(const std::string& text) {
  if (text.find_first_of(",\"\n\r") == std::string::npos) return text;
  std::string out = "\"";
  for (const char c : text) out += c == '"' ? "\"\"" : std::string(1, c);
  return out + "\"";
}

// A workflow command ends at the line; in a property ':' and ',' separate as well (GitHub Actions, "Workflow commands").
std::string escape_command(const std::string& text, bool property) {
  const std::string escaped = report::escape(text, {{'%', "%25"}, {'\r', "%0D"}, {'\n', "%0A"}}, "");
  return property ? report::escape(escaped, {{':', "%3A"}, {',', "%2C"}}, "") : escaped;
}

std::string escape_label(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\' || c == '"') out += '\\';
    if (c == '\n')
      out += "\\n";
    else
      out += c;
  }
  return out;
}

std::string word_of(const ResultView& result, const CellView& cell) { return cell.word.empty() ? result.word : cell.word; }
std::string reason_of(const ResultView& result, const CellView& cell) { return cell.reason.empty() ? result.reason : cell.reason; }
std::string title_of(const ResultView& result, const CellView& cell) {
  return cell.name.empty() ? result.name : result.name + " (" + cell.name + ")";
}

void each_cell(const Results& results, const std::function<void(const ResultView&, const CellView&)>& visit) {
  for (const ResultView& result : results)
    for (const CellView& cell : result.cells) visit(result, cell);
}

}  // namespace

// One test case per cell. SLOWER and INVALID fail; INCONCLUSIVE is skipped: nothing was shown.
std::string export_junit(const Results& results) {
  std::string suites;
  for (const ResultView& result : results) {
    std::string cases;
    int failures = 0, skipped = 0;
    for (const CellView& cell : result.cells) {
      const std::string verdict = word_of(result, cell);
      const std::string message = fmt::format("message=\"{}\"", escape_xml(verdict + ": " + reason_of(result, cell)));
      cases += fmt::format("    <testcase classname=\"crossover.{}\" name=\"{}\">", escape_xml(result.name),
                           escape_xml(cell.name.empty() ? result.primary : cell.name));
      if (verdict == "SLOWER" || verdict == "INVALID") cases += fmt::format("<failure {}/>", message), ++failures;
      if (verdict == "INCONCLUSIVE") cases += fmt::format("<skipped {}/>", message), ++skipped;
      cases += "</testcase>\n";
    }
    suites += fmt::format("  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"{}\">\n{}  </testsuite>\n",
                          escape_xml(result.name), result.cells.size(), failures, skipped, cases);
  }
  return "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n" + suites + "</testsuites>\n";
}

std::string export_csv(const Results& results) {
  std::string text = "scenario,cell,pair,position,arm,control,failure,metric,value\n";
  for (const ResultView& result : results)
    for (const report::SampleView& sample : result.samples) {
      const bool known = sample.cell >= 0 && static_cast<std::size_t>(sample.cell) < result.cells.size();
      const std::string start = fmt::format("{},{},{},{},{},{},{}", quote_csv(result.name),
                                            known ? quote_csv(result.cells[static_cast<std::size_t>(sample.cell)].name) : "", sample.pair,
                                            sample.position, quote_csv(sample.arm), sample.control ? 1 : 0, quote_csv(sample.failure));
      if (sample.metrics.empty()) text += start + ",,\n";
      for (const auto& [name, value] : sample.metrics) text += fmt::format("{},{},{}\n", start, quote_csv(name), value);
    }
  return text;
}

std::string export_markdown(const Results& results) {
  std::string text = "| scenario | cell | verdict | why |\n|---|---|---|---|\n";
  each_cell(results, [&](const ResultView& result, const CellView& cell) {
    text += fmt::format("| {} | {} | {} | {} |\n", report::escape_markdown(result.name), report::escape_markdown(cell.name),
                        report::escape_markdown(word_of(result, cell)), report::escape_markdown(reason_of(result, cell)));
  });
  return text;
}

std::string export_github(const Results& results) {
  std::string text;
  each_cell(results, [&](const ResultView& result, const CellView& cell) {
    const std::string verdict = word_of(result, cell);
    const char* level = verdict == "SLOWER" || verdict == "INVALID" ? "error" : verdict == "INCONCLUSIVE" ? "warning" : "notice";
    text += fmt::format("::{} title={}::{}\n", level, escape_command(verdict + " " + title_of(result, cell), true),
                        escape_command(reason_of(result, cell), false));
  });
  return text;
}

// Families one after the other, each with all its samples, "# EOF" at the end (OpenMetrics 1.0).
std::string export_openmetrics(const Results& results) {
  std::string text;
  const auto labels = [](const ResultView& result, const CellView& cell, const std::string& metric) {
    return fmt::format("scenario=\"{}\",cell=\"{}\",metric=\"{}\"", escape_label(result.name), escape_label(cell.name),
                       escape_label(metric));
  };
  const auto family = [&](const char* name, const char* help,
                          const std::function<void(const ResultView&, const CellView&, const MetricRow&)>& visit) {
    text += fmt::format("# TYPE {0} gauge\n# HELP {0} {1}\n", name, help);
    each_cell(results, [&](const ResultView& result, const CellView& cell) {
      for (const MetricRow& metric : cell.metrics) visit(result, cell, metric);
    });
  };
  family("crossover_median", "Median of an arm's samples, in the unit of the metric.",
         [&](const ResultView& result, const CellView& cell, const MetricRow& metric) {
           for (const char* arm : {"A", "B"})
             if (const auto value = *arm == 'A' ? metric.a : metric.b)
               text += fmt::format("crossover_median{{{},arm=\"{}\"}} {}\n", labels(result, cell, metric.name), arm, *value);
         });
  const auto gauge = [&](const char* name, const char* help, const auto& value_of) {
    family(name, help, [&](const ResultView& result, const CellView& cell, const MetricRow& metric) {
      if (const std::optional<double> value = value_of(metric))
        text += fmt::format("{}{{{}}} {}\n", name, labels(result, cell, metric.name), *value);
    });
  };
  const auto end_of = [](const std::optional<report::Interval>& interval, bool high) {
    return interval ? std::optional(high ? interval->high : interval->low) : std::nullopt;
  };
  gauge("crossover_effect_percent", "B against A in time; negative is faster.", [](const MetricRow& m) { return m.effect_percent; });
  gauge("crossover_effect_low_percent", "Lower end of the 95 % interval.",
        [&](const MetricRow& m) { return end_of(m.interval_percent, false); });
  gauge("crossover_effect_high_percent", "Upper end of the 95 % interval.",
        [&](const MetricRow& m) { return end_of(m.interval_percent, true); });
  gauge("crossover_detectable_percent", "Smallest effect found with 80 % power.", [](const MetricRow& m) { return m.mde_percent; });
  text += "# TYPE crossover_verdict stateset\n# HELP crossover_verdict The verdict of a cell.\n";
  each_cell(results, [&](const ResultView& result, const CellView& cell) {
    for (const char* state : {"FASTER", "EQUIVALENT", "SLOWER", "INCONCLUSIVE", "INVALID"})
      text += fmt::format("crossover_verdict{{{},crossover_verdict=\"{}\"}} {}\n", labels(result, cell, result.primary), state,
                          word_of(result, cell) == state ? 1 : 0);
  });
  return text + "# EOF\n";
}

}  // namespace crossover
