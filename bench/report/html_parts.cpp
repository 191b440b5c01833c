#include "bench/report/html_parts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "bench/report/palette.h"
#include "bench/report/words.h"

namespace crossover::report {

namespace {

using std::string;

constexpr int kMostFlagged = 200;

string cell_of_row(const string& text, bool is_number) { return is_number ? number_cell(text) : cell(text); }

bool looks_like_number(const string& text) {
  return !text.empty() && (std::string_view("0123456789-+").find(text.front()) != std::string_view::npos || text == "–");
}

string interval_cell(const std::optional<Interval>& interval) {
  if (!interval) return number_cell("–");
  return fmt::format("<td class=\"n\"><data value=\"{}\">{}</data> to <data value=\"{}\">{}</data></td>", interval->low,
                     escape_html(percent(std::optional(interval->low))), interval->high,
                     escape_html(percent(std::optional(interval->high))));
}

string percent_cell(const std::optional<double>& value) { return number_cell(value, percent(value)); }

string metric_row(const MetricRow& row, bool primary) {
  return string(primary ? "<tr class=\"primary\">" : "<tr>") + cell(row.name) +
         number_cell(row.a, quantity(scale_of(row), row.a)) + number_cell(row.b, quantity(scale_of(row), row.b)) +
         percent_cell(row.effect_percent) + interval_cell(row.interval_percent) + "<td class=\"n\">" +
         word(row.verdict) + "</td>" + percent_cell(row.mde_percent) +
         number_cell(row.p_adjusted, number(row.p_adjusted)) + percent_cell(row.hodges_lehmann_percent) +
         percent_cell(row.order_effect_percent) + interval_cell(row.order_interval_percent) +
         number_cell(row.n_pairs, number(row.n_pairs)) + "</tr>\n";
}

const std::vector<string> kMetricHead{"metric",         "A median",     "B median",     "B against A",
                                      "95 % interval",  "verdict",      "could find",   "p (Holm)",
                                      "Hodges-Lehmann", "order effect", "its interval", "pairs"};

}  // namespace

string paragraph(const string& text, const char* kind) {
  if (text.empty()) return "";
  return fmt::format("<p{}>{}</p>\n", *kind ? fmt::format(" class=\"{}\"", kind) : "", escape_html(text));
}

string details(const string& summary, const string& html) {
  return html.empty() ? "" : "<details><summary>" + escape_html(summary) + "</summary>\n" + html + "</details>\n";
}

string cell(const string& text) { return (text.size() > 40 ? "<td class=\"long\">" : "<td>") + escape_html(text) + "</td>"; }
string number_cell(const string& text) { return "<td class=\"n\">" + escape_html(text) + "</td>"; }

string number_cell(const std::optional<double>& value, const string& shown) {
  return value ? fmt::format("<td class=\"n\"><data value=\"{}\">{}</data></td>", *value, escape_html(shown)) : number_cell(shown);
}

string table(const std::vector<string>& head, const string& rows, int numbers_from) {
  if (rows.empty()) return "";
  string text = "<div class=\"scroll\" tabindex=\"0\"><table>\n<thead><tr>";
  for (std::size_t i = 0; i < head.size(); ++i)
    text += (static_cast<int>(i) >= numbers_from ? "<th class=\"n\">" : "<th>") + escape_html(head[i]) + "</th>";
  return text + "</tr></thead>\n<tbody>\n" + rows + "</tbody>\n</table></div>\n";
}

string shown(const Fact& fact) {
  char* end = nullptr;
  const double value = std::strtod(fact.value.c_str(), &end);
  if (fact.value.empty() || *end != 0 || !(std::abs(value) >= 1e4) || !std::isfinite(value) ||
      scale_of(fact.name, value).unit.empty())
    return fact.value;
  return quantity(fact.name, value);
}

string facts(const char* title, const std::vector<Fact>& list) {
  string rows;
  for (const Fact& fact : list) rows += "<tr>" + cell(fact.name) + cell(shown(fact)) + "</tr>\n";
  return details(title, table({"name", "value"}, rows));
}

string word(const string& verdict) {
  if (verdict.empty()) return "";
  const bool known =
      verdict == "FASTER" || verdict == "EQUIVALENT" || verdict == "SLOWER" || verdict == "INVALID" || verdict == "INCONCLUSIVE";
  return known ? fmt::format("<span class=\"w {0}\">{0}</span>", verdict) : escape_html(verdict);
}

string figure(const Figure& figure) {
  string rows;
  for (const auto& row : figure.rows) {
    rows += "<tr>";
    for (const string& value : row) rows += cell_of_row(value, looks_like_number(value));
    rows += "</tr>\n";
  }
  const string numbers = details("The numbers behind this picture", table(figure.head, rows));
  if (figure.svg.empty())
    return paragraph("No picture: " + (figure.trouble.empty() ? "gnuplot wrote none" : figure.trouble) + ".", "note") + numbers;
  return "<figure>\n" + figure.svg + "\n" + figure.narrow_svg + "\n<figcaption>" + escape_html(figure.caption) +
         "</figcaption>\n</figure>\n" + numbers;
}

string arms_table(const ResultView& result) {
  string rows;
  for (const KnobRow& row : result.arms)
    rows += string(row.a != row.b ? "<tr class=\"primary\">" : "<tr>") + cell(row.name) + cell(row.a) + cell(row.b) + "</tr>\n";
  if (rows.empty())
    return paragraph(
        "A and B are the same program with the same settings (A/A): a difference found here would be an error of the measurement.");
  return "<div class=\"scroll\" tabindex=\"0\"><table>\n<thead><tr><th>what differs</th><th><span class=\"a\">A</span>, the control</th>"
         "<th><span class=\"b\">B</span></th></tr></thead>\n<tbody>\n" +
         rows + "</tbody>\n</table></div>\n";
}

string cells_table(const ResultView& result) {
  if (result.cells.size() < 2) return "";
  const auto why = [](const CellView& view) {
    return view.word == "INVALID" ? view.reason : string();
  };  // the row says the others
  const bool some =
      std::any_of(result.cells.begin(), result.cells.end(), [&](const CellView& view) { return !why(view).empty(); });
  string rows;
  for (const CellView& view : result.cells) {
    const MetricRow* p = view.primary();
    rows += "<tr>" + cell(view.name) + "<td>" + word(view.word) + "</td>";
    if (p)
      rows += number_cell(p->a, quantity(scale_of(*p), p->a)) + number_cell(p->b, quantity(scale_of(*p), p->b)) +
              percent_cell(p->effect_percent) + interval_cell(p->interval_percent) + percent_cell(p->mde_percent);
    else
      rows += "<td></td><td></td><td></td><td></td><td></td>";
    rows += (some ? cell(why(view)) : "") + "</tr>\n";
  }
  std::vector<string> head{"cell", "verdict", "A median", "B median", "B against A", "95 % interval", "could find"};
  if (some) head.emplace_back("why");
  return table(head, rows);
}

string matrix(const ResultView& result) {
  if (result.axes.size() != 2) return "";
  const Axis &down = result.axes[0], &across = result.axes[1];
  if (down.values.size() * across.values.size() > 10'000) return "";
  string text = fmt::format("<div class=\"scroll\" tabindex=\"0\"><table class=\"matrix\">\n<thead><tr><th>{} \\ {}</th>",
                            escape_html(down.name), escape_html(across.name));
  for (const string& value : across.values) text += "<th>" + escape_html(value) + "</th>";
  text += "</tr></thead>\n<tbody>\n";
  for (const string& row : down.values) {
    text += "<tr><th>" + escape_html(row) + "</th>";
    for (const string& column : across.values) {
      const auto found = std::find_if(result.cells.begin(), result.cells.end(), [&](const CellView& view) {
        return view.settings.size() == 2 && view.settings[0].value == row && view.settings[1].value == column;
      });
      const MetricRow* p = found == result.cells.end() ? nullptr : found->primary();
      if (!p || !p->effect_percent) {
        text += "<td>–</td>";
        continue;
      }
      const double effect = *p->effect_percent, strength = std::min(0.45, std::abs(effect) / 60);
      text +=
          fmt::format("<td style=\"background:color-mix(in srgb,var(--{}) {:.0f}%,var(--page))\"><data value=\"{}\">{}</data><br/>{}</td>",
                      effect < 0 ? "a" : "b", 100 * strength, effect, escape_html(percent(p->effect_percent)),
                      result.exploratory ? (effect < 0 ? "faster" : "slower") : word(found->word));
    }
    text += "</tr>\n";
  }
  return text + "</tbody>\n</table></div>\n" +
         paragraph("B against A in time: negative (blue) is faster, positive (orange) slower; the stronger the colour, the larger.",
                   "note");
}

string metric_tables(const ResultView& result, const CellView& view) {
  string headlines, parts;
  for (const MetricRow& row : view.metrics) {
    const bool part = is_part(row.name) && row.name != result.primary;
    if (part && !result.shows_each_cell()) continue;
    (part ? parts : headlines) += metric_row(row, row.name == result.primary);
  }
  return table(kMetricHead, headlines, 1) + details("Metrics of single phases", table(kMetricHead, parts, 1));
}

string gates_table(const CellView& view) {
  string rows;
  for (const GateRow& gate : view.gates) {
    const char* mark = gate.state == "pass" ? "✓ " : gate.state == "fail" ? "✗ " : "";
    rows += "<tr><td class=\"" + string(gate.state == "pass" || gate.state == "fail" ? gate.state : "open") + "\">" + mark +
            escape_html(gate.state) + "</td>" + cell(gate.name) + cell(gate.saw) + "</tr>\n";
  }
  return table({"", "check", "what it saw"}, rows);
}

string knob_tables(const ResultView& result) {
  string knobs, paths;
  for (const KnobRow& row : result.knobs)
    knobs += string(row.a != row.b ? "<tr class=\"primary\">" : "<tr>") + cell(row.name) + cell(row.a) + cell(row.a_origin) + cell(row.b) +
             cell(row.b_origin) + "</tr>\n";
  for (const KnobRow& row : result.paths)
    paths += string(row.a != row.b ? "<tr class=\"primary\">" : "<tr>") + cell(row.name) + cell(row.a) + cell(row.b) + "</tr>\n";
  return details("Knobs, as the processes resolved them, and where each value came from",
                 table({"knob", "A", "from", "B", "from"}, knobs)) +
         details("Which way the arms went", table({"path", "A", "B"}, paths));
}

string flagged_samples(const ResultView& result) {
  string rows;
  int count = 0;
  for (const SampleView& sample : result.samples) {
    if (sample.counts() && sample.flags.empty()) continue;
    if (++count > kMostFlagged) continue;
    string flags = sample.failure.empty() ? "" : "failed: " + sample.failure;
    if (sample.control) flags += flags.empty() ? "determinism control, not analysed" : ", determinism control";
    for (const string& flag : sample.flags) flags += (flags.empty() ? "" : ", ") + flag;
    rows += "<tr>" + number_cell(fmt::format("{}", sample.position)) + cell(sample.arm) + number_cell(fmt::format("{}", sample.pair)) +
            cell(flags) + "</tr>\n";
  }
  return details(fmt::format("Flagged samples ({}{})", count, count > kMostFlagged ? fmt::format(", the first {}", kMostFlagged) : ""),
                 table({"position", "arm", "pair", "flags"}, rows));
}

string reproduce(const ResultView& result) {
  if (result.scenario.empty()) return "";
  const string name = file_stem(result.name) + ".json";
  return "<h2>How to reproduce</h2>\n" + paragraph("Save the scenario below as " + name + " (or take it from the result file), then:") +
         "<pre>crossover run " + escape_html(name) + " --out again\ncrossover report again/result.json --out again/report</pre>\n" +
         details("The scenario as it ran", "<pre>" + escape_html(result.scenario) + "</pre>\n");
}

string document(const string& title, const string& body) {
  return "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
         "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; "
         "form-action 'none'\"/>\n"
         "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>" +
         escape_html(title) + "</title>\n<style>" + style_sheet() + "</style>\n</head>\n<body>\n" + body + "</body>\n</html>\n";
}

}  // namespace crossover::report
