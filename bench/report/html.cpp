#include <fmt/format.h>

#include "bench/report/floors.h"
#include "bench/report/page.h"
#include "bench/report/words.h"

namespace crossover::report {

namespace {

using std::string;

constexpr const char* kStyle = R"(
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #57606a; --page: #ffffff; --card: #f6f8fa; --line: #d0d7de;
  --good: #1a7f37; --bad: #cf222e; --open: #9a6700; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9aa4ae; --page: #0d1117; --card: #161b22; --line: #30363d;
  --good: #3fb950; --bad: #ff7b72; --open: #d29922; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page); max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.25rem; margin-top: 2.5rem; } h3 { font-size: 1rem; margin-bottom: .3rem; }
.verdict { border: 1px solid var(--line); border-left: .5rem solid var(--open); background: var(--card); padding: .6rem 1rem; }
.verdict strong { font-size: 1.2rem; } .FASTER, .EQUIVALENT { border-left-color: var(--good); } .SLOWER, .INVALID { border-left-color: var(--bad); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--line); padding: .25rem .7rem .25rem 0; text-align: left; vertical-align: top; }
td.n, th.n { text-align: right; white-space: nowrap; } tr.primary td { font-weight: 600; }
figure { margin: 1rem 0; } figure svg { max-width: 100%; height: auto; color: var(--ink); }
figcaption, .note { color: var(--soft); font-size: .85rem; }
code, pre { font: .85rem/1.4 ui-monospace, monospace; } pre { background: var(--card); padding: .8rem; overflow-x: auto; }
)";

string paragraph(const string& text, const char* kind = "") {
  if (text.empty()) return "";
  return fmt::format("<p{}>{}</p>\n", *kind ? fmt::format(" class=\"{}\"", kind) : "", escape_html(text));
}

string cell(const string& text) { return "<td>" + escape_html(text) + "</td>"; }
string number_cell(const string& text) { return "<td class=\"n\">" + escape_html(text) + "</td>"; }

string table(const string& head, const string& rows) {
  return rows.empty() ? ""
                      : "<div class=\"scroll\"><table>\n<thead><tr>" + head + "</tr></thead>\n<tbody>\n" + rows +
                            "</tbody>\n</table></div>\n";
}

string facts(const char* title, const std::vector<Fact>& list) {
  string rows;
  for (const Fact& fact : list) rows += "<tr>" + cell(fact.name) + cell(fact.value) + "</tr>\n";
  if (rows.empty()) return "";
  return fmt::format("<h3>{}</h3>\n", title) + table("<th>name</th><th>value</th>", rows);
}

string metric_row(const MetricRow& row, bool primary) {
  return string(primary ? "<tr class=\"primary\">" : "<tr>") + cell(row.name) + number_cell(number(row.a)) +
         number_cell(number(row.b)) + number_cell(percent(row.effect_percent)) +
         number_cell(percent(row.interval_percent)) + number_cell(percent(row.mde_percent)) +
         number_cell(percent(row.hodges_lehmann_percent)) + number_cell(percent(row.order_effect_percent)) +
         number_cell(percent(row.order_interval_percent)) + number_cell(number(row.n_pairs)) + cell(row.verdict) +
         "</tr>\n";
}

string metric_table(const CellView& view, const string& primary) {
  constexpr const char* kHead =
      "<th>metric</th><th class=\"n\">A median</th><th class=\"n\">B median</th><th class=\"n\">B against A</th>"
      "<th class=\"n\">95 % interval</th><th class=\"n\">could find</th><th class=\"n\">Hodges-Lehmann</th>"
      "<th class=\"n\">order effect</th><th class=\"n\">its interval</th><th class=\"n\">pairs</th><th>verdict</th>";
  string headlines, parts;
  for (const MetricRow& row : view.metrics)
    (is_part(row.name) && row.name != primary ? parts : headlines) += metric_row(row, row.name == primary);
  if (headlines.empty()) return "";
  string text = "<h3>Metrics</h3>\n" + table(kHead, headlines);
  text += paragraph(
      "B against A is in time, for rates as well: negative is faster. Medians are of the samples, in the metric's own "
      "unit; "
      "effects come from pairs. The primary metric alone decides.",
      "note");
  if (!parts.empty())
    text += "<details><summary>Metrics of single phases</summary>\n" + table(kHead, parts) + "</details>\n";
  return text;
}

string phase_table(const CellView& view) {
  string rows;
  for (const PhaseRow& row : view.phases)
    rows += "<tr>" + cell(row.name) + number_cell(seconds(row.a_s)) + number_cell(seconds(row.b_s)) +
            number_cell(seconds(row.delta_s)) + number_cell(seconds(row.interval_s)) + "</tr>\n";
  if (rows.empty()) return "";
  if (view.residual_s)
    rows += "<tr>" + cell("residual") + number_cell("") + number_cell("") + number_cell(seconds(view.residual_s)) +
            number_cell("") + "</tr>\n";
  return "<h3>Where the difference is</h3>\n" +
         table(
             "<th>phase</th><th class=\"n\">A</th><th class=\"n\">B</th><th class=\"n\">B - A</th><th class=\"n\">95 % "
             "interval</th>",
             rows) +
         paragraph("The differences and the residual add up to the difference of the whole.", "note");
}

