// Layout::kPanels: the same bits as rows of blocks, in the order in which the matrix products of the cpu backend use them. Rows lie
// in panels of kPanelRows, and the four values that one integer dot-product instruction consumes lie side by side for 16 rows.
// Lossless and of equal size; the last panel of an expert is filled up with rows of zeros.
#pragma once

#include <cstdint>

#include "kernels/tensor.h"

namespace crossover {

// 256 values of 32 rows: as many bytes as 32 of BlockQ6_K, in whole cache lines. A quad is four neighbouring values of 16 rows.
// Read from front to back it is one stream of lines: the hardware prefetcher stops at every line that is taken out of turn.
struct PanelQ6_K {
  struct Factors {
    std::uint16_t d[32];         // f16
    std::int8_t scales[16][32];  // [group of 16 values][row]
  };
  struct Half {                // 16 values of 16 rows: quads 0 .. 3
    std::uint8_t low[2][64];   // [p][4r + i]: low four bits of value i of row r, of quad 2p in the low nibble and 2p + 1 in the high one
    std::uint8_t high[64];     // [4r + i]: top two bits of the same of quad q at bit 2q
  };
  Factors factors;
  Half half[16][2];            // [group][rows 0 .. 15, 16 .. 31]
};
static_assert(sizeof(PanelQ6_K) == 32 * 210 && sizeof(PanelQ6_K) % 64 == 0 && kPanelRows == 32);

bool has_panels(DType dtype);

// `rows` rows of `dim` values, row_bytes(dtype, dim) apart, to rows first .. first + rows - 1 <= kPanelRows of a panel of kPanelRows *
// row_bytes(dtype, dim) bytes, whose other rows become zeros. std::invalid_argument for a type without panels.
void pack_panel(DType dtype, const std::byte* stored, std::int64_t first, std::int64_t rows, std::int64_t dim, std::byte* panel);

// Rows first .. first + rows - 1 of one panel to the same place in another. No two rows share a byte, so threads may do this to
// different rows of one panel at a time.
void copy_panel_rows(DType dtype, const std::byte* from, std::int64_t first, std::int64_t rows, std::int64_t dim, std::byte* to);

// Row `row` of a panel, as it was before packing.
void unpack_panel_row(DType dtype, const std::byte* panel, std::int64_t row, std::int64_t dim, std::byte* out);

}  // namespace crossover
