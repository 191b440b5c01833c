#include <fmt/format.h>

#include "bench/report/floors.h"
#include "bench/report/page.h"
#include "bench/report/words.h"

namespace crossover::report {

namespace {

using std::string;

string row(std::initializer_list<string> cells) {
  string line = "|";
  for (const string& cell : cells) line += " " + cell + " |";
  return line + "\n";
}

string metrics(const CellView& cell) {
  if (cell.metrics.empty()) return "";
  string text =
      row({"metric", "A median", "B median", "B against A", "95 % interval", "could find", "order effect", "verdict"}) +
      "|---|---|---|---|---|---|---|---|\n";
  int parts = 0;
  for (const MetricRow& metric : cell.metrics) {
    if (is_part(metric.name) && &metric != &cell.metrics.front()) {
      ++parts;
      continue;
    }
    text += row({"`" + escape_markdown(metric.name) + "`", number(metric.a), number(metric.b),
                 percent(metric.effect_percent), percent(metric.interval_percent), percent(metric.mde_percent),
                 percent(metric.order_effect_percent), escape_markdown(metric.verdict)});
  }
  if (parts) text += fmt::format("\n{} metrics of single phases are in report.html.\n", parts);
  return text + "\n";
}

string phases(const CellView& cell) {
  if (cell.phases.empty()) return "";
  string text = row({"phase", "A", "B", "B - A", "95 % interval"}) + "|---|---|---|---|---|\n";
  for (const PhaseRow& phase : cell.phases)
    text += row({escape_markdown(phase.name), seconds(phase.a_s), seconds(phase.b_s), seconds(phase.delta_s),
                 seconds(phase.interval_s)});
  text += row({"residual", "", "", seconds(cell.residual_s), ""});
  return text + "\n";
}

string floors(const CellView& cell) {
  const std::vector<FloorLine> lines = floor_lines(cell);
  if (lines.empty()) return "";
  string text = row({"load against its floors", "A", "B"}) + "|---|---|---|\n";
  for (const FloorLine& line : lines) text += row({escape_markdown(line.what), escape_markdown(line.a), escape_markdown(line.b)});
  return text + "\n" + kFloorsNote + "\n\n";
}

string section(const Page& page) {
  const ResultView& result = page.result;
  string text = fmt::format("## {}: {}\n\n{}\n\n", escape_markdown(result.name), escape_markdown(result.word),
                            escape_markdown(result.question));
  text += escape_markdown(result.reason) + "\n\n";
  for (std::size_t i = 0; i < result.cells.size(); ++i) {
    const CellView& cell = result.cells[i];
    if (result.cells.size() > 1)
      text += fmt::format("### {} {}\n\n", escape_markdown(cell.name), escape_markdown(cell.word));
    if (!cell.metrics.empty())
      text += escape_markdown(sentence(cell.metrics.front(), result.reason + cell.reason)) + "\n\n";
    if (i < page.plots.size()) {
      const Plot& plot = page.plots[i];
      text += plot.trouble.empty() ? fmt::format("![{}](plots/{}.svg)\n\n", escape_markdown(plot.caption), plot.stem)
                                   : fmt::format("No picture: {}.\n\n", escape_markdown(plot.trouble));
    }
    text += metrics(cell) + phases(cell) + floors(cell);
  }
  return text;
}

}  // namespace

string markdown(const std::vector<Page>& pages) {
  string text = "# Crossover report\n\nEffects are B against A in time: negative is faster.\n\n";
  if (pages.size() > 1) {
    text += row({"scenario", "verdict", "why"}) + "|---|---|---|\n";
    for (const Page& page : pages)
      text += row(
          {escape_markdown(page.result.name), escape_markdown(page.result.word), escape_markdown(page.result.reason)});
    text += "\n";
  }
  for (const Page& page : pages) text += section(page);
  return text;
}

}  // namespace crossover::report
