// NVIDIA's driver libraries in one, with GPUs of our making.
#pragma once

#include <cstddef>
#include <vector>

namespace crossover::cuda::driver {

struct FakeGpu {
  const char* name;
  std::size_t memory_bytes;
  int major, minor, multiprocessors;
};

struct FakeDriver {
  int on_init = 0, on_name = 0, on_management = 0;  // results
  std::vector<FakeGpu> gpus;
  int management_open = 0;  // not shut down yet
};

}  // namespace crossover::cuda::driver

extern "C" crossover::cuda::driver::FakeDriver* crossover_fake_driver();
