#include "engine/load/cache/cache_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <stdexcept>
#include <utility>
#include <vector>

#include "engine/checkpoint/output_file.h"
#include "engine/load/cache/cache_header.h"
#include "engine/load/cache/cache_names.h"

namespace crossover {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kPiece = kCachePieceBytes;
// A column-split tensor comes in slices of rows, down to one block. Measured on ext4, CPU time of one thread: slices of 210 bytes
// 195 MB/s by pwrite and 963 MB/s through a mapping, of 7 KB 795 and 967; runs of 200 KB 3.7 GB/s and 0.5 GB/s.
constexpr std::uint64_t kMappedBytes = 16u << 10;

// Calls each(piece, bytes) for the pieces that a range of the data touches.
template <class Each>
void for_pieces(std::uint64_t offset, std::uint64_t bytes, Each&& each) {
  for (const std::uint64_t end = offset + bytes; offset < end;) {
    const std::uint64_t here = std::min(end, (offset / kPiece + 1) * kPiece) - offset;
    each(offset / kPiece, here);
    offset += here;
  }
}

// The file being written.
class CacheFile {
 public:
  CacheFile(const Source& source, const CacheLookup& lookup);
  void put(std::size_t tensor, std::int64_t first_row, std::int64_t rows, std::span<const IndexRange> columns,
           const std::byte* bytes);
  void finish(ThreadPool& pool);
  std::uint64_t file_bytes() const { return header_.size() + layout_.data_bytes(); }

 private:
  void write(const std::byte* from, std::uint64_t count, std::uint64_t at) const {
    if (mapped_ && count < kMappedBytes)
      std::memcpy(mapped_ + at, from, count);
    else
      file_->put(from, count, at, OutputFile::WriteBack::kLater);
  }
  void wrote(std::uint64_t piece, std::uint64_t bytes);
  std::uint64_t bytes_of(std::uint64_t piece) const { return std::min(kPiece, layout_.data_bytes() - piece * kPiece); }
  void check_complete() const;

