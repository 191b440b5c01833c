#include "engine/load/fetch/fetch_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

namespace crossover {

namespace {
constexpr std::byte kNoBytes{};  // where extents without bytes point
}

Fetcher::State::State(const SourceFiles& from, std::vector<FetchItem> list, const FetchOptions& chosen)
    : files(from), wanted(std::move(list)), options(chosen), reader(from, chosen.mode), items(wanted.size()) {
  if (options.threads < 1 || options.buffer_bytes < 1)
    throw std::invalid_argument(
        fmt::format("fetching takes at least one reader and one byte of buffer, not {} and {}", options.threads, options.buffer_bytes));
  make_batches();
  std::uint64_t largest = 0, all = 0;
  for (const Batch& batch : batches) {
    largest = std::max(largest, batch.bytes);
    all += batch.bytes;
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

void Fetcher::State::stop() {
  cancel(std::make_exception_ptr(std::runtime_error("the loading is over")));
  for (std::thread& thread : readers) thread.join();
  readers.clear();
}

bool Fetcher::State::admit(Batch& batch) {
  if (used > 0 && used + batch.bytes > static_cast<std::uint64_t>(options.buffer_bytes)) return false;
  const std::vector<Extent> extents = extents_of(batch);
  auto reading = std::make_unique<Reading>();
  reading->plan = plan_reads(extents, reader.rules());
  reading->held = batch.count;
  reading->there = reading->plan.requests.empty();
  reading->pointers.resize(extents.size(), &kNoBytes);
  if (staging && batch.bytes > 0 && !(reading->staging = staging->take(batch.bytes))) return false;
  for (std::size_t e = 0; e < extents.size(); ++e)
    if (extents[e].bytes > 0)
      reading->pointers[e] = mapped() ? files.mapped(extents[e].file) + extents[e].offset : reading->staging + reading->plan.extent_at[e];
  batch.reading = std::move(reading);
  used += batch.bytes;
  peak = std::max(peak, used);
  return true;
}

void Fetcher::State::wake(const Batch& batch) {
  for (std::size_t i = batch.first; i < batch.first + batch.count; ++i)
    if (items[i].waiter) items[i].waiter->notify_one();
}

void Fetcher::State::let_go(Batch& batch) {
  if (batch.reading->staging) staging->give_back(batch.reading->staging);
  used -= batch.bytes;
  batch.reading.reset();
  room.notify_all();
}

// The next request; none when all are claimed, when reading has failed, or when there is no room and `may_wait` is false.
std::optional<Fetcher::State::Claim> Fetcher::State::claim(Trace* trace, bool may_wait) {
  std::unique_lock lock(mutex);
  while (failed == kNone && front < batches.size()) {
    Batch& batch = batches[front];
    if (!batch.reading && !admit(batch)) {
      if (!may_wait) return {};
      const std::size_t blocked = front;
      lock.unlock();  // a range may be told to take its time
      const Range range(trace, "wait");
      lock.lock();
      room.wait(lock, [&] { return failed != kNone || front != blocked || batch.reading || admit(batch); });
      continue;
    }
    Reading& reading = *batch.reading;
    if (reading.there) {
      wake(batch);
      ++front;
      continue;
    }
    const ReadRequest& request = reading.plan.requests[reading.claimed];
    const Claim next{front, {&request, reading.staging ? reading.staging + request.to : nullptr}};
    if (++reading.claimed == reading.plan.requests.size()) ++front;
    return next;
  }
  return {};
}

void Fetcher::State::arrived(std::size_t index, std::uint64_t bytes) {
  const std::scoped_lock lock(mutex);
  asked += bytes;
  Reading& reading = *batches[index].reading;
  if (++reading.arrived < reading.plan.requests.size()) return;
  reading.there = true;
  wake(batches[index]);
}

// The first reason is kept, unless an earlier item has one of its own.
void Fetcher::State::end(std::size_t from_item, const std::exception_ptr& reason) {
  if (!why || (from_item > 0 && from_item < failed)) why = reason;
  failed = std::min(failed, from_item);
  for (std::size_t later = from_item; later < items.size(); ++later)
    if (items[later].waiter) items[later].waiter->notify_one();
  room.notify_all();
}

void Fetcher::State::cancel(const std::exception_ptr& reason) {
  const std::scoped_lock lock(mutex);
  end(0, reason);
}

// What is returned names the tensor of the batch whose bytes are the first at or after the failure.
std::exception_ptr Fetcher::State::fail(std::size_t index, const ReadFailure& failure) {
  const std::scoped_lock lock(mutex);
  const Batch& batch = batches[index];
  const SourceTensor* tensor = wanted[batch.first].tensor;
  std::uint64_t at = std::numeric_limits<std::uint64_t>::max();
  for (std::size_t i = batch.first; i < batch.first + batch.count; ++i)
    for (const Extent& extent : wanted[i].extents)
      if (extent.file == failure.file && extent.offset < at && extent.offset + extent.bytes > failure.offset) {
        tensor = wanted[i].tensor;
        at = extent.offset;
      }
  try {
    files.fail(failure.file, failure.offset, failure.what(), *tensor);
  } catch (const std::runtime_error&) {
    end(batch.first, std::current_exception());
    return std::current_exception();
  }
}

}  // namespace crossover
