#include "bench/judge/crossing.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace crossover {
namespace {

struct Segment {
  const CurvePoint &left, &right;

  double axis(double t) const { return std::exp(std::log(left.axis) + t * std::log(right.axis / left.axis)); }
};

// Roots in (0, 1) of ((1-t) y1 + t y2)^2 - q^2 ((1-t)^2 v1 + t^2 v2): where "no difference" begins or ceases to be rejected.
std::vector<double> edges(const Segment& segment, double level) {
  const CurvePoint &l = segment.left, &r = segment.right;
  const double q = student_t_quantile(1 - level / 2, std::min(l.df, r.df));
  const double v1 = *l.standard_error * *l.standard_error * q * q, v2 = *r.standard_error * *r.standard_error * q * q;
  const double rise = r.effect - l.effect;
  const double a = rise * rise - v1 - v2, b = l.effect * rise + v1, c = l.effect * l.effect - v1;  // a t^2 + 2 b t + c
  const double inside = v1 == 0 && v2 == 0 ? 0 : b * b - a * c;  // without a spread the two roots are one
  std::vector<double> roots;
  if (a == 0) {
    if (b != 0) roots = {-c / (2 * b)};
  } else if (inside >= 0) {
    const double far = -b - std::copysign(std::sqrt(inside), b);  // without cancellation
    roots = {far / a};
    if (far != 0) roots.push_back(c / far);
  }
  std::erase_if(roots, [](double t) { return !(t >= 0 && t <= 1); });
  std::sort(roots.begin(), roots.end());
  return roots;
}

// A change of sign between points[segment] and points[segment + 1].
struct Change {
  std::size_t segment;
  double t;
  int sign;  // of the effect beyond
};

std::vector<Change> sign_changes(const std::vector<CurvePoint>& points) {
  std::vector<Change> changes;
  int before = 0;
  std::size_t zero_at = 0;  // the first point of a run of zeros
  for (std::size_t i = 0; i < points.size(); ++i) {
    const double y = points[i].effect;
    if (y == 0) {
      if (zero_at == 0) zero_at = i;
      continue;
    }
    const int sign = y > 0 ? 1 : -1;
    if (before != 0 && sign != before) {
      if (zero_at > 0) changes.push_back({zero_at - 1, 1.0, sign});
      else changes.push_back({i - 1, points[i - 1].effect / (points[i - 1].effect - y), sign});
    }
    before = sign, zero_at = 0;
  }
  return changes;
}

constexpr double kSamePlace = 1e-12;  // of t

struct End {
  std::size_t segment;
  double t;
};

std::optional<End> lower_end(const std::vector<CurvePoint>& points, const Change& from, double level) {
  for (std::size_t i = from.segment + 1; i-- > 0;) {
    const std::vector<double> roots = edges({points[i], points[i + 1]}, level);
    for (auto root = roots.rbegin(); root != roots.rend(); ++root)
      if (i < from.segment || *root <= from.t + kSamePlace) return End{i, *root};
  }
  return std::nullopt;
}

std::optional<End> upper_end(const std::vector<CurvePoint>& points, const Change& from, double level) {
  for (std::size_t i = from.segment; i + 1 < points.size(); ++i)
    for (const double root : edges({points[i], points[i + 1]}, level))
      if (i > from.segment || root >= from.t - kSamePlace) return End{i, root};
  return std::nullopt;
}

bool same_place(const std::optional<End>& a, const std::optional<End>& b) {
  return a.has_value() == b.has_value() && (!a || (a->segment == b->segment && a->t == b->t));
}

}  // namespace

std::vector<Crossing> find_crossings(std::vector<CurvePoint> points, double level) {
  for (const CurvePoint& point : points)
    if (!(point.axis > 0) || !std::isfinite(point.axis) || !std::isfinite(point.effect))
      throw std::invalid_argument("a crossing needs finite effects at positive places of the axis");
  std::sort(points.begin(), points.end(), [](const CurvePoint& a, const CurvePoint& b) { return a.axis < b.axis; });
  const bool spread = std::all_of(points.begin(), points.end(), [](const CurvePoint& p) { return p.standard_error && p.df > 0; });
  const std::vector<Change> changes = sign_changes(points);
  std::vector<Crossing> crossings;
  for (std::size_t first = 0, last; first < changes.size(); first = last + 1) {
    last = first;
    std::optional<End> low, high;
    if (spread) {
      low = lower_end(points, changes[first], level), high = upper_end(points, changes[first], level);
      while (last + 1 < changes.size() && same_place(upper_end(points, changes[last + 1], level), high)) ++last;
    }
    if ((last - first) % 2 != 0) continue;
    const Change& middle = changes[(first + last) / 2];
    const auto axis_at = [&](std::size_t segment, double t) { return Segment{points[segment], points[segment + 1]}.axis(t); };
    Crossing crossing;
    crossing.at = axis_at(middle.segment, middle.t);
    if (low) crossing.low = axis_at(low->segment, low->t);
    if (high) crossing.high = axis_at(high->segment, high->t);
    crossing.b_wins_above = changes[last].sign < 0;
    crossing.shown = low && high;
    crossings.push_back(crossing);
  }
  return crossings;
}

std::string describe_crossings(const std::string& axis, const std::vector<CurvePoint>& points, const std::vector<Crossing>& crossings) {
  if (points.size() < 2) return fmt::format("no crossing over {} can be given: fewer than two cells have an effect", axis);
  if (crossings.empty()) {
    const auto better = [](const CurvePoint& p) { return p.effect < 0; };
    const bool all_b = std::all_of(points.begin(), points.end(), better), all_a = std::none_of(points.begin(), points.end(), better);
    return fmt::format("the arms do not cross over {}{}", axis,
                       all_b   ? ": the estimate of B is the faster one in every cell"
                       : all_a ? ": the estimate of A is the faster one in every cell"
                               : ": they touch, within the noise");
  }
  std::string text = crossings.size() > 1 ? fmt::format("the arms cross {} times over {}: ", crossings.size(), axis) : "";
  for (const Crossing& crossing : crossings) {
    if (&crossing != &crossings.front()) text += "; ";
    text += fmt::format("B becomes the {} one at {} = {:.4g}", crossing.b_wins_above ? "faster" : "slower", axis, crossing.at);
    const auto end = [](const std::optional<double>& value, const char* beyond) { return value ? fmt::format("{:.4g}", *value) : beyond; };
    if (std::all_of(points.begin(), points.end(), [](const CurvePoint& p) { return p.standard_error.has_value(); }))
      text += fmt::format(" (95 % interval {} to {})", end(crossing.low, "below the sweep"), end(crossing.high, "beyond the sweep"));
    if (!crossing.shown) text += ", which is not shown; more pairs or a wider sweep would show it";
  }
  return text;
}

}  // namespace crossover
