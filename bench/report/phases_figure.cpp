// Where the difference is: B - A of each phase, what they leave open, and the whole.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "bench/report/figure_parts.h"

namespace crossover::report {

namespace {

constexpr std::size_t kMostPhases = 16;

struct Row {
  std::string name;
  double delta_s;
  std::optional<Interval> interval_s;
  std::vector<double> pairs_s;
};

std::vector<double> pair_differences(const ResultView& result, const CellView& cell, const std::string& metric) {
  std::vector<double> differences;
  for (const PairView& pair : cell.pairs) {
    const auto value = [&](std::size_t at) {  // a phase that one arm does not have took no time there
      const auto found = result.samples[at].metrics.find(metric);
      return found == result.samples[at].metrics.end() ? 0.0 : found->second;
    };
    differences.push_back(value(pair.b) - value(pair.a));
  }
  return differences;
}

bool drawable(double value) { return std::abs(value) <= kDrawableSize; }

std::vector<Row> rows_of(const ResultView& result, const CellView& cell, std::size_t& more) {
  std::vector<Row> rows;
  double total_s = cell.residual_s.value_or(0);
  for (const PhaseRow& phase : cell.phases) {
    if (!phase.delta_s || !drawable(*phase.delta_s)) continue;
    rows.push_back({phase.name, *phase.delta_s, phase.interval_s, {}});
    total_s += *phase.delta_s;
  }
  std::stable_sort(rows.begin(), rows.end(), [](const Row& x, const Row& y) { return std::abs(x.delta_s) > std::abs(y.delta_s); });
  more = rows.size() > kMostPhases ? rows.size() - kMostPhases : 0;
  rows.resize(rows.size() - more);
  for (Row& row : rows) row.pairs_s = pair_differences(result, cell, row.name + "_s");
  if (cell.residual_s && drawable(*cell.residual_s)) rows.push_back({"residual", *cell.residual_s, std::nullopt, {}});
  rows.push_back({"whole", total_s, std::nullopt, pair_differences(result, cell, result.primary)});
  return rows;
}

void add_numbers(const ResultView& result, const CellView& cell, Figure& figure) {
  figure.head = {"phase", "A", "B", "B - A", "95 % interval"};
  const bool pairs = cell.pairs.size() <= 16;
  for (const PairView& pair : cell.pairs)
    if (pairs) figure.head.push_back(fmt::format("pair {}", pair.pair));
  for (const PhaseRow& phase : cell.phases) {
    std::vector<std::string> row{phase.name, seconds(phase.a_s), seconds(phase.b_s), seconds(phase.delta_s), seconds(phase.interval_s)};
    if (pairs)
      for (const double difference : pair_differences(result, cell, phase.name + "_s")) row.push_back(seconds(std::optional(difference)));
    figure.rows.push_back(std::move(row));
  }
  if (cell.residual_s) figure.rows.push_back({"residual", "", "", seconds(cell.residual_s), ""});
}

std::string settings(const std::vector<Row>& rows, const Scale& scale, double low, double high) {
  const double margin = std::max(0.04 * (high - low), 1e-3);
  std::string names;
  for (std::size_t i = 0; i < rows.size(); ++i) names += fmt::format("{}'{}' {}", i ? ", " : "", label(rows[i].name, 24), rows.size() - i);
  return fmt::format(
      "{}set ytics ({})\nset yrange [0.4:{}.6]\nset xrange [{:.9g}:{:.9g}]\nset xlabel 'B - A, {} (left: B is faster)'\n"
      "unset grid\nset grid xtics lt 1 lw 0.5 lc rgb '{}'\nset arrow from first 0, graph 0 to first 0, graph 1 nohead lw 1 lc rgb "
      "'{}'\nset style fill solid 0.35\n",
      kFrame, names, rows.size(), low - margin, high + margin, label(scale.unit), kLight.line, kLight.ink);
}

}  // namespace

std::optional<Figure> phases_figure(const ResultView& result, long index) {
  const CellView& cell = result.cells[static_cast<std::size_t>(index)];
  if (cell.phases.empty()) return std::nullopt;
  std::size_t more = 0;
  const std::vector<Row> rows = rows_of(result, cell, more);
  if (rows.size() < 2) return std::nullopt;
  Figure figure;
  figure.kind = "phases";
  add_numbers(result, cell, figure);
  figure.words = "Bars of B - A by phase, each with the differences of its pairs.";
  double size_s = 0;
  for (const Row& row : rows) size_s = std::max(size_s, std::abs(row.delta_s));
  const Scale scale = scale_of("x_s", size_s);
  std::string bars[2], whiskers = "$W << EOD\n";
  std::vector<Point> raw;
  double low = 0, high = 0;
  const auto widen = [&](double value) { low = std::min(low, value), high = std::max(high, value); };
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const Row& row = rows[i];
    const double y = static_cast<double>(rows.size() - i), delta = row.delta_s * scale.factor;
    widen(delta);
    bars[row.delta_s > 0] += fmt::format("{:.9g} {} 0 {:.9g} {} {}\n", delta, y, delta, y - 0.32, y + 0.32);
    if (row.interval_s && drawable(row.interval_s->low) && drawable(row.interval_s->high)) {
      whiskers += fmt::format("{:.9g} {:.9g} {}\n", row.interval_s->low * scale.factor, row.interval_s->high * scale.factor, y);
      widen(row.interval_s->low * scale.factor), widen(row.interval_s->high * scale.factor);
    }
    for (const double pair_s : row.pairs_s)
      if (drawable(pair_s)) raw.push_back({pair_s * scale.factor, y}), widen(pair_s * scale.factor);
    if (i < 8) figure.words += fmt::format(" {}: {}.", row.name, seconds(std::optional(row.delta_s)));
  }
  figure.caption =
      "Where the difference is: mean B - A of each phase (bar), its 95 % interval (line) and every pair (rings). Phases and residual add "
      "up to the whole.";
  if (more) figure.caption += fmt::format(" {} smaller phases are in the table.", more);
  std::size_t left_out = 0;
  figure.script = data_block("R", raw, left_out) + "$F << EOD\n" + bars[0] + "EOD\n$S << EOD\n" + bars[1] + "EOD\n" + whiskers + "EOD\n" +
                  settings(rows, scale, low, high);
  figure.x_span = high - low;
  figure.caption += left_out_note(left_out);
  figure.script += fmt::format(
      "plot $F using 1:2:3:4:5:6 with boxxyerror lc rgb '{}' title 'B faster', $S using 1:2:3:4:5:6 with boxxyerror lc rgb '{}' title 'B "
      "slower', \\\n"
      "  $W using 1:3:($2-$1):(0) with vectors nohead lw 2 lc rgb '{}' notitle, $R using 1:2 with points pt 6 ps 0.6 lc rgb '{}' title "
      "'pair'",
      kLight.good, kLight.bad, kLight.ink, kLight.ink);
  figure.height = figure.narrow_height = 110 + static_cast<int>(rows.size()) * 24;
  return figure;
}

}  // namespace crossover::report
