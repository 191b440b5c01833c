// Measured times beside what bounds them.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "bench/report/figure_parts.h"
#include "bench/report/floors.h"

namespace crossover::report {

namespace {

struct Bar {
  std::string name;
  double seconds;
  bool floor;
};

struct Bound {
  std::vector<Bar> bars[2];  // of A and of B
  std::vector<double> samples_s[2];
};

double rate_of(const ResultView& result, const std::string& name) {
  for (const Fact& fact : result.environment)
    if (fact.name == "ceilings." + name) return std::strtod(fact.value.c_str(), nullptr);
  return 0;
}

std::optional<double> median_counter(const ResultView& result, long cell, const std::string& arm, const std::string& name) {
  std::vector<double> values;
  for (const SampleView& sample : result.samples)
    if (const auto found = sample.counters.find(name);
        sample.counts() && sample.cell == cell && sample.arm == arm && found != sample.counters.end())
      values.push_back(found->second);
  if (values.empty()) return std::nullopt;
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

// A prefill or decode: its counted work over the machine's measured rates.
Bound forward_bound(const ResultView& result, long cell, const std::string& group) {
  Bound bound;
  const double bytes_per_s = rate_of(result, "read_all_bytes_per_s");
  const double flop_per_s = std::max(
      {rate_of(result, "fma_f32_all_flop_per_s"), rate_of(result, "dot_int8_all_op_per_s"), rate_of(result, "dot_bf16_all_flop_per_s")});
  for (const int arm : {0, 1}) {
    const char* name = arm ? "B" : "A";
    const auto bytes = median_counter(result, cell, name, group + ".bytes"), flops = median_counter(result, cell, name, group + ".flops");
    for (const SampleView& sample : result.samples)
      if (const auto found = sample.metrics.find(group + ".total_s");
          sample.counts() && sample.cell == cell && sample.arm == name && found != sample.metrics.end())
        bound.samples_s[arm].push_back(found->second);
    std::vector<double> sorted = bound.samples_s[arm];
    if (sorted.empty() || !(bytes && bytes_per_s > 0) || !(flops && flop_per_s > 0)) return {};
    std::sort(sorted.begin(), sorted.end());
    bound.bars[arm] = {{group, (sorted[(sorted.size() - 1) / 2] + sorted[sorted.size() / 2]) / 2, false},
                       {"floor: memory", *bytes / bytes_per_s, true},
                       {"floor: arithmetic", *flops / flop_per_s, true}};
  }
  return bound;
}

Bound load_bound(const ResultView& result, long index) {
  const CellView& cell = result.cells[static_cast<std::size_t>(index)];
  Bound bound;
  for (const int arm : {0, 1}) {
    const auto& view = arm ? cell.floors_b : cell.floors_a;
    if (!view || !view->total_s) continue;
    bound.bars[arm].push_back({"load", *view->total_s, false});
    if (view->read_floor_s) bound.bars[arm].push_back({"floor: reading", *view->read_floor_s, true});
    if (view->quantize_floor_s) bound.bars[arm].push_back({"floor: quantizing", *view->quantize_floor_s, true});
    for (const SampleView& sample : result.samples)
      if (const auto total = sample.metrics.find("load.total_s");
          sample.counts() && sample.cell == index && sample.arm == (arm ? "B" : "A") && total != sample.metrics.end())
        bound.samples_s[arm].push_back(total->second);
  }
  return bound;
}

void add_numbers(const ResultView& result, long cell, const Bound& bound, bool of_load, Figure& figure) {
  figure.head = {"", "A", "B"};
  if (of_load) {
    for (const FloorLine& line : floor_lines(result.cells[static_cast<std::size_t>(cell)]))
      figure.rows.push_back({line.what, line.a, line.b});
    return;
  }
  for (std::size_t i = 0; i < bound.bars[0].size(); ++i)
    figure.rows.push_back(
        {bound.bars[0][i].name, seconds(std::optional(bound.bars[0][i].seconds)), seconds(std::optional(bound.bars[1][i].seconds))});
}

}  // namespace

std::optional<Figure> floors_figure(const ResultView& result, long index) {
  const std::string group = result.primary.substr(0, result.primary.find('.'));
  Bound bound;
  if (group == "prefill" || group == "decode") bound = forward_bound(result, index, group);
  const bool of_load = bound.bars[0].empty();
  if (of_load) bound = load_bound(result, index);
  Figure figure;
  figure.kind = "floors";
  figure.caption = of_load ? "A load beside its floors: bytes over the measured read rate, weights over the measured rate of the "
                             "quantizer. Rings: every sample."
                           : "Floors are the counted bytes over this machine's measured rate of memory and the counted operations over its "
                             "fastest arithmetic. Rings: every sample. What stays in "
                             "a cache can be read faster than memory gives it.";
  figure.words = fmt::format("Bars of each arm's {} and of its floors.", of_load ? "load" : group);
  add_numbers(result, index, bound, of_load, figure);
  std::string names, measured = "$M << EOD\n", floors = "$L << EOD\n";
  std::vector<Point> raw;
  int row = 0;
  double size_s = 0;
  for (const auto& bars : bound.bars)
    for (const Bar& bar : bars) size_s = std::max(size_s, std::abs(bar.seconds) <= kDrawableSize ? bar.seconds : 0);
  if (!(size_s > 0)) return std::nullopt;
  const Scale scale = scale_of("x_s", size_s);
  for (const int arm : {1, 0})  // from the foot up
    for (auto bar = bound.bars[arm].rbegin(); bar != bound.bars[arm].rend(); ++bar) {
      if (std::abs(bar->seconds) > kDrawableSize) continue;
      ++row;
      (bar->floor ? floors : measured) +=
          fmt::format("{0:.9g} {1} 0 {0:.9g} {2} {3}\n", bar->seconds * scale.factor, row, row - 0.32, row + 0.32);
      names += fmt::format("{}'{} {}' {}", names.empty() ? "" : ", ", arm ? "B" : "A", label(bar->name), row);
      figure.words += fmt::format(" {} {}: {}.", arm ? "B" : "A", bar->name, seconds(std::optional(bar->seconds)));
      if (!bar->floor)
        for (const double sample_s : bound.samples_s[arm]) raw.push_back({sample_s * scale.factor, static_cast<double>(row)});
    }
  std::size_t left_out = 0;
  figure.script =
      data_block("R", raw, left_out) + measured + "EOD\n" + floors + "EOD\n" + kFrame +
      fmt::format(
          "set ytics ({})\nset yrange [0.4:{}.6]\nset xrange [0:*]\nset offsets 0, graph 0.05, 0, 0\nset xlabel 'time, {}'\nunset grid\n"
          "set grid xtics lt 1 lw 0.5 lc rgb '{}'\nset style fill solid 0.4\n",
          names, row, label(scale.unit), kLight.line);
  figure.script += "plot $M using 1:2:3:4:5:6 with boxxyerror lc rgb '" + std::string(kLight.a) + "' title 'measured, median'";
  if (floors.find('\n') + 1 < floors.size())
    figure.script += fmt::format(", $L using 1:2:3:4:5:6 with boxxyerror lc rgb '{}' fs pattern 4 title 'floor'", kLight.soft);
  figure.script += fmt::format(", $R using 1:2 with points pt 6 ps 0.7 lc rgb '{}' title 'sample'", kLight.ink);
  figure.height = figure.narrow_height = 110 + row * 26;
  figure.x_span = 1.05 * size_s * scale.factor;
  return figure;
}

}  // namespace crossover::report
