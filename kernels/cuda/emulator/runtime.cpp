// runtime.h for the emulation: a launch is done when it returns.
#include "kernels/cuda/runtime.h"

#include <cstring>
#include <stdexcept>

#include "kernels/cuda/emulator/machine.h"
#include "kernels/cuda/emulator/memory.h"

namespace crossover::cuda {
namespace {

std::atomic<std::int64_t> held{0};
std::atomic<int> devices{1};
std::atomic<bool> marks_are_held{false};

}  // namespace

void emulated::set_device_count(int count) { devices = count; }
void emulated::hold_marks(bool hold) { marks_are_held = hold; }

int device_count(std::string*) { return devices; }
std::int64_t held_bytes() { return held; }

Device::Device(int ordinal) : facts_{"emulated", 80, 3, 163 * 1024, std::size_t{1} << 32}, ordinal_(ordinal) {
  if (ordinal < 0 || ordinal >= devices)
    throw std::runtime_error("backend cuda: asked for GPU " + std::to_string(ordinal) + ", found " + std::to_string(devices));
  arrivals_ = ::operator new(kArrivals * sizeof(unsigned));
  std::memset(arrivals_, 0, kArrivals * sizeof(unsigned));
}
Device::~Device() { ::operator delete(arrivals_); }
void Device::make_current() {}

void Device::upload(std::byte* to, const std::byte* from_host, std::size_t bytes) {
  const emulated::OpenMemory open;
  ++copies_;
  if (bytes > 0) std::memcpy(to, from_host, bytes);
}
void Device::download(std::byte* to_host, const std::byte* from, std::size_t bytes) {
  const emulated::OpenMemory open;
  ++copies_;
  if (bytes > 0) std::memcpy(to_host, from, bytes);
}

void Device::clear(std::byte* memory, std::size_t bytes) {
  const emulated::OpenMemory open;
  ++copies_;
  if (bytes > 0) std::memset(memory, 0, bytes);
}

void Device::synchronize() {}

Mark::Mark() = default;
Mark::~Mark() = default;
void Mark::set(const Device&) {}
bool Mark::reached() const { return !marks_are_held; }

std::byte* allocate(std::size_t bytes) {
  held += static_cast<std::int64_t>(bytes);
  return emulated::allocate_device(bytes);
}

void release(std::byte* memory, std::size_t bytes) {
  if (!memory) return;
  held -= static_cast<std::int64_t>(bytes);
  emulated::release_device(memory, bytes);
}

}  // namespace crossover::cuda
