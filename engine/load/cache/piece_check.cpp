#include "engine/load/cache/piece_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

namespace crossover {

PieceCheck::PieceCheck(std::shared_ptr<const CacheHeader> header)
    : header_(std::move(header)), taken_(std::make_unique<std::atomic<bool>[]>(header_->piece_hashes.size())) {}

std::uint64_t PieceCheck::bytes_of(std::int64_t piece) const {
  const std::uint64_t start = static_cast<std::uint64_t>(piece) * kCachePieceBytes;
  return start >= header_->data_bytes ? 0 : std::min(kCachePieceBytes, header_->data_bytes - start);
}

PieceCheck::Pieces PieceCheck::covering(std::uint64_t offset, std::uint64_t bytes) const {
  const std::uint64_t start = std::max(offset, data_offset()) - data_offset();
  const std::uint64_t end = std::max(offset + bytes, data_offset()) - data_offset();
  if (start >= end) return {static_cast<std::int64_t>(start / kCachePieceBytes), 0};
  const auto first = static_cast<std::int64_t>(start / kCachePieceBytes);
  return {first, static_cast<std::int64_t>((end - 1) / kCachePieceBytes) + 1 - first};
}

void PieceCheck::check(std::int64_t first, const std::byte* bytes, std::int64_t count) const {
  if (first < 0 || count < 0 || first > pieces() - count)
    throw std::invalid_argument(fmt::format("{} has {} pieces, asked for {} from {}", header_->file.string(), pieces(), count, first));
  for (std::int64_t piece = first; piece < first + count; ++piece) {
    if (hash64(bytes, bytes_of(piece)) != header_->piece_hashes[static_cast<std::size_t>(piece)]) fail(piece);
    bytes += bytes_of(piece);
  }
  checked_.fetch_add(count, std::memory_order_relaxed);
}

void PieceCheck::check_once(const std::byte* mapping, std::uint64_t offset, std::uint64_t bytes) {
  const Pieces wanted = covering(offset, bytes);
  for (std::int64_t piece = wanted.first; piece < wanted.first + wanted.count; ++piece) {
    if (piece < pieces() && taken_[static_cast<std::size_t>(piece)].exchange(true, std::memory_order_relaxed)) continue;
    check(piece, mapping + data_offset() + static_cast<std::uint64_t>(piece) * kCachePieceBytes, 1);
  }
}

void PieceCheck::fail(std::int64_t piece) const {
  const std::uint64_t start = data_offset() + static_cast<std::uint64_t>(piece) * kCachePieceBytes, end = start + bytes_of(piece);
  std::string names;
  for (const auto& [name, tensor] : header_->gguf.stored.tensors)
    if (tensor.offset < end && tensor.offset + tensor.bytes > start) names += (names.empty() ? "" : ", ") + name;
  throw DamagedPiece(fmt::format("{}: bytes {} to {} (piece {} of {}; tensor {}) are not what was written; the file is damaged",
                                       header_->file.string(), start, end, piece, pieces(), names.empty() ? "none" : names));
}

}  // namespace crossover
