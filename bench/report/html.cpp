#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "bench/report/floors.h"
#include "bench/report/html_parts.h"
#include "bench/report/page.h"
#include "bench/report/words.h"

namespace crossover::report {

namespace {

using std::string;

string class_of(const string& verdict) {
  const bool known = verdict == "FASTER" || verdict == "EQUIVALENT" || verdict == "SLOWER" || verdict == "INVALID";
  return known ? "verdict " + verdict : "verdict";
}

// A line for each cell: what it says and how sure that is. More than a screen holds are a table or a map further down.
string cell_answers(const ResultView& result) {
  if (!result.shows_each_cell()) return "";
  string text;
  for (const CellView& view : result.cells) {
    const string answer = short_answer(view);
    text +=
        fmt::format("<li><strong>{}</strong> {}{}</li>\n", escape_html(cell_label(result, view)),
                    result.exploratory && view.word != "INVALID" ? "" : word(view.word) + (answer.empty() ? "" : ": "),
                    escape_html(answer.empty() && result.exploratory ? "no effect" : answer));
  }
  return "<ul class=\"cells\">\n" + text + "</ul>\n";
}

string checks_in_short(const ResultView& result) {
  std::map<string, int> counts;
  for (const CellView& view : result.cells)
    for (const GateRow& gate : view.gates) ++counts[gate.state];
  string text;
  if (counts["fail"]) text += fmt::format("{} of the checks failed. ", counts["fail"]);
  if (counts["pass"]) text += fmt::format("{} {} passed. ", counts["pass"], counts["pass"] == 1 ? "check" : "checks");
  if (counts["open"]) text += fmt::format("{} could not be judged. ", counts["open"]);
  if (counts["noted"]) text += fmt::format("{} {} noted.", counts["noted"], counts["noted"] == 1 ? "remark is" : "remarks are");
  return text;
}

string line(const char* title, const string& text, const char* kind = "") {
  return text.empty() ? ""
                      : fmt::format("<p{}><strong>{}</strong> {}</p>\n",
                                    *kind ? fmt::format(" class=\"{}\"", kind) : "", title, escape_html(text));
}

string capitalised(string text) {
  if (!text.empty() && text.front() >= 'a' && text.front() <= 'z')
    text.front() = static_cast<char>(text.front() - 'a' + 'A');
  return text;
}

string verdict_card(const ResultView& result) {
  const CellView* only = result.cells.size() == 1 ? &result.cells.front() : nullptr;
  const bool invalid = result.word == "INVALID";
  string text =
      fmt::format("<div class=\"{}\">\n<p class=\"word\">{}{}</p>\n", class_of(result.word), escape_html(result.word),
                  only || result.cells.empty() ? "" : " <span class=\"of\">is the word of the worst cell</span>");
  if (invalid)
    text += paragraph(capitalised(result.reason), "lead") +
            paragraph("These numbers say nothing about the question until that is put right.");
  else if (only)
    text += paragraph(plain_answer(result, *only), "lead");
  for (const string& sentence : result.crossing_sentences) text += paragraph(capitalised(sentence), "lead");
  if (!only && !result.cells.empty()) text += paragraph(plain_answer(result), "lead") + cell_answers(result);
  if (!invalid && !result.cells.empty()) text += line("How sure?", only ? how_sure(*only) : how_sure(result));
  if (!invalid && only) text += line("What would change it?", what_would_change_it(result, *only));
  text += line("Do the checks hold?", checks_in_short(result));
  if (!invalid) text += line("In the words of the result:", result.reason, "note");
  return text + "</div>\n";
}

string floors_note(const CellView& view) { return floor_lines(view).empty() ? "" : paragraph(kFloorsNote, "note"); }

string heading_of(const string& kind) {
  if (kind == "samples") return "Every sample";
  if (kind == "pairs") return "Pair by pair";
  if (kind == "phases") return "Where the difference is";
  if (kind == "timeline") return "What ran when";
  if (kind == "floors") return "How far from the floor";
  if (kind == "series") return "Token by token";
  if (kind == "curve") return "Over the sweep";
  return "The effect";
}

string cell_section(const Page& page, std::size_t index) {
  const ResultView& result = page.result;
  const CellView& view = result.cells[index];
  string text;
  if (result.cells.size() > 1) {
    text += fmt::format("<h2 id=\"c{}\">Cell {} of {}: {} {}</h2>\n", index + 1, index + 1, result.cells.size(), escape_html(view.name),
                        word(view.word));
    text += paragraph(plain_answer(result, view));
    if (view.word != "INVALID")
      text += line("How sure?", how_sure(view)) + line("What would change it?", what_would_change_it(result, view));
    text += line("In the words of the result:", view.reason, "note");
  }
  const char* level = result.cells.size() > 1 ? "h3" : "h2";
  for (const Figure& one : page.figures)
    if (one.cell == static_cast<long>(index)) {
      text += fmt::format("<{0}>{1}</{0}>\n", level, heading_of(one.kind)) + figure(one);
      if (one.kind == "floors") text += floors_note(view);
    }
  text += fmt::format("<{0}>What was checked</{0}>\n", level) + gates_table(view);
  text += fmt::format("<{0}>All metrics</{0}>\n", level) + metric_tables(result, view) +
          paragraph(
              "B against A is in time, for rates as well: negative is faster. Medians are of the samples, in the metric's own unit; "
              "effects come from "
              "pairs. The primary metric (bold) alone decides; p is adjusted by Holm over all others. Could find: the smallest effect "
              "found with 80 % power.",
              "note");
  return text;
}

string cells_of(const Page& page) {
  const ResultView& result = page.result;
  string text;
  if (result.shows_each_cell()) {
    for (std::size_t i = 0; i < result.cells.size(); ++i) text += cell_section(page, i);
    return text;
  }
  text += "<h2>Each cell</h2>\n" +
          paragraph("With this many cells a page shows each one's headline metrics; phases and samples are in the result file.", "note");
  for (std::size_t i = 0; i < result.cells.size() && i < 200; ++i) {
    const CellView& view = result.cells[i];
    text += details(view.name + ": " + view.word, paragraph(result.exploratory ? "" : view.reason, "note") +
                                                      metric_tables(result, view) + gates_table(view));
  }
  return text;
}

}  // namespace

string html(const Page& page) {
  const ResultView& result = page.result;
  string text = point_shapes() + "<main>\n" + paragraph("Crossover report: " + result.name, "eyebrow");
  text += "<h1>" + escape_html(result.question.empty() ? result.name : result.question) + "</h1>\n" + verdict_card(result);
  text += "<h2>What was compared</h2>\n" + arms_table(result);
  const string map = matrix(result);
  if (!map.empty()) text += "<h2>All cells at a glance</h2>\n" + map;
  for (const Figure& one : page.figures)
    if (one.cell < 0) text += "<h2>" + heading_of(one.kind) + "</h2>\n" + figure(one);
  if (const string cells = cells_table(result); !cells.empty())
    text += result.shows_each_cell() ? cells : details("All cells as a table", cells);
  text += cells_of(page) + gpu_phases(result);
  text += "<h2>How it was measured</h2>\n" +
          paragraph(
              "Each sample is a fresh process. Samples ran in pairs, A and B next to each other, half of the pairs A first and half B "
              "first, in an order "
              "drawn from the seed and fixed before the first sample; so drift of the machine falls on both arms alike.") +
          flagged_samples(result) + knob_tables(result) + facts("Plan", result.plan) + facts("Build", result.build) +
          facts("Machine and conditions", result.environment);
  text += reproduce(result) + paragraph("Source: " + result.file + (result.tool.empty() ? "" : ", written by " + result.tool), "note") +
          "</main>\n";
  return document(result.name + ": " + result.word, text);
}

namespace {

// What the environments of the files do not agree in.
string environment_difference(const std::vector<Page>& pages) {
  std::map<string, std::vector<string>> values;
  for (std::size_t i = 0; i < pages.size(); ++i)
    for (const auto* facts : {&pages[i].result.environment, &pages[i].result.build})
      for (const Fact& fact : *facts) {
        auto& row = values[fact.name];
        row.resize(pages.size(), "–");
        row[i] = shown(fact);
      }
  string rows;
  for (auto& [name, row] : values) {
    if (std::all_of(row.begin(), row.end(), [&first = row.front()](const string& value) { return value == first; })) continue;
    rows += "<tr>" + cell(name);
    for (const string& value : row) rows += cell(value);
    rows += "</tr>\n";
  }
  std::vector<string> head{"what differs"};
  for (const Page& page : pages) head.push_back(page.stem);
  if (rows.empty()) return paragraph("Machine and build are the same in all files.");
  return table(head, rows);
}

}  // namespace

string html_index(const std::vector<Page>& pages) {
  string rows;
  for (const Page& page : pages) {
    const ResultView& result = page.result;
    const CellView* only = result.cells.size() == 1 ? &result.cells.front() : nullptr;
    const MetricRow* p = only && result.word != "INVALID" ? only->primary() : nullptr;
    rows += fmt::format("<tr><td><a href=\"{}.html\">{}</a></td><td>{}</td>", escape_html(page.stem), escape_html(result.name),
                        word(result.word)) +
            cell(result.question) +
            (p ? number_cell(p->effect_percent, percent(p->effect_percent)) + number_cell(percent(p->interval_percent))
               : number_cell(only ? "–" : fmt::format("{} cells", result.cells.size())) + number_cell("–")) +
            cell(result.reason) + "</tr>\n";
  }
  string text = "<main>\n" + paragraph("Crossover report", "eyebrow") + fmt::format("<h1>{} results</h1>\n", pages.size()) +
                table({"scenario", "verdict", "question", "B against A", "95 % interval", "why"}, rows) +
                paragraph("B against A is in time: negative is faster.", "note");
  if (pages.size() <= 12) text += "<h2>What differs between the files</h2>\n" + environment_difference(pages);
  return document(fmt::format("Crossover report: {} results", pages.size()), text + "</main>\n");
}

}  // namespace crossover::report
