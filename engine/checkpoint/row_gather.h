// Which bytes of its files make up some rows and columns of a tensor, and how they come together.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/checkpoint/source_files.h"
#include "engine/checkpoint/source.h"

namespace crossover {

class RowGather {
 public:
  // `columns`: logical columns of every gathered row, one range after another; empty = all. Columns of block formats are whole
  // blocks. std::invalid_argument when the tensor has no such columns. The tensor must outlive this.
  RowGather(const SourceTensor& tensor, std::span<const IndexRange> columns);

  std::int64_t row_bytes() const { return row_bytes_; }  // of a gathered row, in the stored type

  // The ranges of files that hold rows [first_row, first_row + rows) (expert-major), each no larger than it must be but for gaps of
  // up to 4 KiB. std::invalid_argument when the tensor has no such rows.
  std::vector<Extent> extents(std::int64_t first_row, std::int64_t rows) const;

  // `data`: where the extents of the same rows lie in memory. True when these are the gathered rows as they lie.
  bool in_place(std::span<const std::byte* const> data, std::int64_t first_row, std::int64_t rows) const;

  // Writes rows * row_bytes() bytes.
  void gather(std::int64_t first_row, std::int64_t rows, std::span<const std::byte* const> data, std::byte* out) const;

 private:
  struct Run {
    std::int64_t from, count;  // bytes inside a stored row
  };
  // Consecutive rows of one segment.
  struct Part {
    std::int32_t file;
    std::uint64_t start;  // of byte low_ of the first row
    std::int64_t stride, rows;
  };
  template <class Visit>
  void each_part(std::int64_t first_row, std::int64_t rows, Visit&& visit) const;
  bool one_extent(const Part& part) const;  // rather than one for each row
  std::int64_t span(const Part& part) const { return (part.rows - 1) * part.stride + high_ - low_; }
  std::byte* gather_row(const std::byte* row, std::byte* out) const;

  const SourceTensor& tensor_;
  std::vector<Run> runs_;
  std::int64_t low_ = 0, high_ = 0, row_bytes_ = 0;
};

// Stored values as f32, with the tensor's transform applied.
void widen(const SourceTensor& tensor, const std::byte* stored, std::int64_t values, float* out);

}  // namespace crossover
