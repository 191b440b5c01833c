// Finds added tokens in a text.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace crossover {

class AddedTokenFinder {
 public:
  void add(std::string text, std::int32_t id);

  struct Part {
    std::string_view text;
    std::int32_t id;  // -1: ordinary text
  };
  // Leftmost first, longest at each position; ordinary parts are never empty.
  std::vector<Part> cut(std::string_view text) const;

 private:
  std::unordered_map<std::string_view, std::int32_t> ids_;  // views into texts_
  std::vector<std::unique_ptr<const std::string>> texts_;
  std::array<std::vector<std::size_t>, 256> lengths_by_first_byte_;  // falling
};

}  // namespace crossover
