#include "bench/calibrate/proportion.h"

#include <fmt/format.h>

#include <boost/math/distributions/binomial.hpp>
#include <stdexcept>

namespace crossover {

Interval exact_interval(Proportion proportion, double confidence) {
  using Binomial = boost::math::binomial_distribution<double>;
  if (proportion.of <= 0 || proportion.count < 0 || proportion.count > proportion.of)
    throw std::invalid_argument(fmt::format("{} of {} is no share", proportion.count, proportion.of));
  const auto count = static_cast<double>(proportion.count), of = static_cast<double>(proportion.of);
  const double tail = (1 - confidence) / 2;
  return {Binomial::find_lower_bound_on_p(of, count, tail), proportion.count == proportion.of ? 1.0 : Binomial::find_upper_bound_on_p(of, count, tail)};
}

}  // namespace crossover
