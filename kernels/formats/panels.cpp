#include "kernels/formats/panels.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>

#include "kernels/formats/blocks.h"

namespace crossover {
namespace {

// Where value e of a block keeps its low nibble and its top bits: see BlockQ6_K.
struct Place {
  int low, low_shift, high, high_shift;
};

Place place_of(int e) {
  const int h = e / 128, part = e % 128 / 32, l = e % 32;
  return {64 * h + 32 * (part % 2) + l, part < 2 ? 0 : 4, 32 * h + l, 2 * part};
}

unsigned code_of(const BlockQ6_K& block, int e) {
  const Place at = place_of(e);
  return (block.ql[at.low] >> at.low_shift & 15u) | (block.qh[at.high] >> at.high_shift & 3u) << 4;
}

void pack_row(const BlockQ6_K& block, int row, PanelQ6_K& to) {
  for (int e = 0; e < 256; ++e) {
    const int group = e / 16, quad = e % 16 / 4, byte = 4 * (row % 16) + e % 4;
    const unsigned code = code_of(block, e);
    PanelQ6_K::Half& half = to.half[group][row / 16];
    std::uint8_t& low = half.low[quad / 2][byte];
    low = static_cast<std::uint8_t>(low | (code & 15u) << 4 * (quad % 2));
    half.high[byte] = static_cast<std::uint8_t>(half.high[byte] | code >> 4 << 2 * quad);
  }
  for (int g = 0; g < 16; ++g) to.factors.scales[g][row] = block.scales[g];
  to.factors.d[row] = block.d;
}

void require_panels(DType dtype) {
  if (!has_panels(dtype)) throw std::invalid_argument(std::string(name(dtype)) + " has no panel layout; keep it in rows");
}

}  // namespace

bool has_panels(DType dtype) { return dtype == DType::kQ6_K; }

void pack_panel(DType dtype, const std::byte* stored, std::int64_t first, std::int64_t rows, std::int64_t dim, std::byte* panel) {
  require_panels(dtype);
  const std::int64_t blocks = dim / 256;
  std::memset(panel, 0, static_cast<std::size_t>(blocks) * sizeof(PanelQ6_K));
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t b = 0; b < blocks; ++b)
      pack_row(reinterpret_cast<const BlockQ6_K*>(stored)[r * blocks + b], static_cast<int>(first + r), reinterpret_cast<PanelQ6_K*>(panel)[b]);
}

void copy_panel_rows(DType dtype, const std::byte* from, std::int64_t first, std::int64_t rows, std::int64_t dim, std::byte* to) {
  require_panels(dtype);
  const auto *source = reinterpret_cast<const PanelQ6_K*>(from), *end = source + dim / 256;
  for (auto* target = reinterpret_cast<PanelQ6_K*>(to); source != end; ++source, ++target) {
    const auto count = static_cast<std::size_t>(rows);
    std::memcpy(target->factors.d + first, source->factors.d + first, count * sizeof(std::uint16_t));
    for (int g = 0; g < 16; ++g) {
      std::memcpy(target->factors.scales[g] + first, source->factors.scales[g] + first, count);
      for (int h = 0; h < 2; ++h) {
        const std::int64_t begin = std::max<std::int64_t>(0, first - 16 * h), last = std::min<std::int64_t>(16, first + rows - 16 * h);
        if (begin >= last) continue;
        const auto at = static_cast<std::size_t>(4 * begin), bytes = static_cast<std::size_t>(4 * (last - begin));
        const PanelQ6_K::Half& half = source->half[g][h];
        PanelQ6_K::Half& out = target->half[g][h];
        for (int p = 0; p < 2; ++p) std::memcpy(out.low[p] + at, half.low[p] + at, bytes);
        std::memcpy(out.high + at, half.high + at, bytes);
      }
    }
  }
}

void unpack_panel_row(DType dtype, const std::byte* panel, std::int64_t row, std::int64_t dim, std::byte* out) {
  require_panels(dtype);
  for (std::int64_t b = 0; b < dim / 256; ++b) {
    const auto& from = reinterpret_cast<const PanelQ6_K*>(panel)[b];
    BlockQ6_K block{};
    for (int e = 0; e < 256; ++e) {
      const int quad = e % 16 / 4, byte = 4 * static_cast<int>(row % 16) + e % 4;
      const PanelQ6_K::Half& half = from.half[e / 16][row / 16];
      const Place at = place_of(e);
      block.ql[at.low] = static_cast<std::uint8_t>(block.ql[at.low] | (half.low[quad / 2][byte] >> 4 * (quad % 2) & 15u) << at.low_shift);
      block.qh[at.high] = static_cast<std::uint8_t>(block.qh[at.high] | (half.high[byte] >> 2 * quad & 3u) << at.high_shift);
    }
    for (int g = 0; g < 16; ++g) block.scales[g] = from.factors.scales[g][row];
    block.d = from.factors.d[row];
    std::memcpy(out + static_cast<std::size_t>(b) * sizeof block, &block, sizeof block);
  }
}

}  // namespace crossover
