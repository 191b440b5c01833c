#include "engine/text/bpe.h"

#include <algorithm>
#include <functional>
#include <queue>
#include <tuple>

namespace crossover {
namespace {

constexpr std::int32_t kNone = -1;

struct Symbol {
  std::int32_t id;              // kNone: joined into the symbol before it
  std::int32_t previous, next;  // places in the piece
};

struct Candidate {
  std::int32_t rank, place, left, right;  // the pair as it was when the candidate was made
  bool operator>(const Candidate& other) const { return std::tie(rank, place) > std::tie(other.rank, other.place); }
};

}  // namespace

const Bpe::Merge* Bpe::find(std::int32_t left, std::int32_t right) const {
  const auto it = merges_.find(key(left, right));
  return it == merges_.end() ? nullptr : &it->second;
}

void Bpe::encode(std::string_view piece, std::vector<std::int32_t>& ids) const {
  const auto size = static_cast<std::int32_t>(piece.size());
  std::vector<Symbol> symbols(piece.size());
  for (std::int32_t i = 0; i < size; ++i)
    symbols[i] = {byte_tokens_[static_cast<unsigned char>(piece[i])], i - 1, i + 1 < size ? i + 1 : kNone};

  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
  const auto offer = [&](std::int32_t place) {
    if (place == kNone || symbols[place].next == kNone) return;
    const std::int32_t left = symbols[place].id, right = symbols[symbols[place].next].id;
    if (const Merge* merge = find(left, right)) queue.push({merge->rank, place, left, right});
  };
  for (std::int32_t i = 0; i < size; ++i) offer(i);

  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    Symbol& left = symbols[best.place];
    if (left.id != best.left || left.next == kNone || symbols[left.next].id != best.right) continue;
    Symbol& right = symbols[left.next];
    left.id = find(best.left, best.right)->merged;
    left.next = right.next;
    if (right.next != kNone) symbols[right.next].previous = best.place;
    right.id = kNone;
    offer(left.previous);
    offer(best.place);
  }
  for (std::int32_t i = 0; i != kNone && i < size; i = symbols[i].next) ids.push_back(symbols[i].id);
}

}  // namespace crossover
