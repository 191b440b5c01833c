#include "kernels/reference/loops.h"
#include "kernels/reference/reference.h"

namespace crossover::reference {

void add(Context&, Rows x, ConstRows y) {
  for (std::int64_t t = 0; t < x.rows; ++t)
    for (std::int64_t i = 0; i < x.dim; ++i) x.row(t)[i] += y.row(t)[i];
}

void add_gated(Context&, Rows x, ConstRows y, ConstRows gate) {
  for (std::int64_t t = 0; t < x.rows; ++t) {
    const double factor = sigmoid(gate.row(t)[0]);
    for (std::int64_t i = 0; i < x.dim; ++i) x.row(t)[i] = static_cast<float>(x.row(t)[i] + factor * y.row(t)[i]);
  }
}

void swiglu(Context&, ConstRows gate, ConstRows up, Rows out) {
  for (std::int64_t t = 0; t < out.rows; ++t)
    for (std::int64_t i = 0; i < out.dim; ++i) out.row(t)[i] = static_cast<float>(silu(gate.row(t)[i]) * up.row(t)[i]);
}

void sigmoid_gate(Context&, Rows x, ConstRows gate) {
  for (std::int64_t t = 0; t < x.rows; ++t)
    for (std::int64_t i = 0; i < x.dim; ++i) x.row(t)[i] = static_cast<float>(x.row(t)[i] * sigmoid(gate.row(t)[i]));
}

}  // namespace crossover::reference
