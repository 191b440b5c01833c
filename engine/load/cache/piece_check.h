// Proves that what was read from a quantized cache file is what was written to it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>

#include "engine/load/cache/cache_header.h"

namespace crossover {

// A piece that is not what was written. Names file, tensor and piece.
struct DamagedPiece : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class PieceCheck {
 public:
  explicit PieceCheck(std::shared_ptr<const CacheHeader> header);

  static constexpr std::uint64_t piece_bytes() { return kCachePieceBytes; }
  std::uint64_t data_offset() const { return header_->gguf.data_start; }  // where piece 0 begins in the file
  std::int64_t pieces() const { return static_cast<std::int64_t>(header_->piece_hashes.size()); }
  std::uint64_t bytes_of(std::int64_t piece) const;  // the last one may be shorter

  struct Pieces {
    std::int64_t first, count;
  };
  // The pieces that hold bytes [offset, offset + bytes) of the file (the header needs none).
  Pieces covering(std::uint64_t offset, std::uint64_t bytes) const;

  // `bytes` are whole pieces first .. first+count-1, one after another, wherever they were read to. DamagedPiece names the
  // first that is not what was written. Safe to call from several threads.
  void check(std::int64_t first, const std::byte* bytes, std::int64_t count) const;

  // The same with the whole file at `mapping`, for the pieces of a range of the file that no call of any thread has taken yet:
  // what several ranks read is hashed once. A load may be used when all its calls have returned.
  void check_once(const std::byte* mapping, std::uint64_t offset, std::uint64_t bytes);
  std::int64_t checked() const { return checked_.load(std::memory_order_relaxed); }  // pieces hashed

 private:
  [[noreturn]] void fail(std::int64_t piece) const;

  std::shared_ptr<const CacheHeader> header_;
  std::unique_ptr<std::atomic<bool>[]> taken_;
  mutable std::atomic<std::int64_t> checked_{0};
};

}  // namespace crossover
