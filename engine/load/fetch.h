// Brings ranges of checkpoint files to the workers that convert them: mapped, read through the page cache, or past it, by reader
// threads that run ahead within a bounded buffer, or by the worker itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/checkpoint/read_rows.h"
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
  bool ahead = true;                               // false: acquire() reads, in the calling thread
  std::int64_t buffer_bytes = std::int64_t{64} << 20;  // read and not yet released; a larger item is admitted alone
  int threads = 2;                                 // readers; with kUring one submits and 8 * threads requests are in flight
};

// Items are fetched in ascending order. Safe to use from several threads, under one condition that keeps a bounded buffer from
// locking up: whoever waits for an item does not hold back the release of an earlier one.
class Fetcher {
 public:
  // std::runtime_error when the mode cannot be had for these files (says which and what to use instead).
  Fetcher(const SourceFiles& files, std::vector<FetchItem> items, const FetchOptions& options);
  ~Fetcher();  // stops the readers; items need not have been acquired
  Fetcher(const Fetcher&) = delete;
  Fetcher& operator=(const Fetcher&) = delete;

  // Where the extents of an item lie in memory, one pointer each, valid until release(item). Each item is acquired once. Time spent
  // waiting for a reader is "wait" in `trace`, time spent reading here is "read". std::runtime_error names the tensor and the byte that
  // could not be read.
  std::span<const std::byte* const> acquire(std::size_t item, Trace* trace);
  void release(std::size_t item);

  // After the last release: what the readers did ("read"; waiting for room is "wait"), and bytes asked of the system.
  std::vector<const Trace*> reader_traces() const;
  std::int64_t bytes_read() const;
  std::int64_t peak_buffer_bytes() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace crossover
