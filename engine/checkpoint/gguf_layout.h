// Where everything lies in a GGUF file that is to be written: header bytes, and the place of any block of any tensor.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/checkpoint/gguf_metadata.h"
#include "engine/checkpoint/source.h"

namespace crossover {

struct GgufTensorPlan {
  std::string name;  // as in Source::tensors
  DType dtype;
  std::array<std::int64_t, 3> shape;  // experts, rows, cols
};

// The tensors of `source` in their order, each with target_type(tensor, weights).
std::vector<GgufTensorPlan> plan_gguf(const Source& source, DType weights);

// A tensor as the file has it.
struct GgufFileTensor {
  std::string name;
  DType dtype;
  std::array<std::int64_t, 3> shape;
  std::uint64_t offset = 0, bytes = 0;  // from the start of the data
};

class GgufLayout {
 public:
  // qwen3next's ssm_beta and ssm_alpha go into llama.cpp's fused ssm_ba. std::invalid_argument when two entries of the
  // plan do not fit together so.
  GgufLayout(const Source& source, std::vector<GgufTensorPlan> plan);

  const std::vector<GgufTensorPlan>& plan() const { return plan_; }
  const std::vector<GgufFileTensor>& tensors() const { return tensors_; }  // ascending offsets
  std::uint64_t data_bytes() const { return data_bytes_; }                 // with the padding behind the last tensor

  // Magic, counts, metadata (that of the model, then `extra`), tensor table, padding: the data follow at once.
  // `extra_at`, when given, gets where the bytes of `extra` begin.
  std::string header(const Source& source, const GgufMetadata& extra = {}, std::size_t* extra_at = nullptr) const;

  // Calls put(offset from the start of the data, bytes, count) for every contiguous run of a block of plan entry
  // `tensor`: rows first_row .. first_row+rows-1 (expert-major), of each the columns of `columns` (whole blocks; empty:
  // all), lying one after another at `bytes`. std::invalid_argument when the block is not inside the tensor.
  template <class Put>
  void place(std::size_t tensor, std::int64_t first_row, std::int64_t rows, std::span<const IndexRange> columns,
             const std::byte* bytes, Put&& put) const {
    const RowPlaces at = places(tensor, first_row, rows, columns);
    for (std::int64_t row = first_row, end = first_row + rows; row < end;) {
      const std::int64_t count = at.group == 0 ? end - row : std::min(end - row, at.group - row % at.group);
      const std::int64_t to =
          at.group == 0 ? row : row / at.group * at.period + at.part + row % at.group;
      const std::uint64_t start = at.offset + static_cast<std::uint64_t>(to * at.stride_bytes);
      if (at.pieces.empty()) {
        put(start, bytes, static_cast<std::uint64_t>(count * at.stride_bytes));
        bytes += count * at.stride_bytes;
      }
      for (std::int64_t r = 0; !at.pieces.empty() && r < count; ++r)
        for (const RowPiece& piece : at.pieces) {
          put(start + static_cast<std::uint64_t>(r * at.stride_bytes + piece.from), bytes,
              static_cast<std::uint64_t>(piece.bytes));
          bytes += piece.bytes;
        }
      row += count;
    }
  }

 private:
  struct RowPiece {
    std::int64_t from, bytes;  // inside a row of the file
  };
  // Rows of a plan entry go to rows of a file tensor: group g of `group` rows starts at row g*period + part.
  struct RowPlaces {
    std::uint64_t offset;  // of the file tensor
    std::int64_t stride_bytes;
    std::int64_t group, period, part;  // group 0: rows as they come
    std::vector<RowPiece> pieces;      // empty: whole rows
  };
  struct Place {
    std::size_t tensor;  // index into tensors_
    std::int64_t group = 0, period = 0, part = 0;
  };
  RowPlaces places(std::size_t tensor, std::int64_t first_row, std::int64_t rows,
                   std::span<const IndexRange> columns) const;
  DType most_bytes() const;

  std::vector<GgufTensorPlan> plan_;
  std::vector<GgufFileTensor> tensors_;
  std::vector<Place> places_;  // of each plan entry
  std::uint64_t data_bytes_ = 0;
};

}  // namespace crossover
