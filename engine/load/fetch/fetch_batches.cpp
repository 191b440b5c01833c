#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <stdexcept>

#include "engine/load/fetch/fetch_state.h"

namespace crossover {

namespace {

void check_extents(const SourceFiles& files, const FetchItem& item) {
  for (const Extent& extent : item.extents) {
    const bool known = extent.file >= 0 && static_cast<std::size_t>(extent.file) < files.count();
    const std::uint64_t size = known ? files.bytes(extent.file) : 0;
    if (!known || extent.offset > size || extent.bytes > size - extent.offset)
      throw std::invalid_argument(fmt::format("tensor {} ({}) is wanted from byte {} on, {} bytes of file {}, which has {} bytes",
                                              item.tensor->name, item.tensor->stored_as, extent.offset, extent.bytes, extent.file, size));
  }
}

// Whether an item wants one stretch that begins in that of `before`, as neighbours do that are checked by common pieces: what it adds is
// counted then, in bytes; otherwise nothing is returned.
std::optional<std::uint64_t> added_to(const Extent* before, const std::vector<Extent>& extents, std::uint64_t alignment) {
  if (!before || extents.size() != 1 || extents[0].file != before->file) return {};
  const std::uint64_t end = before->offset + before->bytes, begin = extents[0].offset;
  if (begin < before->offset || begin >= end) return {};
  return round_up(std::max(end, begin + extents[0].bytes), alignment) - round_up(end, alignment);
}

}  // namespace

std::vector<Extent> Fetcher::State::extents_of(const Batch& batch) const {
  std::vector<Extent> all;
  for (std::size_t i = batch.first; i < batch.first + batch.count; ++i)
    all.insert(all.end(), wanted[i].extents.begin(), wanted[i].extents.end());
  return all;
}

// A quarter of the buffer at most, so that a slow worker does not stop the readers.
void Fetcher::State::make_batches() {
  const std::uint64_t most_bytes =
      options.ahead ? std::min(reader.rules().request_bytes, static_cast<std::uint64_t>(options.buffer_bytes) / 4) : 0;
  std::size_t first = 0;
  std::uint64_t sum = 0;
  const Extent* last = nullptr;  // the stretch of the item before, where it has just one
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    check_extents(files, wanted[i]);
    const std::uint64_t alone = plan_reads(wanted[i].extents, reader.rules()).staging_bytes;
    std::uint64_t bytes = added_to(last, wanted[i].extents, reader.rules().alignment).value_or(alone);
    if (i > first && (!options.ahead || (bytes > 0 && sum + bytes > most_bytes))) {
      close_batch(first, i, std::max(sum, most_bytes));
      first = i;
      sum = 0;
      bytes = alone;
    }
    sum += bytes;
    last = wanted[i].extents.size() == 1 ? wanted[i].extents.data() : nullptr;
  }
  if (first < wanted.size()) close_batch(first, wanted.size(), std::max(sum, most_bytes));
}

// Items of which the gaps between them are what is large stay apart.
void Fetcher::State::close_batch(std::size_t first, std::size_t end, std::uint64_t most_bytes) {
  Batch batch{first, end - first, 0, nullptr};
  batch.bytes = plan_reads(extents_of(batch), reader.rules()).staging_bytes;
  if (batch.count > 1 && batch.bytes > 2 * most_bytes) {
    for (std::size_t i = first; i < end; ++i) close_batch(i, i + 1, most_bytes);
    return;
  }
  std::uint32_t extents = 0;
  for (std::size_t i = first; i < end; ++i) {
    items[i].batch = static_cast<std::uint32_t>(batches.size());
    items[i].first_extent = extents;
    extents += static_cast<std::uint32_t>(wanted[i].extents.size());
  }
  batches.push_back(std::move(batch));
}

}  // namespace crossover
