#include "engine/load/fetch_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

namespace crossover {

namespace {

std::uint64_t checked_bytes(const SourceFiles& files, const FetchItem& item, const ReadRules& rules) {
  for (const Extent& extent : item.extents) {
    const bool known = extent.file >= 0 && static_cast<std::size_t>(extent.file) < files.count();
    const std::uint64_t size = known ? files.bytes(extent.file) : 0;
    if (!known || extent.offset > size || extent.bytes > size - extent.offset)
      throw std::invalid_argument(fmt::format("tensor {} ({}) is wanted from byte {} to {} of file {}, which has {} bytes",
                                              item.tensor->name, item.tensor->stored_as, extent.offset, extent.offset + extent.bytes,
                                              extent.file, size));
  }
  return plan_reads(item.extents, rules).staging_bytes;
}

}  // namespace

Fetcher::State::State(const SourceFiles& from, std::vector<FetchItem> list, const FetchOptions& chosen)
    : files(from), wanted(std::move(list)), options(chosen), reader(from, chosen.mode), items(std::make_unique<Item[]>(wanted.size())) {
  if (options.threads < 1 || options.buffer_bytes < 1)
    throw std::invalid_argument(
        fmt::format("fetching takes at least one reader and one byte of buffer, not {} and {}", options.threads, options.buffer_bytes));
  std::uint64_t largest = 0, all = 0;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    items[i].bytes = checked_bytes(files, wanted[i], reader.rules());
    largest = std::max(largest, items[i].bytes);
    all += items[i].bytes;
  }
  if (!mapped()) staging.emplace(std::min(all, std::max(largest, static_cast<std::uint64_t>(options.buffer_bytes))));
  if (options.mode == ReadMode::kUring) idle_rings.push_back(std::make_unique<ReadRing>(reader, depth()));
}

void Fetcher::State::start() {
  if (!options.ahead) return;
  const bool ring = options.mode == ReadMode::kUring;
  const std::size_t count = ring ? 1 : static_cast<std::size_t>(options.threads);
  traces.resize(count);
  for (Trace& trace : traces) trace.delay_once(options.delay);
  for (Trace& trace : traces) readers.emplace_back([this, ring, &trace] { ring ? run_ring(trace) : run_reader(trace); });
}

void Fetcher::State::stop(const std::string& reason) {
  fail(0, reason);
  for (std::thread& thread : readers) thread.join();
  readers.clear();
}

// With the mutex held.
bool Fetcher::State::admit(std::size_t i) {
  Item& item = items[i];
  if (used > 0 && used + item.bytes > static_cast<std::uint64_t>(options.buffer_bytes)) return false;
  if (staging && item.bytes > 0 && !(item.staging = staging->take(item.bytes))) return false;
  item.plan = plan_reads(wanted[i].extents, reader.rules());
  item.stage = item.plan.requests.empty() ? Stage::kThere : Stage::kReading;
  used += item.bytes;
  peak = std::max(peak, used);
  return true;
}

// With the mutex held.
void Fetcher::State::free_room(Item& item) {
  if (item.staging) staging->give_back(item.staging);
  used -= item.bytes;
  item.stage = Stage::kReleased;
  item.plan = {};
  item.pointers = {};
  room.notify_all();
}

// The next request; none when all are claimed, when reading has failed, or when there is no room and `may_wait` is false.
std::optional<Fetcher::State::Claim> Fetcher::State::claim(Trace* trace, bool may_wait) {
  std::unique_lock lock(mutex);
  while (failed == kNone && front < wanted.size()) {
    Item& item = items[front];
    if (item.stage == Stage::kAhead && !admit(front)) {
      if (!may_wait) return {};
      const Range range(trace, "wait");
      room.wait(lock, [&] { return failed != kNone || item.stage != Stage::kAhead || admit(front); });
      continue;
    }
    if (item.stage == Stage::kThere) {
      item.there.notify_one();
      ++front;
      continue;
    }
    const ReadRequest& request = item.plan.requests[item.claimed];
    const Claim next{front, {&request, item.staging ? item.staging + request.to : nullptr, wanted[front].tensor, 0}};
    if (++item.claimed == item.plan.requests.size()) ++front;
    return next;
  }
  return {};
}

void Fetcher::State::arrived(std::size_t i, std::uint64_t bytes) {
  const std::scoped_lock lock(mutex);
  asked += bytes;
  Item& item = items[i];
  if (++item.arrived < item.plan.requests.size()) return;
  item.stage = Stage::kThere;
  item.there.notify_one();
}

// The first reason is kept: later ones follow from it.
void Fetcher::State::fail(std::size_t i, const std::string& reason) {
  const std::scoped_lock lock(mutex);
  if (why.empty() || (i > 0 && i < failed)) why = reason;
  failed = std::min(failed, i);
  for (std::size_t later = i; later < wanted.size(); ++later) items[later].there.notify_all();
  room.notify_all();
}

}  // namespace crossover
