// Ranks of one process that load the same files at the same time read what several of them want once: a column shard's rows hold the
// columns of every rank, and pieces that are checked whole belong to neighbours.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "engine/load/fetch/fetch.h"

namespace crossover {

// The items of several parts in one order that keeps each part's own: tensor by tensor, inside one every part as far along as the others,
// so that the same rows are wanted at the same time and no part waits while another's half of a large tensor is read.
struct FetchOrder {
  std::vector<FetchItem> items;
  std::vector<std::vector<std::size_t>> item_of;  // [part][its index]: index into items
};
FetchOrder merge_items(std::vector<std::vector<FetchItem>> parts);

// One fetcher for all parts, with the buffer and the readers of each. Every part has a thread that calls join() and then leave().
class FetchTogether {
 public:
  // meet: returns once every part has called it, and throws where one never will.
  FetchTogether(std::size_t parts, std::function<void()> meet) : meet_(std::move(meet)), wanted_(parts), wanted_bytes_(parts) {}

  // Returns when all have joined. The same files and options from each. Throws what Fetcher's constructor does.
  void join(std::size_t part, const SourceFiles& files, std::vector<FetchItem> items, const FetchOptions& options);
  Fetcher& fetcher() { return *fetcher_; }
  std::size_t item(std::size_t part, std::size_t index) const { return order_.item_of[part][index]; }

  // After the part's last release: returns when all have left, and the readers are done.
  void leave(std::size_t part);
  std::size_t parts() const { return wanted_bytes_.size(); }
  const std::vector<Trace>& readers() const { return readers_; }
  // Of what all read, and of the buffer at its fullest: what falls to this part by the bytes that it wanted.
  std::int64_t bytes_read(std::size_t part) const { return share(part, fetcher_->bytes_read()); }
  std::int64_t peak_buffer_bytes(std::size_t part) const { return share(part, fetcher_->peak_buffer_bytes()); }

 private:
  std::int64_t share(std::size_t part, std::int64_t bytes) const;

  std::function<void()> meet_;
  std::vector<std::vector<FetchItem>> wanted_;  // until all have joined
  std::vector<std::uint64_t> wanted_bytes_;
  FetchOrder order_;
  std::optional<Fetcher> fetcher_;
  std::vector<Trace> readers_;
};

}  // namespace crossover
