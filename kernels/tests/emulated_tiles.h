// Backends that multiply tiles on machines without them: the kernels of AMX over plain loops that do what its instructions do, beside the
// highest instruction set of this machine.
#pragma once

#include "kernels/cpu/tiles/tile_micro.h"
#include "kernels/tests/test_context.h"

namespace crossover {

namespace cpu::tiles_portable {
extern const TileMicro tiles;
extern const AttentionTilesMicro attention_tiles;
extern const GdnChunks gdn_chunks;
}
#if defined(CROSSOVER_EMULATED_AVX512_TILES)
namespace cpu::tiles_avx512 {
extern const TileMicro tiles;
extern const AttentionTilesMicro attention_tiles;
extern const GdnChunks gdn_chunks;
}
#endif

namespace testing {

struct EmulatedTiles {
  const cpu::TileMicro* tiles;
  const char* variant;
  cpu::Micro micro;
  cpu::GdnMicro gdn;
};

inline const std::vector<EmulatedTiles>& emulated_tiles() {
  static const std::vector<EmulatedTiles> all = [] {
    std::vector<EmulatedTiles> found;
    found.reserve(2);  // what they point to of each other stays in place
    const auto add = [&](const cpu::TileMicro& tiles, const cpu::AttentionTilesMicro& attention, const cpu::GdnChunks& chunks, const char* variant) {
      const cpu::Micro& micro = cpu::micro(cpu::highest_isa());
      EmulatedTiles& added = found.emplace_back(EmulatedTiles{&tiles, variant, micro, *micro.gdn});
      added.micro.gemm_tiles = &tiles.gemm, added.micro.attention_tiles = &attention;
      added.micro.gdn = &added.gdn, added.gdn.chunked = chunks;
    };
    add(cpu::tiles_portable::tiles, cpu::tiles_portable::attention_tiles, cpu::tiles_portable::gdn_chunks, "_emulated_tiles");
    found.back().micro.narrow = nullptr;  // as on machines without the instruction
#if defined(CROSSOVER_EMULATED_AVX512_TILES)
    if (cpu::highest_isa() >= cpu::Isa::kAvx512Bf16)
      add(cpu::tiles_avx512::tiles, cpu::tiles_avx512::attention_tiles, cpu::tiles_avx512::gdn_chunks, "_emulated_tiles_avx512");
#endif
    return found;
  }();
  return all;
}

// tested_backends() and those.
inline std::vector<Backend> backends_with_emulated_tiles() {
  std::vector<Backend> backends = tested_backends();
  for (const EmulatedTiles& emulated : emulated_tiles())
    for (const int threads : {1, 2}) backends.push_back({cpu_ops, emulated.micro.isa, threads, &emulated.micro, emulated.variant});
  return backends;
}

}  // namespace testing
}  // namespace crossover
