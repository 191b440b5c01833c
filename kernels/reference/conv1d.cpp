#include "kernels/reference/loops.h"
#include "kernels/reference/reference.h"

namespace crossover::reference {

void conv1d_silu(Context&, ConstRows x, const Tensor& weight, float* state, Rows out) {
  const float* taps = weight.f32();  // [C, 4], tap 3 is the current token
  for (std::int64_t c = 0; c < x.dim; ++c) {
    float past[3] = {state[c], state[x.dim + c], state[2 * x.dim + c]};
    for (std::int64_t t = 0; t < x.rows; ++t) {
      const float now = x.row(t)[c];
      double sum = static_cast<double>(taps[4 * c + 3]) * now;
      for (int j = 0; j < 3; ++j) sum += static_cast<double>(taps[4 * c + j]) * past[j];
      out.row(t)[c] = static_cast<float>(silu(sum));
      past[0] = past[1], past[1] = past[2], past[2] = now;
    }
    for (int j = 0; j < 3; ++j) state[j * x.dim + c] = past[j];
  }
}

}  // namespace crossover::reference
