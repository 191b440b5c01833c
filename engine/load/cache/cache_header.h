// The header of a quantized cache file: a GGUF file whose metadata `crossover.cache.*` say what it was made from and hold a
// hash of every piece of its data. Every byte of the file is covered: data by the piece hashes, the times of the source files
// by a hash of their own (they may change without the content), all other header bytes by the header hash.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "engine/checkpoint/gguf.h"
#include "engine/checkpoint/gguf_layout.h"
#include "engine/load/cache/source_identity.h"

namespace crossover {

// Raised whenever the bytes that any quantizer makes, or the order of a tensor's values, change.
inline constexpr std::uint32_t kQuantizerVersion = 1;
inline constexpr std::uint64_t kCachePieceBytes = 1u << 20;

// What a cache file must be of to be used.
struct CacheKey {
  SourceIdentity source;
  std::string type;            // "q6_k"
  std::uint64_t type_map = 0;  // hash of name, type and shape of every tensor

  std::string digits() const;  // 16: of everything but the times and the place of the source
};
CacheKey cache_key(const Source& source, DType type);

struct CacheHeader {
  std::filesystem::path file;
  std::uint32_t quantizer = 0;
  CacheKey key;
  std::vector<Hash128> contents;  // of key.source.files
  bool times_intact = false;
  std::vector<std::uint64_t> piece_hashes;
  std::uint64_t data_bytes = 0;  // behind gguf.data_start, to the end of the file
  GgufHeader gguf;

  // Why a file made from `wanted` may not be taken from this one; empty when it may. Times are not compared.
  std::string difference(const CacheKey& wanted) const;
};

// std::runtime_error names the file and what is damaged.
CacheHeader read_cache_header(const std::filesystem::path& file);

// Whether a GGUF file says it is one of ours.
bool is_cache_header(const GgufHeader& header);

// Stores the times of `now` in a file that has others. std::runtime_error when it cannot be written.
void store_times(const CacheHeader& header, const SourceIdentity& now);

// The header bytes of a file to be written: made when the layout is known, filled in when the hashes are.
class CacheHeaderBytes {
 public:
  CacheHeaderBytes(const Source& source, const GgufLayout& layout, const CacheKey& key);
  std::uint64_t size() const { return bytes_.size(); }
  const std::string& fill(std::span<const Hash128> contents, std::span<const std::uint64_t> piece_hashes);

 private:
  void set(std::size_t at, const void* values, std::size_t count);

  std::string bytes_;
  std::size_t contents_at_ = 0, pieces_at_ = 0, header_hash_at_ = 0;
  std::vector<std::pair<std::size_t, std::size_t>> uncovered_;  // by the header hash: offset, bytes
};

}  // namespace crossover
