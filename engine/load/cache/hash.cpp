#include "engine/load/cache/hash.h"

#include <fmt/format.h>

#define XXH_STATIC_LINKING_ONLY  // XXH3_state_t as a value
#include <xxhash.h>

#include <algorithm>

namespace crossover {
namespace {

constexpr std::uint64_t kChunkBytes = 64u << 10;

template <class Add>
void in_chunks(std::uint64_t count, const ReadBytes& read, Add&& add) {
  std::array<std::byte, kChunkBytes> chunk;
  for (std::uint64_t at = 0; at < count;) {
    const std::uint64_t n = std::min(count - at, kChunkBytes);
    read(chunk.data(), at, n);
    add(chunk.data(), n);
    at += n;
  }
}

Hash128 halves(XXH128_hash_t hash) { return {hash.low64, hash.high64}; }

}  // namespace

std::uint64_t hash64(const void* bytes, std::size_t count) { return XXH3_64bits(bytes, count); }
Hash128 hash128(const void* bytes, std::size_t count) { return halves(XXH3_128bits(bytes, count)); }

std::uint64_t hash64(std::uint64_t count, const ReadBytes& read) {
  XXH3_state_t state;
  XXH3_64bits_reset(&state);
  in_chunks(count, read, [&](const std::byte* bytes, std::uint64_t n) { XXH3_64bits_update(&state, bytes, n); });
  return XXH3_64bits_digest(&state);
}

Hash128 hash128(std::uint64_t count, const ReadBytes& read) {
  XXH3_state_t state;
  XXH3_128bits_reset(&state);
  in_chunks(count, read, [&](const std::byte* bytes, std::uint64_t n) { XXH3_128bits_update(&state, bytes, n); });
  return halves(XXH3_128bits_digest(&state));
}

std::string hex(std::uint64_t value) { return fmt::format("{:016x}", value); }

}  // namespace crossover
