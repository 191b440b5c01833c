#include "kernels/reference/rotate.h"
#include "kernels/rotation.h"

namespace crossover::reference {
namespace {

// Sylvester's matrix in natural order, divided by sqrt(n).
void hadamard(double* x, std::int64_t n) {
  for (std::int64_t stride = 1; stride < n; stride *= 2)
    for (std::int64_t i = 0; i < n; ++i) {
      if (i & stride) continue;
      const double a = x[i], b = x[i + stride];
      x[i] = a + b, x[i + stride] = a - b;
    }
  for (std::int64_t i = 0; i < n; ++i) x[i] /= std::sqrt(static_cast<double>(n));
}

}  // namespace

void rotate_row(double* x, std::int64_t dim, Rotation rotation, bool back) {
  if (rotation == Rotation::kNone) return;
  if (rotation == Rotation::kHadamard) return hadamard(x, dim);
  for (std::int64_t first = 0; first < dim; first += kSignedBlock) {
    double* block = x + first;
    for (std::int64_t i = 0; i < kSignedBlock; ++i) block[i] *= rotation_sign(back, i);
    hadamard(block, kSignedBlock);
    for (std::int64_t i = 0; i < kSignedBlock; ++i) block[i] *= rotation_sign(!back, i);
  }
}

void rotate(Context&, Rows x, Rotation rotation, bool back) {
  std::vector<double> row(static_cast<std::size_t>(x.dim));
  for (std::int64_t r = 0; r < x.rows; ++r) {
    row.assign(x.row(r), x.row(r) + x.dim);
    rotate_row(row.data(), x.dim, rotation, back);
    for (std::int64_t i = 0; i < x.dim; ++i) x.row(r)[i] = static_cast<float>(row[static_cast<std::size_t>(i)]);
  }
}

}  // namespace crossover::reference
