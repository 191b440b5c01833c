// What kernels/cpu/tiles/attention_tiles.cpp offers (kernels/cpu/micro.h says why it is compiled apart).
#pragma once

#include "kernels/cpu/micro.h"

namespace crossover::cpu {

namespace amx { extern const AttentionTilesMicro attention_tiles; }

}  // namespace crossover::cpu
