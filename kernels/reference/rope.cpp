#include "kernels/reference/loops.h"
#include "kernels/reference/reference.h"

namespace crossover::reference {

void rope_angles(Context&, std::int64_t first_position, double theta, Rows out) {
  const std::int64_t half = out.dim / 2;
  for (std::int64_t t = 0; t < out.rows; ++t)
    for (std::int64_t i = 0; i < half; ++i) {
      const double angle = static_cast<double>(first_position + t) * std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(out.dim));
      out.row(t)[i] = static_cast<float>(std::cos(angle));
      out.row(t)[i + half] = static_cast<float>(std::sin(angle));
    }
}

void norm_rope(Context&, Rows x, const float* weight, float eps, std::int64_t heads, ConstRows angles) {
  const std::int64_t half = angles.dim / 2;
  for (std::int64_t r = 0; r < x.rows; ++r) {
    float* row = x.row(r);
    const float* angle = angles.row(r / heads);
    const double factor = 1 / std::sqrt(dot(row, row, x.dim) / static_cast<double>(x.dim) + static_cast<double>(eps));
    const auto normed = [&](std::int64_t i) { return row[i] * factor * static_cast<double>(weight[i]); };
    for (std::int64_t i = 0; i < half; ++i) {
      const double c = angle[i], s = angle[i + half], first = normed(i), second = normed(i + half);
      row[i] = static_cast<float>(first * c - second * s);
      row[i + half] = static_cast<float>(second * c + first * s);
    }
    for (std::int64_t i = 2 * half; i < x.dim; ++i) row[i] = static_cast<float>(normed(i));
  }
}

}  // namespace crossover::reference
