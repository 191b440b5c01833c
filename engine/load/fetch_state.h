// Inside a Fetcher: what is read, what is there, and how much room is left.
#pragma once

#include <condition_variable>
#include <limits>
#include <mutex>
#include <optional>
#include <set>
#include <thread>

#include "engine/load/fetch.h"
#include "engine/load/fetch_plan.h"
#include "engine/load/fetch_reader.h"
#include "engine/load/fetch_ring.h"
#include "engine/load/staging.h"

namespace crossover {

struct Fetcher::State {
  enum class Stage : std::uint8_t { kAhead, kReading, kThere, kAcquired, kReleased };

  struct Item {
    ReadPlan plan;
    std::uint64_t bytes = 0;  // of the buffer
    std::byte* staging = nullptr;
    std::size_t claimed = 0, arrived = 0;  // requests
    std::vector<const std::byte*> pointers;
    std::condition_variable there;
    Stage stage = Stage::kAhead;
  };

  static constexpr std::size_t kNone = std::numeric_limits<std::size_t>::max();

  struct Claim {
    std::size_t item;
    PendingRead read;
  };

  const SourceFiles& files;
  const std::vector<FetchItem> wanted;
  const FetchOptions options;
  const RequestReader reader;
  const std::unique_ptr<Item[]> items;
  std::optional<Staging> staging;
  std::vector<Trace> traces;  // of the readers
  std::vector<std::thread> readers;

  mutable std::mutex mutex;          // guards all below, and Item::stage, claimed, arrived
  std::condition_variable room;      // something was released, or all is over
  std::size_t front = 0;             // the next item to claim requests of
  std::size_t failed = kNone;        // this item and all later ones cannot be had
  std::string why;                   // they cannot
  std::uint64_t ticket = 0;          // without read-ahead: who came first gets room first
  std::set<std::uint64_t> queue;     // tickets that wait
  std::uint64_t used = 0, peak = 0;  // bytes of the buffer
  std::uint64_t asked = 0;           // bytes of the system
  std::vector<std::unique_ptr<ReadRing>> idle_rings;

  State(const SourceFiles& from, std::vector<FetchItem> list, const FetchOptions& chosen);
  ~State() { stop("the loading is over"); }

  bool mapped() const { return options.mode == ReadMode::kMap; }
  unsigned depth() const { return static_cast<unsigned>(8 * options.threads); }

  void start();
  void stop(const std::string& reason);
  bool admit(std::size_t i);
  void free_room(Item& item);
  std::optional<Claim> claim(Trace* trace, bool may_wait);
  void arrived(std::size_t i, std::uint64_t bytes);
  void fail(std::size_t i, const std::string& reason);
  void give_up(std::size_t i, const std::string& reason);
  void run_reader(Trace& trace);
  void run_ring(Trace& trace);
  void await(std::size_t i, Trace* trace);
  void fetch_here(std::size_t i, Trace* trace);
  void read_here(std::size_t i);
  void read_by_ring(std::size_t i);
  void locate(std::size_t i);
};

}  // namespace crossover
