// The effect of each cell with its interval and its pairs; over a swept number, the arms' own curves as well.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "bench/report/figure_parts.h"

namespace crossover::report {

namespace {

constexpr std::size_t kMostCells = 70, kMostOfName = 26;

std::string tics(const std::vector<std::string>& names, std::size_t bytes) {
  std::string text;
  for (std::size_t i = 0; i < names.size(); ++i) text += fmt::format("{}'{}' {}", i ? ", " : "", label(names[i], bytes), names.size() - i);
  return text;
}

// What the rows are where their names leave that out.
std::string rows_note(const ResultView& result) {
  std::string axes;
  for (const Axis& axis : result.axes) axes += (axes.empty() ? "" : ", ") + axis.name;
  return axes.empty() ? "" : "Rows: " + axes + ". ";
}

bool drawable(const std::optional<double>& value) { return value && std::abs(*value) <= kDrawableSize; }

struct Effects {
  std::vector<Point> raw, estimates;  // x: percent, y: row from the foot up
  std::vector<std::string> names;
  std::string intervals;              // rows of gnuplot data
  double low = 0, high = 0;

  void widen(double value) { low = std::min(low, value), high = std::max(high, value); }
};

// Fills the numbers and words of `figure` as well.
Effects effects_of(const ResultView& result, std::size_t cells, Figure& figure) {
  Effects out;
  if (!full_names(result)) figure.caption = rows_note(result);
  for (std::size_t i = 0; i < cells; ++i) {
    const CellView& cell = result.cells[i];
    const double row = static_cast<double>(cells - i);
    out.names.push_back(cell.name.empty() ? "B against A" : cell_label(result, cell));
    for (const PairView& pair : cell.pairs)  // a little above, so that the bar does not hide them
      if (drawable(pair.difference_percent)) out.raw.push_back({*pair.difference_percent, row + 0.27}), out.widen(*pair.difference_percent);
    const MetricRow* primary = cell.primary();
    if (!primary || !drawable(primary->effect_percent)) continue;
    out.estimates.push_back({*primary->effect_percent, row}), out.widen(*primary->effect_percent);
    if (const auto& interval = primary->interval_percent;
        interval && std::abs(interval->low) <= kDrawableSize && std::abs(interval->high) <= kDrawableSize) {
      out.intervals += fmt::format("{:.9g} {:.9g} {:.9g}\n", interval->low, interval->high, row);
      out.widen(interval->low), out.widen(interval->high);
    }
    const std::string effect = percent(primary->effect_percent), interval = percent(primary->interval_percent);
    figure.rows.push_back({out.names.back(), short_number(*primary->effect_percent), interval, percent(primary->mde_percent),
                           number(primary->n_pairs), cell.word.empty() ? result.word : cell.word});
    if (i < 12) figure.words += fmt::format(" {}: {}, interval {}.", out.names.back(), effect, interval);
  }
  return out;
}

std::optional<Figure> effects(const ResultView& result) {
  const std::size_t cells = std::min(result.cells.size(), kMostCells);
  Figure figure;
  figure.kind = "effects";
  figure.head = {"cell", "effect, %", "interval, %", "could find, %", "pairs", "verdict"};
  figure.words = "Effect of B against A in time, negative is faster.";
  Effects drawn = effects_of(result, cells, figure);
  if (drawn.estimates.empty()) return std::nullopt;
  std::size_t left_out = 0;
  figure.script = data_block("R", drawn.raw, left_out) + data_block("E", drawn.estimates, left_out) + "$I << EOD\n" +
                  drawn.intervals + "EOD\n" + kFrame;
  figure.caption +=
      "The effect with its 95 % interval (diamond and bar) and every pair (rings); left of zero B is faster.";
  if (result.word == "INVALID") figure.caption.insert(0, "A check failed: what is drawn here answers nothing. ");
  if (result.threshold_percent && *result.threshold_percent > 0 && *result.threshold_percent < 1e6) {
    const double up = *result.threshold_percent, down = 100 / (1 + up / 100) - 100;
    drawn.widen(up), drawn.widen(down);
    figure.script += fmt::format(
        "set object 1 rect from first {:.9g}, graph 0 to first {:.9g}, graph 1 fc rgb '{}' fs transparent solid 0.18 noborder behind\n",
        down, up, kLight.soft);
    figure.caption += fmt::format(" Inside the band the difference counts as none (threshold {:.4g} %).", up);
  }
  figure.caption += left_out_note(left_out);
  if (cells < result.cells.size()) figure.caption += fmt::format(" The first {} of {} cells.", cells, result.cells.size());
  const double margin = std::max(0.04 * (drawn.high - drawn.low), 0.01);
  figure.x_span = drawn.high - drawn.low + 2 * margin;
  figure.script += fmt::format(
      "set arrow from first 0, graph 0 to first 0, graph 1 nohead lw 1 lc rgb '{}'\nset ytics ({}) \nunset grid\nset "
      "grid xtics lt 1 lw "
      "0.5 lc rgb '{}'\n"
      "set yrange [0.4:{}]\nset xrange [{:.9g}:{:.9g}]\nset xlabel 'B against A in time, %'\n"
      "plot $R using 1:2 with points pt 6 ps 0.7 lc rgb '{}' title 'pair', \\\n  $I using 1:3:($2-$1):(0) with vectors "
      "nohead lw 2.5 lc "
      "rgb '{}' title '95 % interval', \\\n"
      "  $E using 1:2 with points pt 13 ps 1.1 lc rgb '{}' title 'effect'",
      kLight.ink, tics(drawn.names, kMostOfName), kLight.line, static_cast<double>(cells) + 0.6, drawn.low - margin,
      drawn.high + margin, kLight.soft, kLight.ink, kLight.a);
  figure.height = 120 + static_cast<int>(cells) * 24;
  figure.narrow_height = 130 + static_cast<int>(cells) * 24;
  return figure;
}

std::optional<double> as_number(const std::string& text) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  return !text.empty() && *end == 0 && std::isfinite(value) ? std::optional(value) : std::nullopt;
}

// The cells' settings where they are one number each, at least three.
std::vector<double> swept_numbers(const ResultView& result) {
  std::vector<double> numbers;
  for (const CellView& cell : result.cells) {
    const auto value = cell.settings.size() == 1 ? as_number(cell.settings.front().value) : std::nullopt;
    if (!value || std::abs(*value) > kDrawableSize) return {};
    numbers.push_back(*value);
  }
  return numbers.size() >= 3 ? numbers : std::vector<double>{};
}

struct Curve {
  std::vector<Point> raw;
  std::string medians, band;  // rows of gnuplot data
};

Curve curve_of(const ResultView& result, const std::vector<double>& at, const std::vector<std::size_t>& order, const char* arm,
               const Scale& scale) {
  Curve curve;
  for (const std::size_t cell : order) {
    double low = 0, high = 0;
    std::size_t count = 0;
    for (const PairView& pair : result.cells[cell].pairs) {
      const double value = result.samples[*arm == 'A' ? pair.a : pair.b].metrics.at(result.primary) * scale.factor;
      if (std::abs(value) > kDrawableSize) continue;
      low = count ? std::min(low, value) : value, high = count ? std::max(high, value) : value, ++count;
      curve.raw.push_back({at[cell], value});
    }
    const MetricRow* primary = result.cells[cell].primary();
    const auto median = primary ? (*arm == 'A' ? primary->a : primary->b) : std::nullopt;
    if (!count || !drawable(median)) continue;
    curve.medians += fmt::format("{:.9g} {:.9g}\n", at[cell], *median * scale.factor);
    curve.band += fmt::format("{:.9g} {:.9g} {:.9g}\n", at[cell], low, high);
  }
  return curve;
}

std::string crossing_marks(const ResultView& result, Figure& figure) {
  std::string text;
  for (const CrossingView& crossing : result.crossings) {
    if (std::abs(crossing.at) > kDrawableSize) continue;
    text += fmt::format("set arrow from first {0:.9g}, graph 0 to first {0:.9g}, graph 1 nohead dt 3 lw 1.5 lc rgb '{1}'\n", crossing.at,
                        kLight.ink);
    if (crossing.low && crossing.high && std::abs(*crossing.low) <= kDrawableSize && std::abs(*crossing.high) <= kDrawableSize)
      text += fmt::format(
          "set object rect from first {:.9g}, graph 0 to first {:.9g}, graph 1 fc rgb '{}' fs transparent solid 0.12 noborder behind\n",
          *crossing.low, *crossing.high, kLight.soft);
    figure.words += fmt::format(" The curves cross at {:.4g}.", crossing.at);
  }
  if (!text.empty()) figure.caption += " Dotted: where the curves cross, with its interval.";
  return text;
}

std::optional<Figure> curves(const ResultView& result) {
  const std::vector<double> at = swept_numbers(result);
  if (at.empty()) return std::nullopt;
  std::vector<std::size_t> order(at.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](std::size_t x, std::size_t y) { return at[x] < at[y]; });
  double size = 0;
  for (const CellView& cell : result.cells)
    if (const MetricRow* primary = cell.primary(); primary && drawable(primary->a)) size = std::max(size, std::abs(*primary->a));
  const Scale scale = scale_of(result.primary, size);
  const Curve a = curve_of(result, at, order, "A", scale), b = curve_of(result, at, order, "B", scale);
  if (a.medians.empty() || b.medians.empty()) return std::nullopt;
  Figure figure;
  figure.kind = "curve";
  const std::string axis = result.cells.front().settings.front().name;
  figure.caption = fmt::format("{} over {}: every sample, medians as lines, lowest to highest as bands.", result.primary, axis);
  figure.words = fmt::format("Curves of {} over {}.", result.primary, axis);
  figure.head = {axis, "A, median", "B, median", "B against A, %"};
  for (const std::size_t cell : order)
    if (const MetricRow* primary = result.cells[cell].primary()) {
      figure.rows.push_back({result.cells[cell].settings.front().value, quantity(scale_of(*primary), primary->a),
                             quantity(scale_of(*primary), primary->b), percent(primary->effect_percent)});
      figure.words += fmt::format(" {}: A {}, B {}.", figure.rows.back()[0], figure.rows.back()[1], figure.rows.back()[2]);
    }
  std::size_t left_out = 0;
  figure.script = data_block("A", a.raw, left_out) + data_block("B", b.raw, left_out) + "$MA << EOD\n" + a.medians + "EOD\n$MB << EOD\n" +
                  b.medians + "EOD\n$FA << EOD\n" + a.band + "EOD\n$FB << EOD\n" + b.band + "EOD\n" + kFrame +
                  crossing_marks(result, figure);
  figure.caption += left_out_note(left_out);
  const double first = at[order.front()], last = at[order.back()];
  if (first > 0 && last / first >= 16) {
    figure.script += "set logscale x 2\nset format x '%.0f'\n";
  } else {
    if (first >= 0) figure.script += "set xrange [0<*:*]\n";
    figure.x_span = 1.06 * (last - first);
  }
  figure.script += fmt::format(
      "set xlabel '{0}'\nset ylabel '{1}'\nset yrange [0:*]\nset offsets graph 0.03, graph 0.03, graph 0.05, 0\n"
      "plot $FA using 1:2:3 with filledcurves lc rgb '{2}' fs transparent solid 0.15 notitle, $FB using 1:2:3 with "
      "filledcurves lc rgb "
      "'{3}' fs transparent solid 0.15 notitle, \\\n"
      "  $MA using 1:2 with lines lw 1.8 lc rgb '{2}' notitle, $MB using 1:2 with lines lw 1.8 dt 2 lc rgb '{3}' "
      "notitle, \\\n"
      "  $A using 1:2 with points pt 7 ps 0.7 lc rgb '{2}' title 'A', $B using 1:2 with points pt 9 ps 0.9 lc rgb "
      "'{3}' title 'B'",
      label(axis), y_title(result.primary, scale.unit, 340), kLight.a, kLight.b);
  figure.height = 360, figure.narrow_height = 340;
  return figure;
}

}  // namespace

std::vector<Figure> effect_figures(const ResultView& result) {
  std::vector<Figure> figures;
  if (auto figure = effects(result)) figures.push_back(std::move(*figure));
  if (auto figure = curves(result)) figures.push_back(std::move(*figure));
  return figures;
}

}  // namespace crossover::report
