#include "engine/checkpoint/row_gather.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>

#include "kernels/formats/formats.h"

namespace crossover {
namespace {

// Reading over a gap this small costs less than another request, and a page is the least the system reads anyway.
constexpr std::int64_t kGapBytes = 4096;

}  // namespace

RowGather::RowGather(const SourceTensor& tensor, std::span<const IndexRange> columns) : tensor_(tensor) {
  const IndexRange all{0, tensor.shape[2]};
  if (columns.empty()) columns = {&all, 1};
  const ColumnRun as_stored{0, 0, tensor.shape[2]};
  const std::span<const ColumnRun> recipe = tensor.columns.empty() ? std::span(&as_stored, 1) : std::span(tensor.columns);
  for (const IndexRange& range : columns) {
    if (range.first < 0 || range.count < 0 || range.first > tensor.shape[2] - range.count)
      throw std::invalid_argument(
          fmt::format("tensor {} has {} columns, asked for {} from {}", tensor.name, tensor.shape[2], range.count, range.first));
    for (const ColumnRun& run : recipe) {
      const std::int64_t begin = std::max(range.first, run.to), end = std::min(range.first + range.count, run.to + run.count);
      if (begin >= end) continue;
      const Run next{crossover::row_bytes(tensor.dtype, run.from + begin - run.to), crossover::row_bytes(tensor.dtype, end - begin)};
      if (!runs_.empty() && runs_.back().from + runs_.back().count == next.from)
        runs_.back().count += next.count;
      else
        runs_.push_back(next);
    }
  }
  if (runs_.empty()) return;
  low_ = runs_.front().from;
  for (const Run& run : runs_) {
    low_ = std::min(low_, run.from);
    high_ = std::max(high_, run.from + run.count);
    row_bytes_ += run.count;
  }
}

template <class Visit>
void RowGather::each_part(std::int64_t first_row, std::int64_t rows, Visit&& visit) const {
  const std::int64_t all = tensor_.shape[0] * tensor_.shape[1];
  if (first_row < 0 || rows < 0 || first_row > all - rows)
    throw std::invalid_argument(fmt::format("tensor {} has {} rows, asked for {} from {}", tensor_.name, all, rows, first_row));
  if (row_bytes_ == 0) return;
  const std::int64_t end = first_row + rows;
  auto segment = std::upper_bound(tensor_.segments.begin(), tensor_.segments.end(), first_row,
                                  [](std::int64_t row, const RowSegment& s) { return row < s.first_row + s.rows; });
  for (std::int64_t row = first_row; row < end; ++segment) {
    const std::int64_t count = std::min(end, segment->first_row + segment->rows) - row;
    const auto skip = (row - segment->first_row) * segment->stride_bytes + low_;
    visit(Part{segment->file, segment->offset + static_cast<std::uint64_t>(skip), segment->stride_bytes, count});
    row += count;
  }
}

bool RowGather::one_extent(const Part& part) const { return part.rows == 1 || part.stride - (high_ - low_) <= kGapBytes; }

std::vector<Extent> RowGather::extents(std::int64_t first_row, std::int64_t rows) const {
  std::vector<Extent> result;
  each_part(first_row, rows, [&](const Part& part) {
    if (one_extent(part)) {
      result.push_back({part.file, part.start, static_cast<std::uint64_t>(span(part))});
      return;
    }
    for (std::int64_t r = 0; r < part.rows; ++r)
      result.push_back({part.file, part.start + static_cast<std::uint64_t>(r * part.stride), static_cast<std::uint64_t>(high_ - low_)});
  });
  return result;
}

bool RowGather::in_place(std::span<const std::byte* const> data, std::int64_t first_row, std::int64_t rows) const {
  if (runs_.size() != 1 || data.size() != 1) return false;
  bool whole = true;
  each_part(first_row, rows, [&](const Part& part) { whole = whole && (part.rows == 1 || part.stride == row_bytes_); });
  return whole;
}

std::byte* RowGather::gather_row(const std::byte* row, std::byte* out) const {
  for (const Run& run : runs_) {
    std::memcpy(out, row + run.from - low_, static_cast<std::size_t>(run.count));
    out += run.count;
  }
  return out;
}

void RowGather::gather(std::int64_t first_row, std::int64_t rows, std::span<const std::byte* const> data, std::byte* out) const {
  std::size_t next = 0;
  each_part(first_row, rows, [&](const Part& part) {
    const bool one = one_extent(part);
    const std::byte* base = data[next];
    if (one && runs_.size() == 1 && part.stride == row_bytes_) {
      std::memcpy(out, base, static_cast<std::size_t>(part.rows * row_bytes_));
      out += part.rows * row_bytes_;
    } else {
      for (std::int64_t r = 0; r < part.rows; ++r) out = gather_row(one ? base + r * part.stride : data[next + static_cast<std::size_t>(r)], out);
    }
    next += one ? 1 : static_cast<std::size_t>(part.rows);
  });
}

void widen(const SourceTensor& tensor, const std::byte* stored, std::int64_t values, float* out) {
  dequantize_fn(tensor.dtype)(stored, out, values);
  switch (tensor.transform) {
    case Transform::kNone:
      break;
    case Transform::kAddOne:
      for (std::int64_t i = 0; i < values; ++i) out[i] += 1.0f;
      break;
    case Transform::kNegExp:
      // exp in double, rounded once: the same float on every machine whose libm is right to half a float ulp.
      for (std::int64_t i = 0; i < values; ++i) out[i] = static_cast<float>(-std::exp(static_cast<double>(out[i])));
      break;
  }
}

}  // namespace crossover
