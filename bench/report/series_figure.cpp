// A value that each sample has many of, over its index: the time of every token.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "bench/report/figure_parts.h"

namespace crossover::report {

namespace {

constexpr const char* kSeries = "decode.token_s";
constexpr std::size_t kMostSteps = 128, kMostDots = 300;

struct Curve {
  std::string medians, band;
  std::vector<Point> raw;
  std::vector<double> last_medians;
};

Curve curve_of(const std::vector<const std::vector<double>*>& series, std::size_t length, const Scale& scale) {
  Curve curve;
  const std::size_t steps = std::min(length, kMostSteps);
  for (std::size_t step = 0; step < steps; ++step) {
    const std::size_t begin = length * step / steps, end = length * (step + 1) / steps;
    std::vector<double> values;
    for (const auto* one : series)
      for (std::size_t i = begin; i < std::min(end, one->size()); ++i)
        if (std::abs((*one)[i]) <= kDrawableSize) values.push_back((*one)[i] * scale.factor);
    if (values.empty()) continue;
    std::sort(values.begin(), values.end());
    const double x = static_cast<double>(begin + end + 1) / 2, median = (values[(values.size() - 1) / 2] + values[values.size() / 2]) / 2;
    curve.medians += fmt::format("{:.9g} {:.9g}\n", x, median);
    curve.band += fmt::format("{:.9g} {:.9g} {:.9g}\n", x, values.front(), values.back());
    curve.last_medians.push_back(median / scale.factor);
  }
  for (const auto* one : series)
    for (std::size_t i = 0; i < one->size(); ++i) curve.raw.push_back({static_cast<double>(i + 1), (*one)[i] * scale.factor});
  std::stable_sort(curve.raw.begin(), curve.raw.end(), [](const Point& x, const Point& y) { return x.x < y.x; });
  return curve;
}

}  // namespace

std::optional<Figure> series_figure(const ResultView& result, long cell) {
  if (!result.primary.starts_with("decode.")) return std::nullopt;
  std::vector<const std::vector<double>*> of_a, of_b;
  std::size_t length = 0;
  double size_s = 0;
  for (const SampleView& sample : result.samples) {
    const auto found = sample.series.find(kSeries);
    if (sample.cell != cell || !sample.counts() || found == sample.series.end()) continue;
    (sample.arm == "A" ? of_a : of_b).push_back(&found->second);
    length = std::max(length, found->second.size());
    for (const double value : found->second)
      if (std::abs(value) <= kDrawableSize) size_s = std::max(size_s, std::abs(value));
  }
  if (length < 2 || of_a.empty() || of_b.empty()) return std::nullopt;
  const Scale scale = scale_of(kSeries, size_s);
  const Curve a = curve_of(of_a, length, scale), b = curve_of(of_b, length, scale);
  if (a.last_medians.empty() || b.last_medians.empty()) return std::nullopt;
  Figure figure;
  figure.kind = "series";
  figure.caption = fmt::format("{}, token by token: every sample (points), medians (lines), lowest to highest (bands).", kSeries);
  figure.words = fmt::format("Curves of {} over {} tokens. Medians: A from {} at the first to {} at the last, B from {} to {}.", kSeries,
                             length, quantity(kSeries, a.last_medians.front()), quantity(kSeries, a.last_medians.back()),
                             quantity(kSeries, b.last_medians.front()), quantity(kSeries, b.last_medians.back()));
  figure.head = {"token", "A, median", "B, median"};
  for (std::size_t i = 0; i < std::min(a.last_medians.size(), b.last_medians.size()); ++i)
    figure.rows.push_back({fmt::format("{}", length * i / std::min(length, kMostSteps) + 1), quantity(kSeries, a.last_medians[i]),
                           quantity(kSeries, b.last_medians[i])});
  std::size_t left_out = 0;
  figure.script = data_block("A", a.raw, left_out, kMostDots) + data_block("B", b.raw, left_out, kMostDots) + "$MA << EOD\n" + a.medians +
                  "EOD\n$MB << EOD\n" + b.medians + "EOD\n$FA << EOD\n" + a.band + "EOD\n$FB << EOD\n" + b.band + "EOD\n" + kFrame;
  figure.caption += left_out_note(left_out);
  figure.x_span = static_cast<double>(length), figure.x_step = 1;
  figure.script += fmt::format(
      "set xlabel 'token'\nset ylabel '{0}'\nset xrange [0:{3}]\nset yrange [0:*]\nset offsets 0, 0, graph 0.05, 0\n"
      "plot $FA using 1:2:3 with filledcurves lc rgb '{1}' fs transparent solid 0.15 notitle, $FB using 1:2:3 with "
      "filledcurves lc rgb "
      "'{2}' fs transparent solid 0.15 notitle, \\\n"
      "  $A using 1:2 with points pt 7 ps 0.25 lc rgb '{1}' notitle, $B using 1:2 with points pt 9 ps 0.3 lc rgb '{2}' "
      "notitle, \\\n"
      "  $MA using 1:2 with lines lw 1.8 lc rgb '{1}' title 'A', $MB using 1:2 with lines lw 1.8 dt 2 lc rgb '{2}' "
      "title 'B'",
      y_title(kSeries, scale.unit, figure.height), kLight.a, kLight.b, length + 1);
  return figure;
}

}  // namespace crossover::report
