#include "kernels/reference/loops.h"
#include "kernels/reference/reference.h"

namespace crossover::reference {

void rms_norm(Context&, ConstRows x, const float* weight, float eps, Rows out) {
  for (std::int64_t t = 0; t < x.rows; ++t) {
    const double mean = dot(x.row(t), x.row(t), x.dim) / static_cast<double>(x.dim);
    const double scale = 1 / std::sqrt(mean + static_cast<double>(eps));
    for (std::int64_t i = 0; i < x.dim; ++i) out.row(t)[i] = static_cast<float>(x.row(t)[i] * scale * weight[i]);
  }
}

void add_rms_norm(Context& context, Rows x, ConstRows y, const float* weight, float eps, Rows out) {
  add(context, x, y);
  rms_norm(context, x, weight, eps, out);
}

void l2_norm(Context&, ConstRows x, float eps, float scale, Rows out) {
  for (std::int64_t t = 0; t < x.rows; ++t) {
    const double factor = static_cast<double>(scale) / std::sqrt(dot(x.row(t), x.row(t), x.dim) + static_cast<double>(eps));
    for (std::int64_t i = 0; i < x.dim; ++i) out.row(t)[i] = static_cast<float>(x.row(t)[i] * factor);
  }
}

void gated_rms_norm(Context&, ConstRows x, const float* weight, ConstRows z, float eps, Rows out) {
  for (std::int64_t t = 0; t < x.rows; ++t) {
    const double mean = dot(x.row(t), x.row(t), x.dim) / static_cast<double>(x.dim);
    const double scale = 1 / std::sqrt(mean + static_cast<double>(eps));
    for (std::int64_t i = 0; i < x.dim; ++i)
      out.row(t)[i] = static_cast<float>(x.row(t)[i] * scale * weight[i] * silu(z.row(t)[i]));
  }
}

}  // namespace crossover::reference
