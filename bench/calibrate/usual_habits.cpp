#include "bench/calibrate/usual_habits.h"

#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <stdexcept>

namespace crossover {

namespace {

struct Summary { double mean, variance; };

Summary summarise(const std::vector<double>& values) {
  const auto n = static_cast<double>(values.size());
  double sum = 0, squares = 0;
  for (const double value : values) sum += value;
  for (const double value : values) squares += (value - sum / n) * (value - sum / n);
  return {sum / n, squares / (n - 1)};
}

bool beyond_5_percent(double t, double df) {
  return 2 * boost::math::cdf(boost::math::complement(boost::math::students_t(df), std::abs(t))) < 0.05;
}

// Welch (1947), with Satterthwaite's degrees of freedom.
bool welch(const std::vector<double>& a, const std::vector<double>& b) {
  const Summary sa = summarise(a), sb = summarise(b);
  const double n = static_cast<double>(a.size()), va = sa.variance / n, vb = sb.variance / n;
  return beyond_5_percent((sb.mean - sa.mean) / std::sqrt(va + vb), (va + vb) * (va + vb) * (n - 1) / (va * va + vb * vb));
}

bool paired(const std::vector<double>& a, const std::vector<double>& b) {
  std::vector<double> d;
  for (std::size_t i = 0; i < a.size(); ++i) d.push_back(b[i] - a[i]);
  const Summary s = summarise(d);
  const auto n = static_cast<double>(d.size());
  return beyond_5_percent(s.mean / std::sqrt(s.variance / n), n - 1);
}

}  // namespace

bool habit_sees_difference(Habit habit, const SimulatedProgram& program, int each) {
  if (each < 2) throw std::invalid_argument("a t test needs two samples of each arm");
  SimulatedTarget target(program);
  std::vector<double> a, b;
  for (int position = 0; position < 2 * each; ++position) {
    SampleRequest request;
    request.position = position;
    request.arm = (habit == Habit::kBlocks ? position < each : position % 2 == 0) ? 'A' : 'B';
    (request.arm == 'A' ? a : b).push_back(std::log(target.take(request).metrics.at("wall_s")));
  }
  return habit == Habit::kBlocks ? welch(a, b) : paired(a, b);
}

}  // namespace crossover
