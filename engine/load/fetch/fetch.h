// Brings ranges of checkpoint files to the workers that convert them: mapped, read through the page cache, or past it, by reader
// threads that run ahead within a bounded buffer, or by the worker itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/checkpoint/source_files.h"
#include "engine/checkpoint/source.h"
#include "kernels/trace.h"

namespace crossover {

// What one conversion needs: ranges of files, in the order they are wanted.
struct FetchItem {
  const SourceTensor* tensor;  // for messages
  std::vector<Extent> extents;
};

struct FetchOptions {
  ReadMode mode = ReadMode::kMap;
  bool ahead = true;                                   // false: acquire() reads, in the calling thread
  std::int64_t buffer_bytes = std::int64_t{64} << 20;  // read and not yet released; a larger item is admitted alone
  int threads = 2;                                     // readers; with kUring one submits and 8 * threads requests are in flight
  PhaseDelay delay = {};                               // of the readers' traces
};

// Items are fetched in ascending order. Safe to use from several threads, under one condition that keeps a bounded buffer from
// locking up: whoever waits for an item does not hold back the release of an earlier one, and without `ahead` of none at all.
class Fetcher {
 public:
  // std::runtime_error when the mode cannot be had for these files (says which and what to use instead); std::invalid_argument when an
  // extent lies outside its file. `files` must outlive the fetcher, and be mapped for kMap.
  Fetcher(const SourceFiles& files, std::vector<FetchItem> items, const FetchOptions& options);
  ~Fetcher();  // stops the readers; items need not have been acquired
  Fetcher(const Fetcher&) = delete;
  Fetcher& operator=(const Fetcher&) = delete;

  // Where the extents of an item lie in memory, one pointer each, valid until release(item). Each item is acquired once. Time spent
  // waiting for a reader or for room is "wait" in `trace`, time spent reading here is "read". std::runtime_error names the tensor, the
  // file and the byte that could not be read; once an item failed, so do all later ones, with the same message. Small items are read
  // together with `ahead`, and fail together.
  std::span<const std::byte* const> acquire(std::size_t item, Trace* trace);
  void release(std::size_t item);

  // For a caller that fails between acquire and release: every acquire() that waits, and every later one, throws `why`, or
  // std::runtime_error with the message of the reader that failed before.
  void cancel(const std::exception_ptr& why);

  // Ends the readers, so call it after the last release (or after a failure). What they did: "read", and "wait" for room.
  std::vector<const Trace*> reader_traces();
  std::int64_t bytes_read() const;         // asked of the system; with kMap: brought into the page tables
  std::int64_t peak_buffer_bytes() const;  // <= buffer_bytes, or one larger item; with the gaps between extents that are read together

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace crossover
