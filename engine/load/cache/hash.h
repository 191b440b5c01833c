// XXH3: hashes files at the speed of memory. It finds damage; it does not resist an attacker.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

namespace crossover {

using Hash128 = std::array<std::uint64_t, 2>;  // low, high half

// Delivers bytes [at, at + count) of what is hashed.
using ReadBytes = std::function<void(std::byte* to, std::uint64_t at, std::uint64_t count)>;

std::uint64_t hash64(const void* bytes, std::size_t count);
Hash128 hash128(const void* bytes, std::size_t count);

// The same of bytes that are read in chunks that stay in the cache of the core.
std::uint64_t hash64(std::uint64_t count, const ReadBytes& read);
Hash128 hash128(std::uint64_t count, const ReadBytes& read);

std::string hex(std::uint64_t value);  // 16 digits

}  // namespace crossover
