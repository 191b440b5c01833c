#include "engine/load/fetch.h"

#include <fmt/format.h>

#include <stdexcept>

#include "engine/load/fetch_state.h"

namespace crossover {

namespace {
constexpr std::byte kNoBytes{};  // where extents without bytes point
}

// For whoever holds the item.
void Fetcher::State::give_up(std::size_t i, const std::string& reason) {
  fail(i, reason);
  const std::scoped_lock lock(mutex);
  free_room(items[i]);
}

void Fetcher::State::run_reader(Trace& trace) {
  std::size_t working_on = 0;
  try {
    while (const std::optional<Claim> next = claim(&trace, true)) {
      working_on = next->item;
      {
        const Range range(&trace, "read");
        reader.read(next->read);
      }
      arrived(next->item, next->read.request->bytes);
    }
  } catch (const std::exception& error) {
    fail(working_on, error.what());
  }
}

void Fetcher::State::run_ring(Trace& trace) {
  const std::unique_ptr<ReadRing> ring = std::move(idle_rings.back());
  std::vector<Claim> claims(depth());
  std::vector<std::size_t> free(claims.size());
  for (std::size_t i = 0; i < free.size(); ++i) free[i] = i;
  try {
    for (;;) {
      while (!free.empty()) {
        const std::optional<Claim> next = claim(&trace, ring->idle());
        if (!next) break;
        claims[free.back()] = *next;
        ring->start(next->read, free.back());
        free.pop_back();
      }
      if (ring->idle()) return;
      const Range range(&trace, "read");
      ring->wait([&](std::uint64_t tag, const std::string& error) {
        const Claim& done = claims[tag];
        if (error.empty())
          arrived(done.item, done.read.request->bytes);
        else
          fail(done.item, error);
        free.push_back(tag);
      });
    }
  } catch (const std::exception& error) {  // the ring itself: nothing that is in flight can be counted on
    fail(0, error.what());
  }
}

void Fetcher::State::await(std::size_t i, Trace* trace) {
  std::unique_lock lock(mutex);
  Item& item = items[i];
  const auto over = [&] { return i >= failed || item.stage >= Stage::kThere; };
  if (!over()) {
    const Range range(trace, "wait");
    item.there.wait(lock, over);
  }
  if (i >= failed) throw std::runtime_error(why);
  if (item.stage != Stage::kThere) throw std::invalid_argument(fmt::format("item {} was acquired before", i));
  item.stage = Stage::kAcquired;
}

void Fetcher::State::fetch_here(std::size_t i, Trace* trace) {
  {
    std::unique_lock lock(mutex);
    if (items[i].stage != Stage::kAhead) throw std::invalid_argument(fmt::format("item {} was acquired before", i));
    const std::uint64_t mine = ticket++;
    queue.insert(mine);
    const auto over = [&] { return i >= failed || (*queue.begin() == mine && admit(i)); };
    if (!over()) {
      const Range range(trace, "wait");
      room.wait(lock, over);
    }
    queue.erase(mine);
    room.notify_all();  // the next in the queue
    if (i >= failed) throw std::runtime_error(why);
  }
  try {
    const Range range(trace, "read");
    options.mode == ReadMode::kUring ? read_by_ring(i) : read_here(i);
  } catch (const std::exception& error) {
    give_up(i, error.what());
    throw;
  }
  const std::scoped_lock lock(mutex);
  for (const ReadRequest& request : items[i].plan.requests) asked += request.bytes;
  items[i].stage = Stage::kAcquired;
}

void Fetcher::State::read_here(std::size_t i) {
  const Item& item = items[i];
  for (const ReadRequest& request : item.plan.requests)
    reader.read({&request, item.staging ? item.staging + request.to : nullptr, wanted[i].tensor, 0});
}

void Fetcher::State::read_by_ring(std::size_t i) {
  std::unique_ptr<ReadRing> ring;
  {
    const std::scoped_lock lock(mutex);
    if (!idle_rings.empty()) {
      ring = std::move(idle_rings.back());
      idle_rings.pop_back();
    }
  }
  if (!ring) ring = std::make_unique<ReadRing>(reader, depth());
  const Item& item = items[i];
  std::string failure;
  auto next = item.plan.requests.begin(), end = item.plan.requests.end();
  while (next != end || !ring->idle()) {
    for (; next != end && !ring->full(); ++next) ring->start({&*next, item.staging + next->to, wanted[i].tensor, 0}, 0);
    ring->wait([&](std::uint64_t, const std::string& error) {
      if (failure.empty()) failure = error;
    });
    if (!failure.empty()) next = end;
  }
  {
    const std::scoped_lock lock(mutex);
    idle_rings.push_back(std::move(ring));
  }
  if (!failure.empty()) throw std::runtime_error(failure);
}

// An acquired item belongs to its acquirer. Files may have shrunk since a reader populated the pages.
void Fetcher::State::locate(std::size_t i) {
  Item& item = items[i];
  const std::vector<Extent>& extents = wanted[i].extents;
  if (mapped())
    for (const ReadRequest& request : item.plan.requests) files.view(request.file, request.offset, request.needed_bytes, *wanted[i].tensor);
  item.pointers.reserve(extents.size());
  for (std::size_t e = 0; e < extents.size(); ++e)
    item.pointers.push_back(extents[e].bytes == 0 ? &kNoBytes
                            : mapped()            ? files.mapped(extents[e].file) + extents[e].offset
                                                  : item.staging + item.plan.extent_at[e]);
}

Fetcher::Fetcher(const SourceFiles& files, std::vector<FetchItem> items, const FetchOptions& options)
    : state_(std::make_unique<State>(files, std::move(items), options)) {
  state_->start();
}

Fetcher::~Fetcher() = default;

std::span<const std::byte* const> Fetcher::acquire(std::size_t item, Trace* trace) {
  if (item >= state_->wanted.size()) throw std::invalid_argument(fmt::format("there is no item {} of {}", item, state_->wanted.size()));
  state_->options.ahead ? state_->await(item, trace) : state_->fetch_here(item, trace);
  try {
    state_->locate(item);
  } catch (const std::exception& error) {
    state_->give_up(item, error.what());
    throw;
  }
  return state_->items[item].pointers;
}

void Fetcher::release(std::size_t item) {
  State::Item& done = state_->items[item];
  {
    const std::scoped_lock lock(state_->mutex);
    if (done.stage != State::Stage::kAcquired) throw std::invalid_argument(fmt::format("item {} is released but not acquired", item));
  }
  if (state_->mapped())
    for (const ReadRequest& request : done.plan.requests) state_->reader.drop(request);
  const std::scoped_lock lock(state_->mutex);
  state_->free_room(done);
}

void Fetcher::cancel(const std::string& why) { state_->fail(0, why); }

std::vector<const Trace*> Fetcher::reader_traces() {
  state_->stop("the loading is over");
  std::vector<const Trace*> all;
  for (const Trace& trace : state_->traces) all.push_back(&trace);
  return all;
}

std::int64_t Fetcher::bytes_read() const {
  const std::scoped_lock lock(state_->mutex);
  return static_cast<std::int64_t>(state_->asked);
}

std::int64_t Fetcher::peak_buffer_bytes() const {
  const std::scoped_lock lock(state_->mutex);
  return static_cast<std::int64_t>(state_->peak);
}

}  // namespace crossover
