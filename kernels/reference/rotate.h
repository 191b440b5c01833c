#pragma once

#include <vector>

#include "kernels/reference/loops.h"
#include "kernels/reference/reference.h"

namespace crossover::reference {

void rotate_row(double* x, std::int64_t dim, Rotation rotation, bool back);

}  // namespace crossover::reference
