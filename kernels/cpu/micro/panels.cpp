// The table of products with weights in panels, and how rows get into panels.
#include "kernels/cpu/micro/panel_pairs.h"
#include "kernels/cpu/micro/panel_products.h"
#include "kernels/cpu/micro/panel_unpacked.h"
#include "kernels/cpu/micro/transpose.h"
#include "kernels/formats/blocks.h"

namespace crossover::cpu::CROSSOVER_ISA {
namespace {

constexpr std::int64_t kFewTokens = 128;      // of a panel that are done before the next one is here by itself
constexpr std::int64_t kUnpackedBlocks = 16;  // 146 to 162 KiB of a worker's L2 cache; a longer row is worked off in equal parts

std::int64_t part_blocks(std::int64_t blocks) {
  const std::int64_t parts = (blocks + kUnpackedBlocks - 1) / kUnpackedBlocks;
  return parts == 0 ? 0 : (blocks + parts - 1) / parts;
}

std::int64_t activation_bytes(std::int64_t dim) { return dim / kInt8Block * static_cast<std::int64_t>(sizeof(ActivationBlock)); }

void pack_activations(const float* x, std::int64_t dim, std::byte* to) { quantize_activations(x, dim, reinterpret_cast<ActivationBlock*>(to)); }

template <class Source>
void matvec(const std::byte* panels, std::int64_t rows, std::int64_t dim, const std::byte* const* x, std::int64_t tokens, float* out,
            std::int64_t out_stride) {
  const std::int64_t blocks = dim / kInt8Block;
  const auto* panel = reinterpret_cast<const PanelQ6_K*>(panels);
  const auto* activations = reinterpret_cast<const ActivationBlock* const*>(x);
  NothingAhead ahead;
  for (std::int64_t r = 0; r < rows; r += kPanelRows, panel += blocks)
    add_blocks(tokens, Source(panel, blocks), blocks, activations, ahead, false, rows - r < kPanelRows ? rows - r : kPanelRows, out + r, out_stride);
}

#if defined(__AVX512F__)
// One token leaves registers for the sums of two panels: half of them apart, so that each half is read from front to back.
void matvec_prefetched(const std::byte* panels, std::int64_t rows, std::int64_t dim, const std::byte* const* x, std::int64_t tokens, float* out,
                       std::int64_t out_stride) {
  const std::int64_t blocks = dim / kInt8Block, half = tokens == 1 ? rows / kPanelRows / 2 : 0;
  const auto* panel = reinterpret_cast<const PanelQ6_K*>(panels);
  NothingAhead ahead;
  for (std::int64_t p = 0; p < half; ++p) {
    float sums[2][kPanelRows];
    add_blocks<1>(PrefetchedSource<2>(panel + p * blocks, half * blocks), blocks, reinterpret_cast<const ActivationBlock* const*>(x), ahead, false,
                  2 * kPanelRows, sums[0], 0);
    for (int i = 0; i < 2; ++i) __builtin_memcpy(out + (i * half + p) * kPanelRows, sums[i], sizeof sums[i]);
  }
  const std::int64_t done = 2 * half;
  if (done * kPanelRows < rows)
    matvec<PrefetchedSource<1>>(reinterpret_cast<const std::byte*>(panel + done * blocks), rows - done * kPanelRows, dim, x, tokens, out + done * kPanelRows, out_stride);
}
#endif

template <class Ahead>
void multiply_panel(const PanelQ6_K* panel, std::int64_t rows, std::int64_t blocks, const std::byte* const* x, std::int64_t tokens, float* out,
                    std::int64_t out_stride, Ahead ahead, UnpackedBlock* unpacked) {
  const std::int64_t part = part_blocks(blocks);
  ahead.last_row = rows - 1;
  for (std::int64_t first = 0; first < blocks; first += part) {
    const std::int64_t count = blocks - first < part ? blocks - first : part;
    for (std::int64_t b = 0; b < count; ++b) unpack_block(panel[first + b], unpacked[b]);
    for (std::int64_t t = 0; t < tokens; t += kTileRowTokens) {
      const ActivationBlock* activations[kTileRowTokens] = {};
      const std::int64_t n = tokens - t < kTileRowTokens ? tokens - t : kTileRowTokens;
      for (std::int64_t i = 0; i < n; ++i) {
        activations[i] = reinterpret_cast<const ActivationBlock*>(x[t + i]) + first;
        const std::int64_t next = t + kTileRowTokens + i < tokens ? t + kTileRowTokens + i : t + i;
        ahead.x[i] = reinterpret_cast<const ActivationBlock*>(x[next]) + first;
        ahead.out[i] = out + next * out_stride;
      }
      add_blocks(n, UnpackedSource(unpacked), count, activations, ahead, first > 0, rows, out + t * out_stride, out_stride);
    }
  }
}

void gemm(const std::byte* panel, std::int64_t rows, std::int64_t dim, const std::byte* const* x, std::int64_t tokens, float* out,
          std::int64_t out_stride, const std::byte* next, std::byte* scratch) {
  const std::int64_t blocks = dim / kInt8Block;
  const auto* from = reinterpret_cast<const PanelQ6_K*>(panel);
  auto* unpacked = reinterpret_cast<UnpackedBlock*>(scratch);
  if (!next || tokens > kFewTokens) return multiply_panel(from, rows, blocks, x, tokens, out, out_stride, TileAhead{}, unpacked);
  const std::int64_t bytes = blocks * static_cast<std::int64_t>(sizeof(PanelQ6_K)), steps = (tokens + kTileRowTokens - 1) / kTileRowTokens * blocks * 8;
  PanelAhead ahead{{}, reinterpret_cast<const char*>(next), reinterpret_cast<const char*>(next) + bytes, static_cast<int>((bytes / 64 + steps - 1) / steps)};
  multiply_panel(from, rows, blocks, x, tokens, out, out_stride, ahead, unpacked);
}

std::int64_t scratch_bytes(std::int64_t dim) { return part_blocks(dim / kInt8Block) * static_cast<std::int64_t>(sizeof(UnpackedBlock)); }

// One byte per code, in the order of the values.
void expand(const BlockQ6_K& block, std::uint8_t* code) {
  for (int h = 0; h < 2; ++h, code += 128) {
    const std::uint8_t *low = block.ql + 64 * h, *high = block.qh + 32 * h;
    for (int l = 0; l < 32; ++l) {
      code[l] = static_cast<std::uint8_t>((low[l] & 15) | (high[l] & 3) << 4);
      code[l + 32] = static_cast<std::uint8_t>((low[l + 32] & 15) | (high[l] & 12) << 2);
      code[l + 64] = static_cast<std::uint8_t>(low[l] >> 4 | (high[l] & 48));
      code[l + 96] = static_cast<std::uint8_t>(low[l + 32] >> 4 | (high[l] & 192) >> 2);
    }
  }
}

// `quad` [4][64]: a group of 16 values of 16 rows.
void join(const std::uint8_t* quad, PanelQ6_K::Half& half) {
  for (int i = 0; i < 64; ++i) {
    const unsigned a = quad[i], b = quad[64 + i], c = quad[128 + i], d = quad[192 + i];
    half.low[0][i] = static_cast<std::uint8_t>((a & 15) | (b & 15) << 4);
    half.low[1][i] = static_cast<std::uint8_t>((c & 15) | (d & 15) << 4);
    half.high[i] = static_cast<std::uint8_t>(a >> 4 | (b & 48) >> 2 | (c & 48) | (d & 48) << 2);
  }
}

// The sixteen rows of a half. Of the panel's rows `first` .. first + rows - 1 exist; `stored` is their first one's block of these columns.
void pack_half(const BlockQ6_K* stored, std::int64_t row_blocks, std::int64_t first, std::int64_t rows, int half, PanelQ6_K& to) {
  const auto block_of = [&](int r) -> const BlockQ6_K* {
    const std::int64_t row = 16 * half + r - first;
    return row >= 0 && row < rows ? stored + row * row_blocks : nullptr;
  };
  alignas(64) std::uint8_t code[16][kInt8Block + 64];  // a stride that is no power of two: rows would share cache sets
  alignas(64) std::uint8_t quad[16][64];
  for (int r = 0; r < 16; ++r) {
    if (const BlockQ6_K* block = block_of(r)) expand(*block, code[r]);
    else __builtin_memset(code[r], 0, kInt8Block);
  }
  for (int part = 0; part < 4; ++part) {  // 64 values: four groups
    transpose_16x16(reinterpret_cast<const float*>(code[0] + 64 * part), (kInt8Block + 64) / 4, reinterpret_cast<float*>(quad[0]), 16);
    for (int g = 0; g < 4; ++g) join(quad[4 * g], to.half[4 * part + g][half]);
  }
  for (int r = 0; r < 16; ++r) {
    const BlockQ6_K* block = block_of(r);
    for (int g = 0; g < 16; ++g) to.factors.scales[g][16 * half + r] = block ? block->scales[g] : std::int8_t{0};
    to.factors.d[16 * half + r] = block ? block->d : std::uint16_t{0};
  }
}

void pack(const std::byte* stored, std::int64_t first, std::int64_t rows, std::int64_t dim, std::byte* panel) {
  const std::int64_t blocks = dim / kInt8Block;
  const auto* block = reinterpret_cast<const BlockQ6_K*>(stored);
  for (std::int64_t b = 0; b < blocks; ++b)
    for (int half = 0; half < 2; ++half)
      pack_half(block + b, blocks, first, rows, half, reinterpret_cast<PanelQ6_K*>(panel)[b]);
}

#if defined(__AVX512F__)
constexpr std::int64_t kGemmFrom = 9;
constexpr const char *kMatvec = "avx512-vnni-int8-panels", *kGemm = "avx512-vnni-int8-panels-unpacked";
#elif defined(__AVX2__)
constexpr std::int64_t kGemmFrom = 8;
constexpr const char *kMatvec = "avx2-int8-panels", *kGemm = "avx2-int8-panels-unpacked";
#else
constexpr std::int64_t kGemmFrom = 5;
constexpr const char *kMatvec = "portable-int8-panels", *kGemm = "portable-int8-panels-unpacked";
#endif

}  // namespace

extern const PanelMicro panels;
const PanelMicro panels = {kMatvec, kGemm, kGemmFrom, pack, activation_bytes, pack_activations, matvec<PanelSource>, scratch_bytes, gemm};
#if defined(__AVX512F__)
extern const PanelMicro prefetched_panels;
const PanelMicro prefetched_panels = {kMatvec, kGemm, kGemmFrom, pack, activation_bytes, pack_activations, matvec_prefetched, scratch_bytes, gemm};
#endif

}  // namespace crossover::cpu::CROSSOVER_ISA
