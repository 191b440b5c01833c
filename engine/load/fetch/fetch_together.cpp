#include "engine/load/fetch/fetch_together.h"

#include <algorithm>
#include <numeric>
#include <tuple>
#include <utility>

namespace crossover {
namespace {

std::tuple<std::int32_t, std::uint64_t> place(const FetchItem& item) {
  return item.extents.empty() ? std::tuple(-1, std::uint64_t{0}) : std::tuple(item.extents[0].file, item.extents[0].offset);
}

// What a part wants next of one tensor.
struct Stretch {
  std::size_t part, next, end;  // of the part's items
  std::size_t done = 0;

  std::size_t count() const { return end - next + done; }
  // Less of it done than of the other: compared at the middle of the next item, so that equal parts take turns.
  bool is_behind(const Stretch& other) const { return (2 * done + 1) * other.count() < (2 * other.done + 1) * count(); }
};

std::uint64_t extent_bytes(const std::vector<FetchItem>& items) {
  std::uint64_t bytes = 0;
  for (const FetchItem& item : items)
    for (const Extent& extent : item.extents) bytes += extent.bytes;
  return bytes;
}

}  // namespace

FetchOrder merge_items(std::vector<std::vector<FetchItem>> parts) {
  FetchOrder order;
  order.item_of.resize(parts.size());
  std::vector<std::size_t> next(parts.size());
  for (;;) {
    std::size_t first = parts.size();
    for (std::size_t p = 0; p < parts.size(); ++p)
      if (next[p] < parts[p].size() && (first == parts.size() || place(parts[p][next[p]]) < place(parts[first][next[first]]))) first = p;
    if (first == parts.size()) return order;
    const SourceTensor* const tensor = parts[first][next[first]].tensor;
    std::vector<Stretch> stretches;
    for (std::size_t p = 0; p < parts.size(); ++p) {
      std::size_t end = next[p];
      while (end < parts[p].size() && parts[p][end].tensor == tensor) ++end;
      if (end > next[p]) stretches.push_back({p, next[p], end});
      next[p] = end;
    }
    for (;;) {
      Stretch* behind = nullptr;
      for (Stretch& stretch : stretches)
        if (stretch.next < stretch.end && (!behind || stretch.is_behind(*behind))) behind = &stretch;
      if (!behind) break;
      order.item_of[behind->part].push_back(order.items.size());
      order.items.push_back(std::move(parts[behind->part][behind->next]));
      ++behind->next, ++behind->done;
    }
  }
}

void FetchTogether::join(std::size_t part, const SourceFiles& files, std::vector<FetchItem> items, const FetchOptions& options) {
  wanted_bytes_[part] = extent_bytes(items);
  wanted_[part] = std::move(items);
  meet_();
  if (part == 0) {
    order_ = merge_items(std::move(wanted_));
    FetchOptions all = options;
    all.buffer_bytes *= static_cast<std::int64_t>(wanted_bytes_.size());
    all.threads *= static_cast<int>(wanted_bytes_.size());
    fetcher_.emplace(files, std::move(order_.items), all);
  }
  meet_();
}

void FetchTogether::leave(std::size_t part) {
  meet_();
  if (part == 0)
    for (const Trace* reader : fetcher_->reader_traces()) readers_.push_back(*reader);
  meet_();
}

std::int64_t FetchTogether::share(std::size_t part, std::int64_t bytes) const {
  const auto before = [&](std::size_t end) {
    const double all = static_cast<double>(std::accumulate(wanted_bytes_.begin(), wanted_bytes_.end(), std::uint64_t{0}));
    const double sum = static_cast<double>(std::accumulate(wanted_bytes_.begin(), wanted_bytes_.begin() + static_cast<std::ptrdiff_t>(end), std::uint64_t{0}));
    return all > 0 ? static_cast<std::int64_t>(static_cast<double>(bytes) * (sum / all)) : 0;
  };
  return before(part + 1) - before(part);
}

}  // namespace crossover
