// Ways to a GPU for the workers of one rank. Each has a stream and pinned memory of its own, so that what one worker has handed over travels,
// and is quantized there, while others read and gather.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "engine/load/convert.h"
#include "kernels/ops.h"

namespace crossover {

class DeviceLanes {
 public:
  // ctx: the rank's, of a backend with a device; it outlives this. Every lane takes pieces of `upload_bytes` and, where some of those are
  // quantized on the device, `quantize_bytes` (0: none is) of rows there.
  DeviceLanes(const Context& ctx, std::int64_t upload_bytes, std::int64_t quantize_bytes);
  ~DeviceLanes();  // waits for what is under way

  // From any thread: the rows may be overwritten when it returns, and are in device memory after finish().
  void deliver(std::byte* to, const std::byte* rows, std::size_t bytes);
  // ConvertOptions::quantize_there, by the device. std::runtime_error of a value that is not finite may come with a later call, or finish().
  void quantize(const ConvertTask& task, const SourceTensor& tensor, const std::byte* rows, std::byte* blocks, Trace* trace);
  void finish(Trace* trace);  // no other thread is in a call

  std::int64_t staging_bytes() const;         // pinned host memory
  std::int64_t device_staging_bytes() const;  // rows that wait to be quantized

 private:
  struct Lane;
  class Lease;
  static void settle(Lane& lane);

  std::vector<std::unique_ptr<Lane>> lanes_;
  std::mutex mutex_;
  std::condition_variable given_back_;
  std::deque<Lane*> free_;  // the one that was used longest ago first
};

// Lanes of a rank with so many workers: one more than can wait at a time, within reason.
int lanes_for(int workers);

}  // namespace crossover