string floor_table(const CellView& view) {
  string rows;
  for (const FloorLine& line : floor_lines(view))
    rows += string(line.derived ? "<tr class=\"note\">" : "<tr>") + cell(line.what) + number_cell(line.a) + number_cell(line.b) + "</tr>\n";
  if (rows.empty()) return "";
  return "<h3>The load against its floors</h3>\n" + table("<th></th><th class=\"n\">A</th><th class=\"n\">B</th>", rows) +
         paragraph(kFloorsNote, "note");
}

string figure(const Plot& plot) {
  if (plot.svg.empty()) return paragraph("No picture: " + plot.trouble + ".", "note");
  return "<figure>\n" + plot.svg + "\n<figcaption>" + escape_html(plot.caption) + "</figcaption>\n</figure>\n";
}

string flagged(const ResultView& result) {
  string rows;
  for (const SampleView& sample : result.samples) {
    if (sample.counts() && sample.flags.empty()) continue;
    string flags = sample.failure.empty() ? "" : "failed: " + sample.failure;
    if (sample.control) flags += flags.empty() ? "determinism control, not analysed" : ", determinism control";
    for (const string& flag : sample.flags) flags += (flags.empty() ? "" : ", ") + flag;
    rows += "<tr>" + number_cell(fmt::format("{}", sample.position)) + cell(sample.arm) +
            number_cell(fmt::format("{}", sample.pair)) + cell(flags) + "</tr>\n";
  }
  if (rows.empty()) return "";
  return "<h3>Flagged samples</h3>\n" +
         table("<th class=\"n\">position</th><th>arm</th><th class=\"n\">pair</th><th>flags</th>", rows);
}

string knobs(const ResultView& result) {
  string rows;
  for (const KnobRow& row : result.knobs)
    rows += string(row.a != row.b ? "<tr class=\"primary\">" : "<tr>") + cell(row.name) + cell(row.a) +
            cell(row.a_origin) + cell(row.b) + cell(row.b_origin) + "</tr>\n";
  if (rows.empty()) return "";
  return "<h3>Knobs</h3>\n" + table("<th>knob</th><th>A</th><th>from</th><th>B</th><th>from</th>", rows);
}

string paths(const ResultView& result) {
  string rows;
  for (const KnobRow& row : result.paths)
    rows += string(row.a != row.b ? "<tr class=\"primary\">" : "<tr>") + cell(row.name) + cell(row.a) + cell(row.b) +
            "</tr>\n";
  if (rows.empty()) return "";
  return "<h3>Which way the arms went</h3>\n" + table("<th>path</th><th>A</th><th>B</th>", rows);
}

string reproduce(const ResultView& result) {
  if (result.scenario.empty()) return "";
  const string name = file_stem(result.name) + ".json";
  return "<h3>How to reproduce</h3>\n" + paragraph("Save the scenario below as " + name + ", then:") +
         "<pre>crossover run " + escape_html(name) +
         " --out again</pre>\n<details><summary>The scenario as it ran</summary>\n<pre>" +
         escape_html(result.scenario) + "</pre>\n</details>\n";
}

string section(const Page& page, std::size_t index) {
  const ResultView& result = page.result;
  string text =
      fmt::format("<section id=\"r{}\">\n<h2>{}</h2>\n", index, escape_html(result.name)) + paragraph(result.question);
  const MetricRow* primary =
      result.cells.empty() || result.cells.front().metrics.empty() ? nullptr : &result.cells.front().metrics.front();
  const bool known =
      result.word == "FASTER" || result.word == "EQUIVALENT" || result.word == "SLOWER" || result.word == "INVALID";
  text += fmt::format("<div class=\"verdict {}\">\n<strong>{}</strong>\n", known ? result.word : "",
                      escape_html(result.word));
  text += paragraph(result.reason);
  if (primary && result.cells.size() == 1) text += paragraph(sentence(*primary, result.reason));
  text += "</div>\n";
  for (std::size_t i = 0; i < result.cells.size(); ++i) {
    const CellView& view = result.cells[i];
    if (result.cells.size() > 1) {
      text += fmt::format("<h3>Cell {}: {} {}</h3>\n", i + 1, escape_html(view.name), escape_html(view.word));
      text += paragraph(view.reason);
      if (!view.metrics.empty()) text += paragraph(sentence(view.metrics.front(), view.reason));
    }
    if (i < page.plots.size()) text += figure(page.plots[i]);
    text += metric_table(view, result.primary) + phase_table(view) + floor_table(view) + facts("Gates", view.gates);
  }
  text += flagged(result) + facts("What the arms are", result.difference) + knobs(result) + paths(result) + facts("Plan", result.plan) + facts("Build", result.build) +
          facts("Environment", result.environment) + reproduce(result);
  return text + paragraph("Source: " + result.file, "note") + "</section>\n";
}

}  // namespace

string html(const std::vector<Page>& pages) {
  string text =
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>Crossover "
      "report</title>\n<style>";
  text += string(kStyle) + "</style>\n</head>\n<body>\n<h1>Crossover report</h1>\n";
  if (pages.size() > 1) {
    string rows;
    for (std::size_t i = 0; i < pages.size(); ++i)
      rows += fmt::format("<tr><td><a href=\"#r{}\">{}</a></td>", i, escape_html(pages[i].result.name)) +
              cell(pages[i].result.word) + cell(pages[i].result.reason) + "</tr>\n";
    text += table("<th>scenario</th><th>verdict</th><th>why</th>", rows);
  }
  for (std::size_t i = 0; i < pages.size(); ++i) text += section(pages[i], i);
  return text + "</body>\n</html>\n";
}

}  // namespace crossover::report
