// Every sample in the order it ran, and the differences of pairs.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "bench/report/figure_parts.h"

namespace crossover::report {

namespace {

struct ArmPoints {
  std::vector<Point> points;
  std::vector<double> values;
};

ArmPoints points_of(const ResultView& result, long cell, const char* arm) {
  ArmPoints out;
  for (std::size_t i = 0; i < result.samples.size(); ++i) {
    const SampleView& sample = result.samples[i];
    const auto value = sample.metrics.find(result.primary);
    if (sample.cell != cell || sample.arm != arm || !sample.counts() || value == sample.metrics.end()) continue;
    out.points.push_back({static_cast<double>(i + 1), value->second});
    out.values.push_back(value->second);
  }
  return out;
}

double largest(const std::vector<double>& values) {
  double size = 0;
  for (const double value : values)
    if (std::abs(value) <= kDrawableSize) size = std::max(size, std::abs(value));
  return size;
}

// Crosses at the foot of the picture where a sample failed, rings around flagged ones.
std::string marks(const ResultView& result, long cell, double factor) {
  std::string text;
  int most = 100;
  for (std::size_t i = 0; i < result.samples.size() && most > 0; ++i) {
    const SampleView& sample = result.samples[i];
    if (sample.cell != cell) continue;
    const auto value = sample.metrics.find(result.primary);
    if (!sample.failure.empty()) {
      text += fmt::format("set label at {}, graph 0.03 '' point pt 2 ps 1.1 lw 2 lc rgb '{}'\n", i + 1, kLight.bad), --most;
    } else if (!sample.flags.empty() && sample.counts() && value != sample.metrics.end() && std::abs(value->second) <= kDrawableSize) {
      text += fmt::format("set label at {}, {:.9g} '' point pt 6 ps 1.9 lc rgb '{}'\n", i + 1, value->second * factor, kLight.soft), --most;
    }
  }
  return text;
}

void add_sample_rows(const ResultView& result, long cell, Figure& figure) {
  figure.head = {"place", "arm", "pair", result.primary, "remarks"};
  for (std::size_t i = 0; i < result.samples.size(); ++i) {
    const SampleView& sample = result.samples[i];
    if (sample.cell != cell) continue;
    const auto value = sample.metrics.find(result.primary);
    std::string remarks = sample.failure.empty() ? "" : "failed: " + sample.failure;
    if (sample.control) remarks += remarks.empty() ? "determinism control, not analysed" : ", determinism control";
    for (const std::string& flag : sample.flags) remarks += (remarks.empty() ? "" : ", ") + flag;
    figure.rows.push_back({fmt::format("{}", i + 1), sample.arm, fmt::format("{}", sample.pair),
                           value == sample.metrics.end() ? "–" : short_number(value->second), remarks});
  }
}

}  // namespace

std::optional<Figure> samples_figure(const ResultView& result, long cell) {
  const CellView& view = result.cells[static_cast<std::size_t>(cell)];
  ArmPoints a = points_of(result, cell, "A"), b = points_of(result, cell, "B");
  Figure figure;
  figure.kind = "samples";
  figure.caption = "Every sample in the order it ran. Dashed: medians. A ring marks a flagged sample, a cross a failed one.";
  figure.words = "Dot plot of samples in the order they ran. " + spread("A", result.primary, a.values) + ". " +
                 spread("B", result.primary, b.values) + ".";
  add_sample_rows(result, cell, figure);
  if (a.values.empty() && b.values.empty()) {
    figure.trouble = "no sample has the primary metric";
    return figure;
  }
  const Scale scale = scale_of(result.primary, std::max(largest(a.values), largest(b.values)));
  for (ArmPoints* arm : {&a, &b})
    for (Point& point : arm->points) point.y *= scale.factor;
  std::size_t left_out = 0;
  figure.script = data_block("A", a.points, left_out) + data_block("B", b.points, left_out) + kFrame;
  figure.caption += left_out_note(left_out);
  const MetricRow* primary = view.primary();
  const auto median_line = [&](const std::optional<double>& value, const char* color) {
    if (!value || std::abs(*value) > kDrawableSize) return;
    figure.script += fmt::format("set arrow from graph 0, first {0:.9g} to graph 1, first {0:.9g} nohead dt 2 lw 1.3 lc rgb '{1}'\n",
                                 *value * scale.factor, color);
  };
  if (primary) median_line(primary->a, kLight.a), median_line(primary->b, kLight.b);
  figure.script += marks(result, cell, scale.factor);
  const std::size_t last = result.samples.size();
  figure.x_span = static_cast<double>(last + 1), figure.x_step = 1;
  const auto negative = [](double value) { return value < 0; };
  const bool below_zero = std::any_of(a.values.begin(), a.values.end(), negative) ||
                          std::any_of(b.values.begin(), b.values.end(), negative);
  figure.script += fmt::format(
      "set xlabel 'place in the run'\nset ylabel '{}'\nset xrange [0:{}]\n{}set offsets 0, 0, graph 0.1, graph 0.1\n"
      "plot $A using 1:2 with points pt 7 ps 0.9 lc rgb '{}' title 'A', \\\n  $B using 1:2 with points pt 9 ps 1.1 lc "
      "rgb '{}' title 'B'",
      y_title(result.primary, scale.unit, figure.height), last + 1, below_zero ? "" : "set yrange [0<*:*]\n", kLight.a,
      kLight.b);
  return figure;
}

std::optional<Figure> pairs_figure(const ResultView& result, long cell) {
  const CellView& view = result.cells[static_cast<std::size_t>(cell)];
  std::vector<Point> ab, ba;
  std::vector<double> drawn;
  Figure figure;
  figure.kind = "pairs";
  figure.head = {"pair", "ran first", "A", "B", "B against A, %"};
  for (std::size_t i = 0; i < view.pairs.size(); ++i) {
    const PairView& pair = view.pairs[i];
    const auto value = [&](std::size_t at) { return short_number(result.samples[at].metrics.at(result.primary)); };
    figure.rows.push_back({fmt::format("{}", pair.pair), pair.a_first ? "A" : "B", value(pair.a), value(pair.b),
                           pair.difference_percent ? short_number(*pair.difference_percent) : "–"});
    if (!pair.difference_percent) continue;
    (pair.a_first ? ab : ba).push_back({static_cast<double>(i + 1), *pair.difference_percent});
    if (std::abs(*pair.difference_percent) <= kDrawableSize) drawn.push_back(*pair.difference_percent);
  }
  if (drawn.size() < 2) return std::nullopt;
  const auto [low, high] = std::minmax_element(drawn.begin(), drawn.end());
  figure.words = fmt::format(
      "Dot plot of the difference of each pair, B against A in time: {} pairs where A ran first, {} where B did, from {} to {}.", ab.size(),
      ba.size(), percent(std::optional(*low)), percent(std::optional(*high)));
  figure.caption =
      "B against A in time, pair by pair; below zero B was faster. Both orders should agree; where they do not, order or drift matters.";
  std::size_t left_out = 0;
  figure.script = data_block("AB", ab, left_out) + data_block("BA", ba, left_out) + kFrame;
  figure.caption += left_out_note(left_out);
  const MetricRow* primary = view.primary();
  if (primary && primary->interval_percent && std::abs(primary->interval_percent->high) <= kDrawableSize &&
      std::abs(primary->interval_percent->low) <= kDrawableSize) {
    figure.script += fmt::format(
        "set object 1 rect from graph 0, first {:.9g} to graph 1, first {:.9g} fc rgb '{}' fs transparent solid 0.18 noborder behind\n",
        primary->interval_percent->low, primary->interval_percent->high, kLight.soft);
    figure.caption += " The band is the 95 % interval of the effect.";
  }
  if (primary && primary->effect_percent && std::abs(*primary->effect_percent) <= kDrawableSize)
    figure.script += fmt::format("set arrow from graph 0, first {0:.9g} to graph 1, first {0:.9g} nohead dt 2 lw 1.3 lc rgb '{1}'\n",
                                 *primary->effect_percent, kLight.soft);
  const bool band = primary && primary->interval_percent && figure.caption.ends_with("effect.");
  const double foot = std::min({0.0, *low, band ? primary->interval_percent->low : 0.0}),
               head = std::max({0.0, *high, band ? primary->interval_percent->high : 0.0}), margin = 0.08 * (head - foot);
  figure.x_span = static_cast<double>(view.pairs.size() + 1), figure.x_step = 1;
  figure.script += fmt::format(
      "set arrow from graph 0, first 0 to graph 1, first 0 nohead lw 1 lc rgb '{}'\nset yrange [{:.9g}:{:.9g}]\n"
      "set xlabel 'pair, in the order they ran'\nset ylabel 'B against A, %'\nset xrange [0:{}]\n"
      "plot $AB using 1:2 with points pt 5 ps 0.9 lc rgb '{}' title 'A ran first', \\\n  $BA using 1:2 with points pt 13 ps 1.2 lc rgb "
      "'{}' title 'B ran first'",
      kLight.ink, foot - margin - 0.1, head + margin + 0.1, view.pairs.size() + 1, kLight.a, kLight.b);
  return figure;
}

}  // namespace crossover::report
