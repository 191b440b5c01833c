// One way to multiply many tokens: how it packs twelve of them, what scratch a worker needs, and the product itself. Shapes and
// units as in MatmulMicro (kernels/cpu/micro.h).
#pragma once

#include "kernels/cpu/micro.h"

namespace crossover::cpu::CROSSOVER_ISA {

struct Gemm {
  const char* path;
  std::int64_t (*tile_bytes)(std::int64_t dim);
  void (*pack_tile)(DType weight, const float* const* rows, std::int64_t tokens, std::int64_t dim, std::byte* tile);
  std::int64_t (*panel_bytes)(std::int64_t dim);
  void (*multiply)(DType weight, const std::byte* w, std::int64_t rows, std::int64_t dim, const std::byte* tiles, std::int64_t tokens, float* out,
                   std::int64_t out_stride, std::byte* panel);
};

}  // namespace crossover::cpu::CROSSOVER_ISA
