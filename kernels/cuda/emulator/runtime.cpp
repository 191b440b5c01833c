// runtime.h for the emulation: a launch is done when it returns, or has been handed over, but on a stream beside another (stream.h).
#include "kernels/cuda/runtime.h"

#include <cstring>
#include <map>
#include <mutex>
#include <stdexcept>

#include "kernels/buffer.h"
#include "kernels/cuda/emulator/emulator.h"
#include "kernels/cuda/emulator/machine.h"
#include "kernels/cuda/emulator/memory.h"
#include "kernels/cuda/emulator/stream.h"

namespace crossover::cuda {
namespace {

std::atomic<std::int64_t> held{0}, pinned{0};
std::atomic<int> devices{1}, compute_capability{80};
std::atomic<bool> marks_are_held{false};

std::mutex shared_limits_mutex;
std::map<const void*, std::size_t> shared_limits;  // of kernels; others have 48 KiB

emulated::Stream* stream_of(void* stream) { return static_cast<emulated::Stream*>(stream); }

void copy_bytes(std::byte* to, const std::byte* from, std::size_t bytes) {
  const emulated::OpenMemory open;
  if (bytes > 0) std::memcpy(to, from, bytes);
}

}  // namespace

void emulated::set_device_count(int count) { devices = count; }
void emulated::set_compute_capability(int capability) { compute_capability = capability; }
std::int64_t emulated::pinned_bytes() { return pinned; }
void emulated::hold_marks(bool hold) { marks_are_held = hold; }

void emulated::check_shared(const char* name, const void* kernel, std::size_t bytes) {
  const std::lock_guard lock(shared_limits_mutex);
  const auto limit = shared_limits.find(kernel);
  const std::size_t allowed = limit == shared_limits.end() ? std::size_t{48} << 10 : limit->second;
  if (bytes > allowed)
    throw std::runtime_error(std::string(name) + ": asks for " + std::to_string(bytes) + " bytes of shared memory, its kernel is allowed " + std::to_string(allowed));
}

int device_count(std::string*) { return devices; }
std::int64_t held_bytes() { return held; }

Device::Device(int ordinal)
    : facts_{"emulated", compute_capability, 3, static_cast<std::size_t>(compute_capability >= 90 ? 227 : 163) * 1024, std::size_t{1} << 32}, ordinal_(ordinal) {
  if (ordinal < 0 || ordinal >= devices)
    throw std::runtime_error("backend cuda: asked for GPU " + std::to_string(ordinal) + ", found " + std::to_string(devices));
  open_stream();
}
Device::Device(int ordinal, const DeviceFacts& facts) : facts_(facts), ordinal_(ordinal) {
  open_stream();
  stream_ = new emulated::Stream;
}
std::unique_ptr<Device> Device::beside() const { return std::unique_ptr<Device>(new Device(ordinal_, facts_)); }
void Device::open_stream() {
  arrivals_ = ::operator new(kArrivals * sizeof(unsigned));
  std::memset(arrivals_, 0, kArrivals * sizeof(unsigned));
}
Device::~Device() {
  try {
    synchronize();
  } catch (const std::exception&) {
    // A kernel that nobody waited for failed.
  }
  delete stream_of(stream_);
  ::operator delete(arrivals_);
}
void Device::make_current() {}

void Device::raise_shared_limit(const void* kernel, const char*) {
  const std::lock_guard lock(shared_limits_mutex);
  shared_limits[kernel] = facts_.shared_bytes;
}

void Device::upload(std::byte* to, const std::byte* from_host, std::size_t bytes) {
  hand_over();
  ++copies_;
  if (!stream_) return copy_bytes(to, from_host, bytes);
  reserve_staging(bytes);
  std::byte* const staged = stream_of(stream_)->staging.data();
  if (bytes > 0) std::memcpy(staged, from_host, bytes);
  stream_of(stream_)->ask([=] { copy_bytes(to, staged, bytes); }, true);
}
void Device::wait_for_upload() {
  if (stream_) stream_of(stream_)->run_uploads();
}
void Device::reserve_staging(std::size_t bytes) {
  if (!stream_) return;
  wait_for_upload();
  std::vector<std::byte>& staging = stream_of(stream_)->staging;
  if (bytes > staging.size()) staging.resize(bytes);
  staging_bytes_ = staging.size();
}
void Device::download(std::byte* to_host, const std::byte* from, std::size_t bytes) {
  hand_over();
  ++copies_;
  synchronize();
  copy_bytes(to_host, from, bytes);
}

void Device::download_rows(Rows to_host, ConstRows from) {
  if (from.rows == 0 || from.dim == 0) return;
  hand_over();
  ++copies_;
  synchronize();
  const emulated::OpenMemory open;  // once for all
  for (std::int64_t r = 0; r < from.rows; ++r)
    copy_bytes(reinterpret_cast<std::byte*>(to_host.row(r)), reinterpret_cast<const std::byte*>(from.row(r)), static_cast<std::size_t>(from.dim) * sizeof(float));
}

void Device::clear(std::byte* memory, std::size_t bytes) {
  hand_over();
  ++copies_;
  emulated::in_order(*this, [=] {
    const emulated::OpenMemory open;
    if (bytes > 0) std::memset(memory, 0, bytes);
  });
}

void Device::synchronize() {
  hand_over();
  if (stream_) stream_of(stream_)->run_all();
}

void emulated::in_order(Device& device, std::function<void()> work) {
  if (device.stream()) stream_of(device.stream())->ask(std::move(work), false);
  else work();
}

Mark::Mark() = default;
Mark::~Mark() = default;
void Mark::set(Device& device) { device.hand_over(); }
bool Mark::reached() const { return !marks_are_held; }

std::byte* allocate(std::size_t bytes) {
  held += static_cast<std::int64_t>(bytes);
  return emulated::allocate_device(bytes);
}

std::byte* allocate_pinned(std::size_t bytes) {
  pinned += static_cast<std::int64_t>(bytes);
  return host::allocate(bytes);
}

void release_pinned(std::byte* memory, std::size_t bytes) {
  pinned -= static_cast<std::int64_t>(bytes);
  host::release(memory, bytes);
}

void release(std::byte* memory, std::size_t bytes) {
  if (!memory) return;
  held -= static_cast<std::int64_t>(bytes);
  emulated::release_device(memory, bytes);
}

}  // namespace crossover::cuda
