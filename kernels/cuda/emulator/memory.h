// Device memory of the emulation. The host reaches it no more than a GPU's: outside kernels and copies its pages are closed, so engine code
// that follows a device pointer ends there and then.
#pragma once

#include <cstddef>

namespace crossover::cuda::emulated {

// While one exists, device memory is open to every thread.
class OpenMemory {
 public:
  OpenMemory();
  ~OpenMemory();
  OpenMemory(const OpenMemory&) = delete;
  OpenMemory& operator=(const OpenMemory&) = delete;
};

std::byte* allocate_device(std::size_t bytes);  // std::bad_alloc when the 4 GiB of the emulated device are used up
void release_device(std::byte* memory, std::size_t bytes);

}  // namespace crossover::cuda::emulated
