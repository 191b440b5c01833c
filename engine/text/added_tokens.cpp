#include "engine/text/added_tokens.h"

#include <algorithm>
#include <functional>

namespace crossover {

void AddedTokenFinder::add(std::string text, std::int32_t id) {
  texts_.push_back(std::make_unique<const std::string>(std::move(text)));
  const std::string& kept = *texts_.back();
  ids_.emplace(kept, id);
  std::vector<std::size_t>& lengths = lengths_by_first_byte_[static_cast<unsigned char>(kept[0])];
  const auto place = std::lower_bound(lengths.begin(), lengths.end(), kept.size(), std::greater<>());
  if (place == lengths.end() || *place != kept.size()) lengths.insert(place, kept.size());
}

std::vector<AddedTokenFinder::Part> AddedTokenFinder::cut(std::string_view text) const {
  std::vector<Part> parts;
  std::size_t begin = 0;
  for (std::size_t at = 0; at < text.size();) {
    auto found = ids_.end();
    for (const std::size_t length : lengths_by_first_byte_[static_cast<unsigned char>(text[at])]) {
      if (length <= text.size() - at) found = ids_.find(text.substr(at, length));
      if (found != ids_.end()) break;
    }
    if (found == ids_.end()) {
      ++at;
      continue;
    }
    if (at > begin) parts.push_back({text.substr(begin, at - begin), -1});
    parts.push_back({text.substr(at, found->first.size()), found->second});
    begin = at += found->first.size();
  }
  if (begin < text.size()) parts.push_back({text.substr(begin), -1});
  return parts;
}

}  // namespace crossover
