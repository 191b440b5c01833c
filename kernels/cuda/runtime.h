// One rank's GPU: its stream, its memory and the launches it was asked for. Nothing here needs a CUDA header, so that the engine may hold it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <unordered_set>

#include "kernels/tensor.h"

namespace crossover::cuda {

class LaunchGraphs;

struct DeviceFacts {
  std::string name;              // "NVIDIA H200"
  int compute_capability = 0;    // 90 = 9.0
  int multiprocessors = 0;
  std::size_t shared_bytes = 0;  // a block may have at most
  std::size_t memory_bytes = 0;
};

// GPUs that this build can use, 0 when there is none; why: then, in one line, for a message.
int device_count(std::string* why = nullptr);

// Bytes of device memory held by this process, over all devices.
std::int64_t held_bytes();

// Every failed call of the runtime throws std::runtime_error that names the call and what the driver said; a kernel's own fault shows at
// the next synchronize. Used by one thread at a time.
class Device {
 public:
  explicit Device(int ordinal);  // std::runtime_error when there is no such device
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  // The same GPU by another stream with staging memory of its own: what the two are asked for overlaps, and nothing but waiting orders it.
  std::unique_ptr<Device> beside() const;

  void make_current();  // for the calling thread: what it allocates and launches goes here

  const DeviceFacts& facts() const { return facts_; }
  // cudaStream_t, with all in it that was asked for: launches that wait in a queue have gone to it.
  void* stream() {
    if (queue_) hand_over();
    return stream_;
  }
  // Kernels multiply by warpgroups (wgmma) where they can, which they do not unless asked to. std::runtime_error: the GPU is not of compute capability 9.0.
  void use_warpgroups() {
    if (facts_.compute_capability != 90)
      throw std::runtime_error("products by warpgroups were asked for, which need compute capability 9.0; " + facts_.name + " has " + capability() +
                               "; set CROSSOVER_CUDA_PRODUCTS to auto");
    warpgroups_ = true;
  }
  bool uses_warpgroups() const { return warpgroups_; }
  // A launch may begin before the one before it has ended, and waits on the device (device.h: wait_for_launches_before): what a launch costs the device
  // is then hidden behind the end of the other. std::runtime_error: the GPU is not of compute capability 9.0; newer ones run code made for older ones,
  // which does not wait.
  void overlap_launches() {
    if (facts_.compute_capability != 90)
      throw std::runtime_error("launches that overlap were asked for, which need compute capability 9.0; " + facts_.name + " has " + capability() +
                               "; set CROSSOVER_CUDA_OVERLAP to auto");
    overlaps_ = true;
  }
  bool overlaps_launches() const { return overlaps_; }
  void hand_over();                   // what waits in the queue goes to the stream
  bool hand_over_quietly() noexcept;  // false: it failed, as the next call says
  LaunchGraphs* queue() const { return queue_; }  // null: launches go to the stream at once
  void set_queue(LaunchGraphs* queue) { queue_ = queue; }
  std::int64_t launches() const { return launches_; }
  void count_launch() { ++launches_; }

  // Before a launch with so many bytes of dynamic shared memory: above 48 KiB a function must be allowed to have them. Its limit is one for all who use the
  // GPU in this process, so it becomes the largest there is: what a smaller launch needs would refuse larger ones that wait in a queue. `name`: for messages.
  void allow_shared(const void* kernel, std::size_t bytes, const char* name) {
    if (bytes <= kSharedWithoutAsking || allowed_.contains(kernel)) return;
    raise_shared_limit(kernel, name);
    allowed_.insert(kernel);
  }
  std::int64_t copies() const { return copies_; }      // uploads, downloads and clears asked for
  std::int64_t work() const { return launches_ + copies_; }

  // Device memory, zeros between launches: blocks of a launch that count in it who comes last leave zeros.
  static constexpr int kArrivals = 1024;
  unsigned* arrivals() const { return static_cast<unsigned*>(arrivals_); }

  // In the order of the stream, after launches that wait. upload has taken the host's bytes when it returns; download has delivered them.
  void upload(std::byte* to, const std::byte* from_host, std::size_t bytes);
  void download(std::byte* to_host, const std::byte* from, std::size_t bytes);
  // Rows of one shape, each side with its own stride: one copy and one wait. To pinned memory the device writes by itself.
  void download_rows(Rows to_host, ConstRows from);
  void clear(std::byte* memory, std::size_t bytes);
  void synchronize();
  void wait_for_upload();  // what uploads took has arrived

  void reserve_staging(std::size_t bytes);  // for uploads of so many bytes; what they need beyond it they ask for
  std::size_t staging_bytes() const { return staging_bytes_; }  // pinned host memory, kept

 private:
  static constexpr std::size_t kSharedWithoutAsking = std::size_t{48} << 10;

  Device(int ordinal, const DeviceFacts& facts);
  std::string capability() const { return std::to_string(facts_.compute_capability / 10) + "." + std::to_string(facts_.compute_capability % 10); }
  void open_stream();
  void raise_shared_limit(const void* kernel, const char* name);
  void* staging(std::size_t bytes);  // waits for the copy that used it last

  DeviceFacts facts_;
  int ordinal_;
  bool warpgroups_ = false, overlaps_ = false;
  void* stream_ = nullptr;
  void* copied_ = nullptr;  // event: the last copy from the staging memory
  void* staging_ = nullptr;
  void* arrivals_ = nullptr;
  std::size_t staging_bytes_ = 0;
  LaunchGraphs* queue_ = nullptr;
  std::unordered_set<const void*> allowed_;  // kernels whose limit is raised
  std::int64_t launches_ = 0, copies_ = 0;
};

// A place in the order of a device's stream. May be asked from any thread, but not while it is set.
class Mark {
 public:
  Mark();  // on the current device
  ~Mark();
  Mark(const Mark&) = delete;
  Mark& operator=(const Mark&) = delete;

  void set(Device& device);  // at the end of what its stream was given; the device is current
  bool reached() const;            // all before it is done; std::runtime_error when the device has failed

 private:
  void* event_ = nullptr;
};

std::byte* allocate(std::size_t bytes);  // on the current device, 256-byte aligned
void release(std::byte* memory, std::size_t bytes);  // that no waiting launch may use: hand them over first

// Pinned host memory, which the device reads and writes by itself. Asking for it takes the driver long.
std::byte* allocate_pinned(std::size_t bytes);
void release_pinned(std::byte* memory, std::size_t bytes);

}  // namespace crossover::cuda
