#include <fmt/format.h>

#include <algorithm>
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

}  // namespace

std::vector<Extent> Fetcher::State::extents_of(const Batch& batch) const {
  std::vector<Extent> all;
  for (std::size_t i = batch.first; i < batch.first + batch.count; ++i)
    all.insert(all.end(), wanted[i].extents.begin(), wanted[i].extents.end());
  return all;
}

// A quarter of the buffer at most, so that a slow worker does not stop the readers. What most of an item lies in is not read again for
// it, within twice that or twice the item, and half the buffer.
void Fetcher::State::make_batches() {
  const auto buffer_bytes = static_cast<std::uint64_t>(options.buffer_bytes);
  const std::uint64_t most_bytes = options.ahead ? std::min(reader.rules().request_bytes, buffer_bytes / 4) : 0;
  std::size_t first = 0;
  std::uint64_t sum = 0;
  std::vector<Extent> extents;  // of the batch
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    check_extents(files, wanted[i]);
    const std::uint64_t alone = plan_reads(wanted[i].extents, reader.rules()).staging_bytes;
    extents.insert(extents.end(), wanted[i].extents.begin(), wanted[i].extents.end());
    const std::uint64_t together = i > first ? plan_reads(extents, reader.rules()).staging_bytes : alone;
    const std::uint64_t added = together - std::min(sum, together);
    const bool mostly_there = 2 * added <= alone && together <= std::min(2 * std::max(most_bytes, alone), buffer_bytes / 2);
    if (i > first && (!options.ahead || (added > 0 && together > most_bytes && !mostly_there))) {
      close_batch(first, i, sum);
      first = i;
      extents = wanted[i].extents;
      sum = alone;
    } else {
      sum = together;
    }
  }
  if (first < wanted.size()) close_batch(first, wanted.size(), sum);
}

void Fetcher::State::close_batch(std::size_t first, std::size_t end, std::uint64_t bytes) {
  std::uint32_t extents = 0;
  for (std::size_t i = first; i < end; ++i) {
    items[i].batch = static_cast<std::uint32_t>(batches.size());
    items[i].first_extent = extents;
    extents += static_cast<std::uint32_t>(wanted[i].extents.size());
  }
  batches.push_back({first, end - first, bytes, nullptr});
}

}  // namespace crossover
