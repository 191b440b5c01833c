// The chunked scan of the Gated DeltaNet on tiles.
#pragma once

#include "kernels/cpu/micro.h"

namespace crossover::cpu {

namespace amx { extern const GdnChunks gdn_chunks; }

}  // namespace crossover::cpu
