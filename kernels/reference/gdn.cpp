// The gated delta rule token by token.
#include <vector>

#include "kernels/reference/loops.h"
#include "kernels/reference/reference.h"

namespace crossover::reference {
namespace {

double softplus(double x) { return std::fmax(x, 0.0) + std::log1p(std::exp(-std::fabs(x))); }

}  // namespace

void gdn_gates(Context&, ConstRows a, ConstRows b, const float* ssm_a, const float* dt_bias, Rows g, Rows beta) {
  for (std::int64_t t = 0; t < a.rows; ++t)
    for (std::int64_t h = 0; h < a.dim; ++h) {
      g.row(t)[h] = static_cast<float>(ssm_a[h] * softplus(static_cast<double>(a.row(t)[h]) + static_cast<double>(dt_bias[h])));
      beta.row(t)[h] = static_cast<float>(sigmoid(b.row(t)[h]));
    }
}

void gdn_recurrent(Context&, const GdnScan& scan, Rows out) {
  const std::int64_t dim = scan.head_dim;
  std::vector<double> state(static_cast<std::size_t>(dim * dim));  // [D (k), D (v)]: kept in double between the tokens of a call
  std::vector<double> delta(static_cast<std::size_t>(dim)), read(static_cast<std::size_t>(dim));
  for (std::int64_t head = 0; head < scan.value_heads; ++head) {
    float* kept = scan.state + head * dim * dim;
    std::copy(kept, kept + dim * dim, state.begin());
    for (std::int64_t t = 0; t < out.rows; ++t) {
      const float* q = scan.q.row(t) + key_head(scan, head) * dim;
      const float* k = scan.k.row(t) + key_head(scan, head) * dim;
      const float* v = scan.v.row(t) + head * dim;
      const double alpha = std::exp(static_cast<double>(scan.g.row(t)[head])), beta = scan.beta.row(t)[head];
      std::fill(read.begin(), read.end(), 0.0);
      for (std::int64_t i = 0; i < dim; ++i)
        for (std::int64_t j = 0; j < dim; ++j) {
          state[i * dim + j] *= alpha;
          read[j] += state[i * dim + j] * k[i];
        }
      for (std::int64_t j = 0; j < dim; ++j) delta[j] = beta * (v[j] - read[j]);
      std::fill(read.begin(), read.end(), 0.0);
      for (std::int64_t i = 0; i < dim; ++i)
        for (std::int64_t j = 0; j < dim; ++j) {
          state[i * dim + j] += k[i] * delta[j];
          read[j] += state[i * dim + j] * q[i];
        }
      for (std::int64_t j = 0; j < dim; ++j) out.row(t)[head * dim + j] = static_cast<float>(read[j]);
    }
    for (std::int64_t i = 0; i < dim * dim; ++i) kept[i] = static_cast<float>(state[i]);
  }
}

}  // namespace crossover::reference
