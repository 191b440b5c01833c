#include "engine/checkpoint/read_rows.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <system_error>
#include <vector>

#include "kernels/formats/formats.h"

namespace crossover {

struct SourceFiles::File {
  std::string path;
  int descriptor = -1;
  std::uint64_t bytes = 0;
  const std::byte* mapped = nullptr;

  void open(const std::filesystem::path& from, std::uint64_t expected, ReadMode mode);
  std::uint64_t size_now() const;
  ~File() {
    if (mapped) munmap(const_cast<std::byte*>(mapped), bytes);
    if (descriptor >= 0) close(descriptor);
  }
};

std::uint64_t SourceFiles::File::size_now() const {
  struct stat status {};
  if (fstat(descriptor, &status) != 0)
    throw std::runtime_error(fmt::format("cannot query {}: {}", path, std::generic_category().message(errno)));
  return static_cast<std::uint64_t>(status.st_size);
}

void SourceFiles::File::open(const std::filesystem::path& from, std::uint64_t expected, ReadMode mode) {
  path = from.string();
  descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0)
    throw std::runtime_error(fmt::format("cannot open {}: {}", path, std::generic_category().message(errno)));
  bytes = size_now();
  if (bytes != expected)
    throw std::runtime_error(
        fmt::format("{} had {} bytes when its header was read, now it has {}; do not write to it while it is loaded",
                    path, expected, bytes));
  if (mode != ReadMode::kMap || bytes == 0) return;
  void* at = mmap(nullptr, bytes, PROT_READ, MAP_SHARED, descriptor, 0);
  if (at == MAP_FAILED)
    throw std::runtime_error(fmt::format("cannot map {}: {}", path, std::generic_category().message(errno)));
  mapped = static_cast<const std::byte*>(at);
}

SourceFiles::SourceFiles(const Source& source, ReadMode mode)
    : files_(std::make_unique<File[]>(source.files.size())), count_(source.files.size()), mode_(mode) {
  for (std::size_t i = 0; i < count_; ++i) files_[i].open(source.files[i], source.file_bytes[i], mode);
}

SourceFiles::~SourceFiles() = default;

const std::string& SourceFiles::path(std::int32_t file) const { return files_[static_cast<std::size_t>(file)].path; }
int SourceFiles::descriptor(std::int32_t file) const { return files_[static_cast<std::size_t>(file)].descriptor; }
const std::byte* SourceFiles::mapped(std::int32_t file) const { return files_[static_cast<std::size_t>(file)].mapped; }
std::uint64_t SourceFiles::bytes(std::int32_t file) const { return files_[static_cast<std::size_t>(file)].bytes; }

void SourceFiles::fail(std::int32_t file, std::uint64_t offset, const std::string& why, const SourceTensor& tensor) const {
  throw std::runtime_error(
      fmt::format("cannot read tensor {} ({}) at byte {} of {}: {}", tensor.name, tensor.stored_as, offset, path(file), why));
}

const std::byte* SourceFiles::view(std::int32_t file, std::uint64_t offset, std::uint64_t bytes,
                                   const SourceTensor& tensor) const {
  const File& from = files_[static_cast<std::size_t>(file)];
  if (!from.mapped) return nullptr;
  const std::uint64_t now = from.size_now();
  if (offset > now || bytes > now - offset)
    fail(file, offset, fmt::format("the file shrank to {} bytes", now), tensor);
  return from.mapped + offset;
}

