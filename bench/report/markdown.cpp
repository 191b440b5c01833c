#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "bench/report/page.h"
#include "bench/report/words.h"

namespace crossover::report {

namespace {

using std::string;

constexpr std::size_t kMostRows = 12;  // of a table in a comment

string row(std::initializer_list<string> cells) {
  string line = "|";
  for (const string& cell : cells) line += " " + cell + " |";
  return line + "\n";
}

string name_of(const string& name) { return "`" + escape_markdown(name) + "`"; }

string metrics(const CellView& cell) {
  string text =
      row({"metric", "A median", "B median", "B against A", "95 % interval", "could find", "verdict"}) + "|---|---|---|---|---|---|---|\n";
  std::size_t rows = 0, more = 0;
  for (const MetricRow& metric : cell.metrics) {
    if ((is_part(metric.name) && &metric != &cell.metrics.front()) || rows == kMostRows) {
      ++more;
      continue;
    }
    ++rows;
    text += row({name_of(metric.name), quantity(scale_of(metric), metric.a), quantity(scale_of(metric), metric.b),
                 percent(metric.effect_percent), percent(metric.interval_percent), percent(metric.mde_percent),
                 escape_markdown(metric.verdict)});
  }
  if (!rows) return "";
  if (more) text += fmt::format("\n{} metrics of single phases and others are in report.html.\n", more);
  return text + "\n";
}

string phases(const CellView& cell) {
  std::vector<const PhaseRow*> largest;
  for (const PhaseRow& phase : cell.phases)
    if (phase.delta_s) largest.push_back(&phase);
  std::stable_sort(largest.begin(), largest.end(),
                   [](const PhaseRow* x, const PhaseRow* y) { return std::abs(*x->delta_s) > std::abs(*y->delta_s); });
  if (largest.size() > 3) largest.resize(3);
  string text;
  for (const PhaseRow* phase : largest)
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", name_of(phase->name), seconds(phase->delta_s));
  return text.empty() ? "" : "Largest differences of phases, B - A: " + text + ".\n\n";
}

string cells(const ResultView& result) {
  string text = row({"cell", "verdict", "A median", "B median", "B against A", "95 % interval"}) + "|---|---|---|---|---|---|\n";
  std::size_t rows = 0;
  for (const CellView& cell : result.cells) {
    const MetricRow* p = cell.primary();
    if (rows++ >= 2 * kMostRows || !p) continue;
    text += row({name_of(cell.name), escape_markdown(cell.word), quantity(scale_of(*p), p->a), quantity(scale_of(*p), p->b),
                 percent(p->effect_percent), percent(p->interval_percent)});
  }
  if (rows > 2 * kMostRows) text += fmt::format("\n{} more cells are in report.html.\n", rows - 2 * kMostRows);
  return text + "\n";
}

string section(const Page& page, bool several) {
  const ResultView& result = page.result;
  string text =
      fmt::format("## {}: {}\n\n{}\n\n", escape_markdown(result.name), escape_markdown(result.word), escape_markdown(result.question));
  text += "**" + escape_markdown(result.reason) + "**\n\n";
  if (result.cells.size() == 1) {
    const CellView& cell = result.cells.front();
    if (const MetricRow* p = cell.primary()) text += escape_markdown(sentence(*p, result.reason + cell.reason)) + "\n\n";
    text += metrics(cell) + phases(cell);
  } else if (result.cells.size() > 1) {
    for (const string& sentence : result.crossing_sentences) text += escape_markdown(sentence) + "\n\n";
    text += cells(result);
  }
  if (!page.figures.empty()) {
    const Figure& first = page.figures.front();
    text += first.trouble.empty() ? fmt::format("![{}](plots/{}.png)\n\n", escape_markdown(first.caption), first.stem)
                                  : fmt::format("No picture: {}.\n\n", escape_markdown(first.trouble));
  }
  return text +
         fmt::format("All samples, checks and how to reproduce: [{0}]({0})\n\n", several ? page.stem + ".html" : string("report.html"));
}

}  // namespace

string markdown(const std::vector<Page>& pages) {
  string text;
  if (pages.size() > 1) {
    text += "# Crossover report\n\n" + row({"scenario", "verdict", "why"}) + "|---|---|---|\n";
    for (const Page& page : pages)
      text += row({escape_markdown(page.result.name), escape_markdown(page.result.word), escape_markdown(page.result.reason)});
    text += "\n";
  }
  for (const Page& page : pages) text += section(page, pages.size() > 1);
  return text + "Effects are B against A in time: negative is faster.\n";
}

}  // namespace crossover::report
