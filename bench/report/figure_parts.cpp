#include "bench/report/figure_parts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace crossover::report {

std::string data_block(const std::string& name, const std::vector<Point>& points, std::size_t& left_out, std::size_t most) {
  std::vector<Point> kept;
  for (const Point& point : points)
    if (std::abs(point.y) <= kDrawableSize && std::abs(point.x) <= kDrawableSize) kept.push_back(point);
  if (kept.size() > most) {
    std::vector<Point> extremes;
    const std::size_t runs = most / 2;
    for (std::size_t i = 0; i < runs; ++i) {
      const auto begin = kept.begin() + static_cast<std::ptrdiff_t>(kept.size() * i / runs);
      const auto end = kept.begin() + static_cast<std::ptrdiff_t>(kept.size() * (i + 1) / runs);
      const auto [low, high] = std::minmax_element(begin, end, [](const Point& x, const Point& y) { return x.y < y.y; });
      extremes.push_back(*std::min(low, high));
      if (low != high) extremes.push_back(*std::max(low, high));
    }
    kept = std::move(extremes);
  }
  left_out += points.size() - kept.size();
  std::string block = "$" + name + " << EOD\n";
  for (const Point& point : kept) block += fmt::format("{:.9g} {:.9g}\n", point.x, point.y);
  return block + "EOD\n";
}

std::string spread(const std::string& who, const std::string& metric, std::vector<double> values) {
  if (values.empty()) return who + ": none";
  std::sort(values.begin(), values.end());
  const double median = (values[(values.size() - 1) / 2] + values[values.size() / 2]) / 2;
  return fmt::format("{}: {} samples, median {}, {} to {}", who, values.size(), quantity(metric, median), quantity(metric, values.front()),
                     quantity(metric, values.back()));
}

std::string y_title(const std::string& metric, const std::string& unit, int height) {
  // Letters of 7 units, centred on an axis that ends 60 above the foot of the picture.
  const auto most = static_cast<std::size_t>(height - 60) / 7;
  const std::string full = metric + (unit.empty() ? "" : ", ") + unit;
  return label(full.size() <= most || unit.empty() ? full : unit, most);
}

std::string left_out_note(std::size_t left_out) {
  return left_out ? fmt::format(
                        " {} values are not drawn: where points crowd, only the lowest and the highest of neighbours are, and none beyond "
                        "{:g} is.",
                        left_out, kDrawableSize)
                  : "";
}

std::string short_number(double value) { return fmt::format("{:.6g}", value); }

std::vector<Figure> figures_of(const ResultView& result, const std::string& stem) {
  std::vector<Figure> figures = effect_figures(result);
  if (result.shows_each_cell())
    for (long cell = 0; cell < static_cast<long>(result.cells.size()); ++cell)
      for (const auto make : {samples_figure, pairs_figure, phases_figure, timeline_figure, floors_figure, series_figure})
        if (auto figure = make(result, cell)) {
          figure->cell = cell;
          const std::string& name = result.cells[static_cast<std::size_t>(cell)].name;
          if (!name.empty()) figure->caption += fmt::format(" Cell {}.", name);
          figures.push_back(std::move(*figure));
        }
  for (Figure& figure : figures) {
    figure.stem = stem + "-" + figure.kind + (result.cells.size() > 1 && figure.cell >= 0 ? fmt::format("-{}", figure.cell + 1) : "");
    if (figure.rows.size() > kMostRows) {
      figure.caption += fmt::format(" The table shows {} of {} rows; the file holds all.", kMostRows, figure.rows.size());
      figure.rows.resize(kMostRows);
    }
  }
  return figures;
}

}  // namespace crossover::report
