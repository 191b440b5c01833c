// Byte-pair merging of one piece of text.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace crossover {

class Bpe {
 public:
  struct Merge {
    std::int32_t rank;  // lower merges first
    std::int32_t merged;
  };
  using ByteTokens = std::array<std::int32_t, 256>;

  Bpe() = default;
  explicit Bpe(const ByteTokens& byte_tokens) : byte_tokens_(byte_tokens) {}

  // False when the pair already has a merge.
  bool add(std::int32_t left, std::int32_t right, Merge merge) {
    return merges_.emplace(key(left, right), merge).second;
  }

  // Appends the tokens of the piece, always joining the pair of lowest rank and of equals the leftmost; n log n.
  void encode(std::string_view piece, std::vector<std::int32_t>& ids) const;

 private:
  static std::uint64_t key(std::int32_t left, std::int32_t right) {
    return std::uint64_t{static_cast<std::uint32_t>(left)} << 32 | static_cast<std::uint32_t>(right);
  }
  const Merge* find(std::int32_t left, std::int32_t right) const;

  ByteTokens byte_tokens_{};
  std::unordered_map<std::uint64_t, Merge> merges_;
};

}  // namespace crossover
