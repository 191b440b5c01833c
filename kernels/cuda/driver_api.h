// What we ask NVIDIA's driver about GPUs, by its own two libraries: declared here, because they are on machines with a driver only. driver_check.cpp
// holds the first against cuda.h where CMake finds one; of the second there are three functions, whose types have not changed since NVML 1.
#pragma once

#include <cstddef>

namespace crossover::cuda::driver {

using Result = int;  // CUresult, nvmlReturn_t
inline constexpr Result kSuccess = 0;
using Gpu = int;     // CUdevice

inline constexpr int kMultiprocessors = 16, kCapabilityMajor = 75, kCapabilityMinor = 76;  // CUdevice_attribute

struct Api {
  Result (*init)(unsigned flags);                             // cuInit
  Result (*get_version)(int* version);                        // cuDriverGetVersion: 13000 for CUDA 13.0
  Result (*get_count)(int* count);                            // cuDeviceGetCount: CUDA_VISIBLE_DEVICES hides others
  Result (*get)(Gpu* gpu, int ordinal);                       // cuDeviceGet
  Result (*get_name)(char* name, int bytes, Gpu gpu);         // cuDeviceGetName
  Result (*get_memory)(std::size_t* bytes, Gpu gpu);          // cuDeviceTotalMem_v2
  Result (*get_attribute)(int* value, int attribute, Gpu gpu);  // cuDeviceGetAttribute, whose attribute is an enumeration
  Result (*get_error_string)(Result result, const char** text);  // cuGetErrorString
};

struct Management {
  Result (*init)();                                             // nvmlInit_v2
  Result (*get_driver_release)(char* release, unsigned bytes);  // nvmlSystemGetDriverVersion
  Result (*shutdown)();                                         // nvmlShutdown
};

}  // namespace crossover::cuda::driver
