// GPUs as NVIDIA's driver tells of them, asked by its own libraries: in a build without CUDA too, and where a container hides the driver's files.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace crossover::cuda {

struct GpuFacts {
  std::string name;            // "NVIDIA H200"
  int compute_capability = 0;  // 90 = 9.0
  int multiprocessors = 0;
  std::int64_t memory_bytes = 0;
};

struct DriverFacts {
  std::vector<GpuFacts> gpus;  // that this process may use
  std::string cuda;            // the newest the driver runs: "13.0"; empty where there is none
  std::string release;         // of the driver: "580.65.06"; empty where it does not say
  std::string why;             // no GPU can be used, in one line; empty where one can
};

struct DriverLibraries {
  std::string driver = "libcuda.so.1", management = "libnvidia-ml.so.1";
};

DriverFacts ask_driver(const DriverLibraries& libraries = {});

}  // namespace crossover::cuda
