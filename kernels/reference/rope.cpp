#include "kernels/reference/loops.h"
#include "kernels/reference/reference.h"

namespace crossover::reference {

void rope(Context&, Rows x, std::int64_t heads, std::int64_t first_position, std::int64_t rotary_dim, double theta) {
  const std::int64_t half = rotary_dim / 2;
  for (std::int64_t r = 0; r < x.rows; ++r) {
    const double position = static_cast<double>(first_position + r / heads);
    float* row = x.row(r);
    for (std::int64_t i = 0; i < half; ++i) {
      const double angle = position * std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(rotary_dim));
      const double c = std::cos(angle), s = std::sin(angle), first = row[i], second = row[i + half];
      row[i] = static_cast<float>(first * c - second * s);
      row[i + half] = static_cast<float>(second * c + first * s);
    }
  }
}

}  // namespace crossover::reference
