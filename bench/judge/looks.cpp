#include "bench/judge/looks.h"

#include <algorithm>
#include <boost/math/distributions/normal.hpp>
#include <boost/math/quadrature/gauss.hpp>
#include <cmath>
#include <stdexcept>

namespace crossover {
namespace {

constexpr double kSmallestLevel = 1e-12;  // beyond, every chance over looks is its level times their number

struct Node {
  double at, weight;
};

double density(double z) { return std::exp(-0.5 * z * z) * 0.3989422804014327; }  // 1 / sqrt(2 pi)

double below(double z) { return 0.5 * std::erfc(-z * 0.7071067811865476); }

// Gauss-Legendre nodes over [-half, half], in pieces no longer than `step`: the kernel to be integrated is as narrow as that.
std::vector<Node> nodes_over(double half, double step) {
  using Rule = boost::math::quadrature::gauss<double, 20>;
  const int pieces = std::clamp(static_cast<int>(std::ceil(2 * half / step)), 1, 500);
  const double radius = half / pieces;
  std::vector<Node> nodes;
  for (int piece = 0; piece < pieces; ++piece) {
    const double centre = -half + (2 * piece + 1) * radius;
    for (std::size_t i = 0; i < Rule::abscissa().size(); ++i)
      for (const double side : {-1.0, 1.0}) nodes.push_back({centre + side * radius * Rule::abscissa()[i], radius * Rule::weights()[i]});
  }
  return nodes;
}

}  // namespace

double chance_over_looks(double level, const std::vector<int>& looks) {
  if (looks.empty() || looks.size() > kMostLooks || looks.front() <= 0 || !std::is_sorted(looks.begin(), looks.end(), std::less_equal<>()))
    throw std::invalid_argument("looks must be 1 to 10 rising numbers of pairs");
  if (looks.size() == 1 || level >= 1) return std::min(level, 1.0);
  if (level < kSmallestLevel) return level * static_cast<double>(looks.size());
  const double limit = boost::math::quantile(boost::math::complement(boost::math::normal(), level / 2));
  // The sum of the pairs' differences is a random walk of variance = pairs. inside[i].weight: probability that it is near
  // inside[i].at after a look and was within the limit at this look and every earlier one.
  std::vector<Node> inside;
  double stayed = 0;
  for (std::size_t look = 0; look < looks.size(); ++look) {
    const double step = std::sqrt(static_cast<double>(look == 0 ? looks[0] : looks[look] - looks[look - 1]));
    const double half = limit * std::sqrt(static_cast<double>(looks[look]));
    if (look + 1 == looks.size()) {
      for (const Node& from : inside) stayed += from.weight * (below((half - from.at) / step) - below((-half - from.at) / step));
      break;
    }
    const double next_step = std::sqrt(static_cast<double>(looks[look + 1] - looks[look]));
    std::vector<Node> next = nodes_over(half, 4 * std::min(step, next_step));
    for (Node& to : next) {
      double here = look == 0 ? density(to.at / step) : 0;
      for (const Node& from : inside) here += from.weight * density((to.at - from.at) / step);
      to.weight *= here / step;
    }
    inside = std::move(next);
  }
  return std::clamp(1 - stayed, level, 1.0);
}

double look_level(const std::vector<int>& looks, double alpha) {
  if (looks.size() == 1) return alpha;
  double low = alpha / static_cast<double>(looks.size()), high = alpha;  // Bonferroni and one look
  for (int i = 0; i < 50; ++i) {
    const double middle = (low + high) / 2;
    (chance_over_looks(middle, looks) > alpha ? high : low) = middle;
  }
  return low;
}

}  // namespace crossover