void SourceFiles::read(std::int32_t file, std::uint64_t offset, std::byte* to, std::uint64_t bytes,
                       const SourceTensor& tensor) const {
  const File& from = files_[static_cast<std::size_t>(file)];
  if (const std::byte* mapped = view(file, offset, bytes, tensor)) {
    std::memcpy(to, mapped, bytes);
    return;
  }
  for (std::uint64_t done = 0; done < bytes;) {
    const ssize_t got = pread(from.descriptor, to + done, std::min<std::uint64_t>(bytes - done, 1u << 30),
                              static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail(file, offset + done, std::generic_category().message(errno), tensor);
    if (got == 0) fail(file, offset + done, "the file ends there", tensor);
    done += static_cast<std::uint64_t>(got);
  }
}

namespace {

struct ByteRun {
  std::int64_t from, count;  // bytes inside a stored row
};

// The byte runs of a stored row that make up one row of output, in order; neighbours joined.
std::vector<ByteRun> byte_runs(const SourceTensor& tensor, std::span<const IndexRange> wanted) {
  const IndexRange all{0, tensor.shape[2]};
  if (wanted.empty()) wanted = {&all, 1};
  const ColumnRun as_stored{0, 0, tensor.shape[2]};
  const std::span<const ColumnRun> recipe =
      tensor.columns.empty() ? std::span(&as_stored, 1) : std::span(tensor.columns);
  std::vector<ByteRun> runs;
  for (const IndexRange& range : wanted) {
    if (range.first < 0 || range.count < 0 || range.first > tensor.shape[2] - range.count)
      throw std::invalid_argument(fmt::format("tensor {} has {} columns, asked for {} from {}", tensor.name,
                                              tensor.shape[2], range.count, range.first));
    for (const ColumnRun& run : recipe) {
      const std::int64_t begin = std::max(range.first, run.to),
                         end = std::min(range.first + range.count, run.to + run.count);
      if (begin >= end) continue;
      const ByteRun next{row_bytes(tensor.dtype, run.from + begin - run.to), row_bytes(tensor.dtype, end - begin)};
      if (!runs.empty() && runs.back().from + runs.back().count == next.from)
        runs.back().count += next.count;
      else
        runs.push_back(next);
    }
  }
  return runs;
}

// Copies rows of one segment; several runs are gathered from one read of the bytes that span them.
class SegmentReader {
 public:
  SegmentReader(const SourceFiles& files, const SourceTensor& tensor, std::vector<ByteRun> runs)
      : files_(files), tensor_(tensor), runs_(std::move(runs)) {
    if (runs_.empty()) return;
    low_ = runs_.front().from;
    for (const ByteRun& run : runs_) {
      low_ = std::min(low_, run.from);
      high_ = std::max(high_, run.from + run.count);
      out_bytes_ += run.count;
    }
  }
  std::int64_t out_bytes() const { return out_bytes_; }

  void copy(const RowSegment& segment, std::int64_t skip, std::int64_t rows, std::byte* out) {
    const std::uint64_t start = segment.offset + static_cast<std::uint64_t>(skip * segment.stride_bytes + low_);
    const bool one_run = runs_.size() == 1;
    if (one_run && (rows == 1 || out_bytes_ == segment.stride_bytes)) {
      files_.read(segment.file, start, out, static_cast<std::uint64_t>(rows * out_bytes_), tensor_);
      return;
    }
    const auto span_bytes = static_cast<std::uint64_t>((rows - 1) * segment.stride_bytes + high_ - low_);
    if (const std::byte* mapped = files_.view(segment.file, start, span_bytes, tensor_)) {
      for (std::int64_t r = 0; r < rows; ++r) out = gather(mapped + r * segment.stride_bytes, out);
      return;
    }
    for (std::int64_t r = 0; r < rows; ++r, out += out_bytes_) {
      const std::uint64_t row = start + static_cast<std::uint64_t>(r * segment.stride_bytes);
      if (one_run) {
        files_.read(segment.file, row, out, static_cast<std::uint64_t>(out_bytes_), tensor_);
        continue;
      }
      scratch_.resize(static_cast<std::size_t>(high_ - low_));
      files_.read(segment.file, row, scratch_.data(), scratch_.size(), tensor_);
      gather(scratch_.data(), out);
    }
  }

 private:
  // `row` is where byte low_ of the stored row lies. Returns the end of the output row.
  std::byte* gather(const std::byte* row, std::byte* out) const {
    for (const ByteRun& run : runs_) {
      std::memcpy(out, row + run.from - low_, static_cast<std::size_t>(run.count));
      out += run.count;
    }
    return out;
  }

  const SourceFiles& files_;
  const SourceTensor& tensor_;
  std::vector<ByteRun> runs_;
  std::vector<std::byte> scratch_;
  std::int64_t low_ = 0, high_ = 0, out_bytes_ = 0;
};

}  // namespace

void read_rows(const SourceFiles& files, const SourceTensor& tensor, std::int64_t first_row, std::int64_t row_count,
               std::span<const IndexRange> columns, std::byte* out) {
  const std::int64_t rows = tensor.shape[0] * tensor.shape[1];
  if (first_row < 0 || row_count < 0 || first_row > rows - row_count)
    throw std::invalid_argument(
        fmt::format("tensor {} has {} rows, asked for {} from {}", tensor.name, rows, row_count, first_row));
  SegmentReader reader(files, tensor, byte_runs(tensor, columns));
  if (reader.out_bytes() == 0) return;
  const std::int64_t end = first_row + row_count;
  auto segment = std::upper_bound(tensor.segments.begin(), tensor.segments.end(), first_row,
                                  [](std::int64_t row, const RowSegment& s) { return row < s.first_row + s.rows; });
  for (std::int64_t row = first_row; row < end; ++segment) {
    const std::int64_t count = std::min(end, segment->first_row + segment->rows) - row;
    reader.copy(*segment, row - segment->first_row, count, out);
    out += count * reader.out_bytes();
    row += count;
  }
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
