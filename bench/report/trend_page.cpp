#include "bench/report/trend_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <stdexcept>

#include "bench/history/history.h"
#include "bench/history/trend.h"
#include "bench/report/figure_parts.h"
#include "bench/report/html_parts.h"

namespace crossover {

namespace {

using report::Figure;
using report::kLight;

constexpr std::size_t kMostSeries = 60;

double shown(const HistoryPoint& at, double ln, double factor) { return at.point.arm == "effect" ? percent(ln) : std::exp(ln) * factor; }

std::string change_text(const TrendSeries& series, const TrendChange& change) {
  const HistoryPoint& first = series.points.front();
  return fmt::format("{} with build {} (p = {:.3f})", report::change(percent(change.change_ln), first.point.metric),
                     series.builds[change.build].label, change.p_value);
}

// Bars of one standard deviation of a run's samples, of an effect its interval.
std::string bars_of(const TrendSeries& series, double factor) {
  std::string text = "$S << EOD\n";
  for (std::size_t i = 0; i < series.points.size(); ++i) {
    const HistoryPoint& at = series.points[i];
    const double ln = at.point.value_ln;
    if (at.point.interval_ln)
      text += fmt::format("{} {:.9g} {:.9g}\n", i + 1, shown(at, at.point.interval_ln->low, factor),
                          shown(at, at.point.interval_ln->high, factor));
    else if (at.point.sd_ln)
      text += fmt::format("{} {:.9g} {:.9g}\n", i + 1, shown(at, ln - *at.point.sd_ln, factor), shown(at, ln + *at.point.sd_ln, factor));
  }
  return text + "EOD\n";
}

Figure figure_of(const TrendSeries& series, std::size_t index) {
  const HistoryPoint& first = series.points.front();
  const bool effect = first.point.arm == "effect";
  const std::string& metric = first.point.metric;
  double size = 0;
  for (const HistoryPoint& at : series.points) size = std::max(size, std::exp(at.point.value_ln));
  const report::Scale scale = effect ? report::Scale{1, "%"} : report::scale_of(metric, size);
  Figure figure;
  figure.height = figure.narrow_height = 210;
  figure.kind = "trend", figure.stem = fmt::format("trend-{}", index + 1);
  figure.head = {"run", "started", "build", metric, "samples or pairs"};
  std::vector<report::Point> values;
  for (std::size_t i = 0; i < series.points.size(); ++i) {
    const HistoryPoint& at = series.points[i];
    values.push_back({static_cast<double>(i + 1), shown(at, at.point.value_ln, scale.factor)});
    figure.rows.push_back({fmt::format("{}", at.id), at.started_at, at.label, fmt::format("{:.5g} {}", values.back().y, scale.unit),
                           fmt::format("{}", at.point.n)});
  }
  figure.caption = fmt::format("{}: {}{}.", series_title(first), metric,
                               effect                         ? " of B against A, negative is faster"
                               : first.point.higher_is_better ? ", higher is better"
                                                              : ", lower is better");
  figure.words = fmt::format("Dots over {} runs, from {} to {}.", values.size(), figure.rows.front()[3], figure.rows.back()[3]);
  std::size_t left_out = 0;
  figure.script = report::data_block("V", values, left_out) + bars_of(series, scale.factor) + report::kFrame + "unset key\n";
  for (const TrendChange& change : series.changes) {
    const double at = static_cast<double>(series.builds[change.build].runs.front()) + 0.5;
    figure.script += fmt::format("set arrow from first {0}, graph 0 to first {0}, graph 1 nohead dt 2 lw 1.5 lc rgb '{1}'\n", at,
                                 change.change_ln < 0 ? kLight.good : kLight.bad);
    figure.caption += " " + change_text(series, change) + ".";
    figure.words += " " + change_text(series, change) + ".";
  }
  if (series.changes.empty()) figure.caption += " No change found.";
  figure.script += fmt::format(
      "set xlabel 'run, by time'\nset ylabel '{}'\nset xrange [0:{}]\nset offsets 0, 0, graph 0.1, graph 0.1\n"
      "plot $S using 1:2:(0):($3-$2) with vectors nohead lw 2 lc rgb '{}' notitle, $V using 1:2 with points pt 7 ps "
      "0.9 lc rgb '{}' "
      "notitle",
      report::y_title(metric, scale.unit, figure.height), values.size() + 1, kLight.line, kLight.a);
  figure.x_span = static_cast<double>(values.size() + 1), figure.x_step = 1;
  return figure;
}

}  // namespace

void write_trend_page(const std::filesystem::path& history_file, const std::filesystem::path& out_dir) {
  History history(history_file, /*create=*/false);
  std::vector<Figure> figures;
  std::size_t left_out = 0, changed = 0;
  for (const std::string& metric : history.metrics()) {
    if (report::is_part(metric)) continue;
    for (const TrendSeries& series : trends(history.points(metric, {}), {})) {
      if (figures.size() == kMostSeries) {
        ++left_out;
        continue;
      }
      changed += !series.changes.empty();
      figures.push_back(figure_of(series, figures.size()));
    }
  }
  if (figures.empty())
    throw std::runtime_error(fmt::format("{} holds no run to show; add results with `crossover history add`", history_file.string()));
  std::error_code failed;
  std::filesystem::create_directories(out_dir / "plots", failed);
  if (failed)
    throw std::runtime_error(
        fmt::format("cannot make the report folder {}: {}; give another one with --out", out_dir.string(), failed.message()));
  report::draw(figures, out_dir / "plots");
  std::string body =
      report::point_shapes() + "<main>\n" + report::paragraph("Crossover history", "eyebrow") +
      fmt::format("<h1>{} of {} series changed</h1>\n", changed, figures.size()) +
      report::paragraph(
          "Each dot is a run, its bar one standard deviation of its samples (of an effect: its 95 % interval). Dashed: where the level "
          "changed (E-divisive; in 5 % of the series without a change one is found).");
  for (const Figure& figure : figures) body += report::figure(figure);
  if (left_out)
    body += report::paragraph(fmt::format("{} more series are left out; see `crossover history trend METRIC`.", left_out), "note");
  std::ofstream file(out_dir / "trend.html", std::ios::binary);
  file << report::document("Crossover history", body + "</main>\n");
  file.close();
  if (!file) throw std::runtime_error(fmt::format("cannot write {}; give another folder with --out", (out_dir / "trend.html").string()));
}

}  // namespace crossover
