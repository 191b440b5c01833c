#include "engine/load/fetch/fetch.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "engine/load/fetch/fetch_state.h"

namespace crossover {

void Fetcher::State::run_reader(Trace& trace) {
  std::size_t working_on = 0;
  try {
    while (const std::optional<Claim> next = claim(&trace, true)) {
      working_on = next->batch;
      {
        const Range range(&trace, "read");
        reader.read(next->read);
      }
      arrived(next->batch, next->read.request->bytes);
    }
  } catch (const ReadFailure& failure) {
    fail(working_on, failure);
  } catch (const std::exception&) {
    cancel(std::current_exception());
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
      ring->wait([&](std::uint64_t tag, const ReadFailure* failure) {
        const Claim& done = claims[tag];
        if (failure)
          fail(done.batch, *failure);
        else
          arrived(done.batch, done.read.request->bytes);
        free.push_back(tag);
      });
    }
  } catch (const std::exception&) {  // the ring itself: nothing that is in flight can be counted on
    cancel(std::current_exception());
  }
}

void Fetcher::State::await(std::size_t i, Trace* trace) {
  {
    std::unique_lock lock(mutex);
    Item& item = items[i];
    if (item.stage != Stage::kAhead) throw std::invalid_argument(fmt::format("item {} was acquired before", i));
    const Batch& batch = batches[item.batch];
    const auto over = [&] { return i >= failed || (batch.reading && batch.reading->there); };
    if (!over()) {
      lock.unlock();  // a range may be told to take its time
      const Range range(trace, "wait");
      lock.lock();
      std::condition_variable there;
      item.waiter = &there;
      there.wait(lock, over);
      item.waiter = nullptr;
    }
    if (i >= failed) std::rethrow_exception(why);
    item.stage = Stage::kAcquired;
  }
  if (mapped()) check_size(i);
}

// A file may have shrunk since a reader populated the pages.
void Fetcher::State::check_size(std::size_t i) {
  const std::vector<Extent>& extents = wanted[i].extents;
  try {
    for (auto from = extents.begin(); from != extents.end();) {
      auto last = from, next = from;
      for (; next != extents.end() && next->file == from->file; ++next)
        if (next->offset + next->bytes > last->offset + last->bytes) last = next;
      files.view(last->file, last->offset, last->bytes, *wanted[i].tensor);
      from = next;
    }
  } catch (const std::runtime_error&) {
    const std::scoped_lock lock(mutex);
    end(i, std::current_exception());
    throw;
  }
}

void Fetcher::State::fetch_here(std::size_t i, Trace* trace) {
  {
    std::unique_lock lock(mutex);
    if (items[i].stage != Stage::kAhead) throw std::invalid_argument(fmt::format("item {} was acquired before", i));
    items[i].stage = Stage::kAcquired;
    const std::uint64_t mine = ticket++;
    queue.insert(mine);
    const auto over = [&] { return i >= failed || (*queue.begin() == mine && admit(batches[i])); };
    if (!over()) {
      lock.unlock();
      const Range range(trace, "wait");
      lock.lock();
      room.wait(lock, over);
    }
    queue.erase(mine);
    room.notify_all();  // the next in the queue
    if (i >= failed) {
      items[i].stage = Stage::kReleased;
      std::rethrow_exception(why);
    }
  }
  const Reading& reading = *batches[i].reading;
  try {
    const Range range(trace, "read");
    options.mode == ReadMode::kUring ? read_by_ring(reading) : read_here(reading);
  } catch (const std::exception& error) {
    const auto* failure = dynamic_cast<const ReadFailure*>(&error);
    const std::exception_ptr named = failure ? fail(i, *failure) : std::current_exception();
    const std::scoped_lock lock(mutex);
    end(i, named);
    items[i].stage = Stage::kReleased;
    let_go(batches[i]);
    std::rethrow_exception(named);
  }
  const std::scoped_lock lock(mutex);
  for (const ReadRequest& request : reading.plan.requests) asked += request.bytes;
}

void Fetcher::State::read_here(const Reading& reading) const {
  for (const ReadRequest& request : reading.plan.requests)
    reader.read({&request, reading.staging ? reading.staging + request.to : nullptr});
}

void Fetcher::State::read_by_ring(const Reading& reading) {
  std::unique_ptr<ReadRing> ring;
  {
    const std::scoped_lock lock(mutex);
    if (!idle_rings.empty()) {
      ring = std::move(idle_rings.back());
      idle_rings.pop_back();
    }
  }
  if (!ring) ring = std::make_unique<ReadRing>(reader, depth());
  std::optional<ReadFailure> failure;
  auto next = reading.plan.requests.begin(), end = reading.plan.requests.end();
  while (next != end || !ring->idle()) {
    for (; next != end && !ring->full(); ++next) ring->start({&*next, reading.staging + next->to}, 0);
    ring->wait([&](std::uint64_t, const ReadFailure* failed_one) {
      if (failed_one && (!failure || failed_one->offset < failure->offset)) failure = *failed_one;
    });
    if (failure) next = end;
  }
  {
    const std::scoped_lock lock(mutex);
    idle_rings.push_back(std::move(ring));
  }
  if (failure) throw ReadFailure(*failure);
}

Fetcher::Fetcher(const SourceFiles& files, std::vector<FetchItem> items, const FetchOptions& options)
    : state_(std::make_unique<State>(files, std::move(items), options)) {
  state_->start();
}

Fetcher::~Fetcher() = default;

std::span<const std::byte* const> Fetcher::acquire(std::size_t item, Trace* trace) {
  if (item >= state_->wanted.size()) throw std::invalid_argument(fmt::format("there is no item {} of {}", item, state_->wanted.size()));
  state_->options.ahead ? state_->await(item, trace) : state_->fetch_here(item, trace);
  const State::Item& there = state_->items[item];
  return std::span(state_->batches[there.batch].reading->pointers).subspan(there.first_extent, state_->wanted[item].extents.size());
}

void Fetcher::release(std::size_t item) {
  State& state = *state_;
  std::unique_lock lock(state.mutex);
  if (item >= state.items.size() || state.items[item].stage != State::Stage::kAcquired)
    throw std::invalid_argument(fmt::format("item {} is released but not acquired", item));
  state.items[item].stage = State::Stage::kReleased;
  State::Batch& batch = state.batches[state.items[item].batch];
  if (--batch.reading->held > 0) return;
  if (state.mapped()) {
    lock.unlock();  // the last holder is alone with the batch
    for (const ReadRequest& request : batch.reading->plan.requests) state.reader.drop(request);
    lock.lock();
  }
  state.let_go(batch);
}

void Fetcher::cancel(const std::exception_ptr& why) { state_->cancel(why); }

std::vector<const Trace*> Fetcher::reader_traces() {
  state_->stop();
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
