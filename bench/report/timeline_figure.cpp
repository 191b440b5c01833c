// One sample of each arm over time: which share of a rank's threads was in which phase.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <tuple>

#include "bench/report/figure_parts.h"
#include "bench/report/laid_out.h"

namespace crossover::report {

namespace {

constexpr std::size_t kBins = 240, kMostLanes = 40;

struct Lane {
  std::string name;
  bool of_a;
  double first_s = 0, size_s = 0;  // size: thread-seconds
  std::vector<double> share;       // of the rank's threads, in each bin
};

struct Shown {
  const SampleView* sample = nullptr;
  bool threads = false;  // as the threads were, else shares laid end to end
};

// The sample nearest to the arm's median of the primary; those with a timeline first.
Shown pick(const ResultView& result, long cell, const std::string& arm, const std::string& group) {
  const MetricRow* primary = result.cells[static_cast<std::size_t>(cell)].primary();
  const std::optional<double> of_arm = primary ? (arm == "A" ? primary->a : primary->b) : std::nullopt;
  const double median = of_arm.value_or(0);
  Shown best;
  double distance = 0;
  for (const SampleView& sample : result.samples) {
    if (sample.cell != cell || sample.arm != arm || !sample.counts()) continue;
    const bool threads = group == "load" && !sample.timeline.empty();
    if (sample.phases.empty() && !threads) continue;
    const auto value = sample.metrics.find(result.primary);
    const double own = of_arm && value != sample.metrics.end() ? std::abs(value->second - median) : 0;
    if (best.sample && (best.threads > threads || (best.threads == threads && distance <= own))) continue;
    best = {&sample, threads}, distance = own;
  }
  return best;
}

// Length of [start, end) inside each bin, added at `weight`.
void add_span(std::vector<double>& share, double start_s, double end_s, double bin_s, double weight) {
  const auto last = static_cast<double>(share.size());
  const double from = std::clamp(start_s / bin_s, 0.0, last), to = std::clamp(end_s / bin_s, 0.0, last);
  for (auto bin = static_cast<std::size_t>(from); bin < share.size() && static_cast<double>(bin) < to; ++bin)
    share[bin] += weight * (std::min(to, static_cast<double>(bin) + 1) - std::max(from, static_cast<double>(bin)));
}

struct Span {
  long rank;
  std::string phase;
  double start_s, end_s;
};

std::vector<Span> spans_of(const Shown& shown, const std::string& group, std::map<long, std::set<long>>& threads) {
  std::vector<Span> spans;
  if (shown.threads) {
    for (const SampleView::Span& span : shown.sample->timeline)
      spans.push_back({span.rank, span.phase, span.start_s, span.end_s}), threads[span.rank].insert(span.thread);
    return spans;
  }
  const auto& phases = shown.sample->phases;
  const std::vector<double> starts = laid_out_starts_s(phases);
  std::set<std::size_t> tops;
  for (std::size_t i = 0; i < phases.size(); ++i) {
    const bool nested = phases[i].parent >= 0 && static_cast<std::size_t>(phases[i].parent) < i;
    if (!nested && phases[i].name == group) tops.insert(i);
    if (!nested || !tops.contains(static_cast<std::size_t>(phases[i].parent))) continue;
    const double origin_s = starts[static_cast<std::size_t>(phases[i].parent)];
    const std::string& name = phases[i].name;
    spans.push_back({phases[i].rank, name.starts_with(group + ".") ? name.substr(group.size() + 1) : name, starts[i] - origin_s,
                     starts[i] - origin_s + phases[i].duration_s});
    threads[phases[i].rank].insert(0);
  }
  return spans;
}

std::vector<Lane> lanes_of(const std::vector<Span>& spans, const std::map<long, std::set<long>>& threads, bool of_a, double end_s) {
  std::map<std::pair<long, std::string>, Lane> lanes;
  const double bin_s = end_s / static_cast<double>(kBins);
  for (const Span& span : spans) {
    Lane& lane = lanes[{span.rank, span.phase}];
    if (lane.share.empty()) {
      lane = {fmt::format("{}{} {}", of_a ? "A" : "B", threads.size() > 1 ? fmt::format(" rank {}", span.rank) : "", span.phase),
              of_a,
              span.start_s,
              0,
              {}};
      lane.share.resize(kBins, 0.0);
    }
    lane.first_s = std::min(lane.first_s, span.start_s);
    lane.size_s += span.end_s - span.start_s;
    add_span(lane.share, span.start_s, span.end_s, bin_s, 1.0 / static_cast<double>(threads.at(span.rank).size()));
  }
  std::vector<Lane> list;
  for (auto& [key, lane] : lanes)
    if (lane.size_s > 0.002 * end_s) list.push_back(std::move(lane));  // a line of less than half a bin is not seen
  return list;
}

// Outline of a lane as a filled shape on its base line; equal neighbours are one step.
std::string outline(const Lane& lane, double base, double bin_shown) {
  std::string text;
  for (std::size_t bin = 0; bin < lane.share.size();) {
    const double height = std::round(std::min(1.0, lane.share[bin]) * 50) / 50;
    std::size_t next = bin + 1;
    while (next < lane.share.size() && std::round(std::min(1.0, lane.share[next]) * 50) / 50 == height) ++next;
    if (height > 0)
      text += fmt::format("{:.6g} {:.6g} {:.6g} {:.6g} {:.6g} {:.6g}\n", static_cast<double>(bin) * bin_shown, base,
                          static_cast<double>(bin) * bin_shown, static_cast<double>(next) * bin_shown, base, base + 0.85 * height);
    bin = next;
  }
  return text;
}

}  // namespace

std::optional<Figure> timeline_figure(const ResultView& result, long cell) {
  const std::string group = result.primary.substr(0, result.primary.find('.'));
  const Shown shown[2] = {pick(result, cell, "A", group), pick(result, cell, "B", group)};
  std::vector<Span> spans[2];
  std::map<long, std::set<long>> threads[2];
  double end_s = 0;
  for (const int arm : {0, 1}) {
    if (shown[arm].sample) spans[arm] = spans_of(shown[arm], group, threads[arm]);
    for (const Span& span : spans[arm])
      if (span.end_s <= kDrawableSize && span.start_s >= 0) end_s = std::max(end_s, span.end_s);
  }
  if (!(end_s > 0)) return std::nullopt;
  std::vector<Lane> lanes;
  for (const int arm : {0, 1})
    for (Lane& lane : lanes_of(spans[arm], threads[arm], arm == 0, end_s)) lanes.push_back(std::move(lane));
  std::stable_sort(lanes.begin(), lanes.end(), [](const Lane& x, const Lane& y) { return x.size_s > y.size_s; });
  Figure figure;
  figure.kind = "timeline";
  figure.caption =
      "One sample of each arm, the nearest to its median: height is the share of the rank's threads that was in the phase at that time.";
  if (lanes.size() > kMostLanes) {
    figure.caption += fmt::format(" {} shorter phases are not drawn.", lanes.size() - kMostLanes);
    lanes.resize(kMostLanes);
  }
  if (lanes.empty()) return std::nullopt;
  if (!shown[0].threads && !shown[1].threads)
    figure.caption =
        "One sample of each arm, the nearest to its median: how long each phase took, laid end to end (their true order was not recorded).";
  std::sort(lanes.begin(), lanes.end(), [](const Lane& x, const Lane& y) {  // arm and rank, then as they start
    const auto head = [](const Lane& lane) { return lane.name.substr(0, lane.name.rfind(' ')); };
    return std::make_tuple(!x.of_a, head(x), x.first_s, x.name) < std::make_tuple(!y.of_a, head(y), y.first_s, y.name);
  });
  const Scale scale = scale_of("x_s", end_s);
  std::string data[2], names;
  figure.head = {"lane", "first seen", "threads' time in it"};
  figure.words = "Lanes over time, one for each arm, rank and phase.";
  for (std::size_t i = 0; i < lanes.size(); ++i) {
    const double base = static_cast<double>(lanes.size() - i);
    data[lanes[i].of_a ? 0 : 1] += outline(lanes[i], base, end_s / static_cast<double>(kBins) * scale.factor);
    names += fmt::format("{}'{}' {}", i ? ", " : "", label(lanes[i].name, 26), base + 0.3);
    figure.rows.push_back({lanes[i].name, seconds(std::optional(lanes[i].first_s)), seconds(std::optional(lanes[i].size_s))});
    if (i < 12) figure.words += fmt::format(" {}: {} in all.", lanes[i].name, figure.rows.back()[2]);
  }
  figure.script = "$A << EOD\n" + data[0] + "EOD\n$B << EOD\n" + data[1] + "EOD\n" + kFrame +
                  fmt::format(
                      "set ytics ({}) scale 0\nset yrange [0.9:{}]\nset xrange [0:{:.9g}]\nset xlabel 'time, {}'\nunset grid\nset grid "
                      "xtics lt 1 lw 0.5 lc rgb '{}'\n"
                      "set style fill solid 0.75 noborder\n",
                      names, lanes.size() + 1, end_s * scale.factor * 1.01, label(scale.unit), kLight.line);
  std::string plots;
  for (const int arm : {0, 1})
    if (!data[arm].empty())
      plots += fmt::format("{0}${1} using 1:2:3:4:5:6 with boxxyerror lc rgb '{2}' title '{1}'", plots.empty() ? "plot " : ", ",
                           arm ? "B" : "A", arm ? kLight.b : kLight.a);
  figure.script += plots;
  figure.x_span = 1.01 * end_s * scale.factor;
  figure.height = figure.narrow_height = 90 + static_cast<int>(lanes.size()) * 19;
  return figure;
}

}  // namespace crossover::report
