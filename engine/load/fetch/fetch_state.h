// Inside a Fetcher: what is read, what is there, and how much room is left.
#pragma once

#include <condition_variable>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <thread>

#include "engine/load/fetch/fetch.h"
#include "engine/load/fetch/fetch_plan.h"
#include "engine/load/fetch/fetch_reader.h"
#include "engine/load/fetch/fetch_ring.h"
#include "engine/load/fetch/staging.h"

namespace crossover {

struct Fetcher::State {
  enum class Stage : std::uint8_t { kAhead, kAcquired, kReleased };

  struct Item {  // there may be millions
    std::condition_variable* waiter = nullptr;
    std::uint32_t batch = 0, first_extent = 0;  // of the batch
    Stage stage = Stage::kAhead;
  };

  // A batch that has room.
  struct Reading {
    ReadPlan plan;
    std::byte* staging = nullptr;
    std::vector<const std::byte*> pointers;  // one for each extent
    std::size_t claimed = 0, arrived = 0;    // requests
    std::size_t held;                        // items not released
    bool there = false;
  };

  // Consecutive items that are read together, so that small items cost no more than large ones. Without read-ahead: one item.
  struct Batch {
    std::size_t first, count;
    std::uint64_t bytes;  // of the buffer
    std::unique_ptr<Reading> reading;
  };

  struct Claim {
    std::size_t batch;
    PendingRead read;
  };

  static constexpr std::size_t kNone = std::numeric_limits<std::size_t>::max();

  const SourceFiles& files;
  const std::vector<FetchItem> wanted;
  const FetchOptions options;
  const RequestReader reader;
  std::optional<Staging> staging;
  std::vector<Trace> traces;  // of the readers
  std::vector<std::thread> readers;

  mutable std::mutex mutex;          // guards all below
  std::vector<Item> items;
  std::vector<Batch> batches;        // in their order
  std::condition_variable room;      // something was released, or all is over
  std::size_t front = 0;             // the next batch to claim requests of
  std::size_t failed = kNone;        // this item and all later ones cannot be had
  std::exception_ptr why;            // they cannot
  std::uint64_t ticket = 0;          // without read-ahead: who came first gets room first
  std::set<std::uint64_t> queue;     // tickets that wait
  std::uint64_t used = 0, peak = 0;  // bytes of the buffer
  std::uint64_t asked = 0;           // bytes of the system
  std::vector<std::unique_ptr<ReadRing>> idle_rings;

  State(const SourceFiles& from, std::vector<FetchItem> list, const FetchOptions& chosen);
  ~State() { stop(); }

  bool mapped() const { return options.mode == ReadMode::kMap; }
  unsigned depth() const { return static_cast<unsigned>(8 * options.threads); }

  // fetch_batches.cpp: called by the constructor.
  void make_batches();
  void close_batch(std::size_t first, std::size_t end, std::uint64_t bytes);
  std::vector<Extent> extents_of(const Batch& batch) const;

  // fetch_state.cpp: room and failure. The first four with the mutex held.
  bool admit(Batch& batch);
  void wake(const Batch& batch);
  void let_go(Batch& batch);
  void end(std::size_t from_item, const std::exception_ptr& reason);
  std::optional<Claim> claim(Trace* trace, bool may_wait);
  void arrived(std::size_t batch, std::uint64_t bytes);
  void cancel(const std::exception_ptr& reason);
  std::exception_ptr fail(std::size_t batch, const ReadFailure& failure);
  void start();
  void stop();

  // fetch.cpp: readers, and reading in the calling thread.
  void run_reader(Trace& trace);
  void run_ring(Trace& trace);
  void await(std::size_t item, Trace* trace);
  void fetch_here(std::size_t item, Trace* trace);
  void read_here(const Reading& reading) const;
  void read_by_ring(const Reading& reading);
  void check_size(std::size_t item);
};

}  // namespace crossover
