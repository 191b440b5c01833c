// What the files compiled for tiles offer (kernels/cpu/micro.h says why it is compiled apart).
#pragma once

#include "kernels/cpu/micro.h"
#include "kernels/cpu/probe.h"

namespace crossover::cpu {

struct TileMicro {
  GemmTilesMicro gemm;
  Probe bf16;         // products in registers
  bool (*work)();     // products of known numbers come out right
};

namespace amx {
extern const TileMicro tiles;
extern const AttentionTilesMicro attention_tiles;
extern const GdnChunks gdn_chunks;
}

}  // namespace crossover::cpu