  const Source& source_;
  const CacheLookup lookup_;
  const GgufLayout layout_;
  CacheHeaderBytes header_;
  std::vector<std::uint64_t> hashes_;
  std::unique_ptr<std::atomic<std::int64_t>[]> missing_;  // bytes of each piece that were not put yet
  std::unique_ptr<std::atomic<std::int64_t>[]> left_;     // and of each tensor of the source
  std::unique_ptr<OutputFile> file_;
  std::byte* mapped_ = nullptr;  // all of the file, where it can be had
};

CacheFile::CacheFile(const Source& source, const CacheLookup& lookup)
    : source_(source),
      lookup_(lookup),
      layout_(source, plan_gguf(source, parse_dtype(lookup.key.type).value())),
      header_(source, layout_, lookup.key),
      hashes_((layout_.data_bytes() + kPiece - 1) / kPiece),
      missing_(std::make_unique<std::atomic<std::int64_t>[]>(hashes_.size())),
      left_(std::make_unique<std::atomic<std::int64_t>[]>(layout_.plan().size())) {
  for (std::size_t i = 0; i < layout_.plan().size(); ++i) {
    const GgufTensorPlan& entry = layout_.plan()[i];
    left_[i] = entry.shape[0] * entry.shape[1] * row_bytes(entry.dtype, entry.shape[2]);
  }
  for (const GgufFileTensor& tensor : layout_.tensors())
    for_pieces(tensor.offset, tensor.bytes,
               [&](std::uint64_t piece, std::uint64_t bytes) { missing_[piece] += static_cast<std::int64_t>(bytes); });
  fs::path part = lookup.file;
  part += ".part";
  file_ = OutputFile::claim(part, file_bytes());
  if (!file_) throw std::runtime_error(fmt::format("another process is writing {}", lookup.file.string()));
  mapped_ = file_->map();
  if (lookup.state == CacheState::kNone && fs::exists(lookup.file))
    throw std::runtime_error(fmt::format("another process has just written {}", lookup.file.string()));
  for (const fs::path& left : find_cache_names(lookup.file.parent_path(), "", kCachePartSuffix))
    if (left != part) remove_if_abandoned(left);
}

void CacheFile::put(std::size_t tensor, std::int64_t first_row, std::int64_t rows, std::span<const IndexRange> columns,
                    const std::byte* bytes) {
  std::int64_t all = 0;
  std::uint64_t piece = 0, pending = 0;  // bytes written to one piece and not yet accounted for
  const auto settle = [&] {
    if (pending > 0) wrote(piece, std::exchange(pending, 0));
  };
  layout_.place(tensor, first_row, rows, columns, bytes,
                [&](std::uint64_t at, const std::byte* from, std::uint64_t count) {
                  write(from, count, header_.size() + at);
                  all += static_cast<std::int64_t>(count);
                  for_pieces(at, count, [&](std::uint64_t touched, std::uint64_t here) {
                    if (touched != piece) settle();
                    piece = touched;
                    pending += here;
                  });
                });
  settle();
  if (left_[tensor].fetch_sub(all, std::memory_order_relaxed) < all)
    throw std::invalid_argument(fmt::format("a block of tensor {} was put twice", layout_.plan()[tensor].name));
}

// Whoever brings the last bytes of a piece hashes it, so hashing goes on beside loading.
void CacheFile::wrote(std::uint64_t piece, std::uint64_t bytes) {
  const std::int64_t left = missing_[piece].fetch_sub(static_cast<std::int64_t>(bytes), std::memory_order_acq_rel) -
                            static_cast<std::int64_t>(bytes);
  if (left > 0) return;
  const std::uint64_t start = header_.size() + piece * kPiece;
  hashes_[piece] = hash64(bytes_of(piece), [&](std::byte* to, std::uint64_t at, std::uint64_t count) {
    file_->get(to, count, start + at);
  });
  file_->start_write_back(start, bytes_of(piece));
}

void CacheFile::check_complete() const {
  for (std::size_t i = 0; i < layout_.plan().size(); ++i)
    if (left_[i] != 0)
      throw std::invalid_argument(fmt::format("{} bytes of tensor {} were not put", left_[i].load(), layout_.plan()[i].name));
}

void CacheFile::finish(ThreadPool& pool) {
  check_complete();
  std::vector<Hash128> contents;
  const SourceIdentity& was = lookup_.key.source;
  for (std::size_t i = 0; i < was.files.size(); ++i)
    contents.push_back(content_hash(was.path_of(i), was.files[i].bytes, pool));
  if (identify(source_) != was)
    throw std::runtime_error(fmt::format("{} changed while it was loaded", was.model.string()));
  const std::string& header = header_.fill(contents, hashes_);
  file_->put(header.data(), header.size(), 0);
  file_->flush();
  if (!file_->is_at(file_->path()))
    throw std::runtime_error(fmt::format("{} was removed while it was written", file_->path().string()));
  publish(file_->path(), lookup_.file);
  file_->keep();
  std::error_code ignored;
  for (const fs::path& outdated : lookup_.outdated)
    if (outdated != lookup_.file) fs::remove(outdated, ignored);
}

}  // namespace

struct CacheWriter::State {
  std::unique_ptr<CacheFile> file;
  std::atomic<bool> on{false};
  mutable std::mutex mutex;
  std::string trouble;

  void fail(const CacheLookup& lookup, const std::string& why) {
    const std::lock_guard lock(mutex);
    on = false;
    if (trouble.empty())
      trouble = fmt::format("the quantized file {} is not written: {}", lookup.file.string(), why);
  }
};

CacheWriter::CacheWriter(const Source& source, const CacheLookup& lookup)
    : state_(std::make_unique<State>()), lookup_(lookup) {
  if (lookup.key.source.files.empty()) {
    state_->trouble = lookup.sentence;
    return;
  }
  try {
    state_->file = std::make_unique<CacheFile>(source, lookup);
    state_->on = true;
  } catch (const std::exception& error) {
    state_->fail(lookup_, error.what());
  }
}

CacheWriter::~CacheWriter() = default;

bool CacheWriter::on() const { return state_->on.load(std::memory_order_relaxed); }

std::string CacheWriter::trouble() const {
  const std::lock_guard lock(state_->mutex);
  return state_->trouble;
}

void CacheWriter::put(std::size_t tensor, std::int64_t first_row, std::int64_t rows,
                      std::span<const IndexRange> columns, const std::byte* bytes) {
  if (!on()) return;
  try {
    state_->file->put(tensor, first_row, rows, columns, bytes);
  } catch (const std::runtime_error& error) {
    state_->fail(lookup_, error.what());
  }
}

bool CacheWriter::finish(ThreadPool& pool) {
  if (!on()) return false;
  try {
    state_->file->finish(pool);
  } catch (const std::exception& error) {
    state_->fail(lookup_, error.what());
    state_->file = nullptr;
    return false;
  }
  state_->on = false;
  state_->file = nullptr;
  return true;
}

std::uint64_t CacheWriter::file_bytes() const { return state_->file ? state_->file->file_bytes() : 0; }

}  // namespace crossover
