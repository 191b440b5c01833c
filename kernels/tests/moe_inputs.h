// Experts and a routing that leaves some of them without tokens: what several tests of mixtures of experts begin with.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/tests/test_context.h"

namespace crossover::testing {

struct Layer {
  Layer(DType dtype, std::int64_t experts, std::int64_t width, std::int64_t hidden, Random& random)
      : gate(dtype, experts, width, hidden), up(dtype, experts, width, hidden), down(dtype, experts, hidden, width) {
    for (Matrix* matrix : {&gate, &up, &down}) matrix->fill(random, 0.06f);
  }
  Matrix gate, up, down;
};

struct Routing {
  std::vector<std::int32_t> ids;
  std::vector<float> weights;
};

// Token t: expert 5 always, expert 0 never, expert 1 for token 0 alone, the rest spread; weights fall and sum to 1.
inline Routing uneven(std::int64_t tokens) {
  Routing routing;
  for (std::int64_t t = 0; t < tokens; ++t) {
    routing.ids.insert(routing.ids.end(), {5, t == 0 ? 1 : static_cast<std::int32_t>(2 + t % 3)});
    routing.weights.insert(routing.weights.end(), {0.7f, 0.3f});
  }
  return routing;
}

}  // namespace crossover::testing
