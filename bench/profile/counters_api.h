// What we use of CUPTI's sampling of performance monitors (CUDA 12.6 or newer) and of its interface that turns names of metrics into counters and
// back, declared here as cupti_api.h does it; cupti_check.cpp compares all of it with the real headers.
#pragma once

#include <cstddef>
#include <cstdint>

#include "bench/profile/cupti_api.h"

namespace crossover::cupti {

inline constexpr Result kInvalidOperation = 7;         // of an initialization: it was done before
inline constexpr Result kOutOfMemory = 8;              // of a decoding: the hardware's buffer was full
inline constexpr std::int32_t kProfilesBySampling = 1;  // CUpti_ProfilerType
inline constexpr std::int32_t kEveryClocks = 0, kEveryNanoseconds = 1;  // CUpti_PmSampling_TriggerMode: of SYSCLK; GA100 knows no other
inline constexpr std::int32_t kEndOfRecords = 2;  // CUpti_PmSampling_DecodeStopReason
inline constexpr std::int32_t kKeepOldest = 0;                          // CUpti_PmSampling_HardwareBuffer_AppendMode

// Parameters of the functions below. `size`: up to the end of the last field, by which a library knows which fields there are. `reserved` is null.
struct InitializeParameters {
  std::size_t size = sizeof(InitializeParameters);
  void* reserved = nullptr;
};

struct ChipNameParameters {
  std::size_t size = sizeof(ChipNameParameters);
  void* reserved = nullptr;
  std::size_t device = 0;
  const char* chip = nullptr;  // out: "GH100"; CUPTI's
};

struct AvailabilityParameters {
  std::size_t size = sizeof(AvailabilityParameters);
  void* reserved = nullptr;
  std::size_t device = 0;
  std::size_t bytes = 0;          // out where there is no image
  std::uint8_t* image = nullptr;
};

struct HostParameters {
  std::size_t size = sizeof(HostParameters);
  void* reserved = nullptr;
  std::int32_t profiler = kProfilesBySampling;
  const char* chip = nullptr;
  const std::uint8_t* availability = nullptr;
  void* host = nullptr;  // out
};

struct EndHostParameters {
  std::size_t size = sizeof(EndHostParameters);
  void* reserved = nullptr;
  void* host = nullptr;
};

struct AddMetricsParameters {
  std::size_t size = sizeof(AddMetricsParameters);
  void* reserved = nullptr;
  void* host = nullptr;
  const char** metrics = nullptr;
  std::size_t count = 0;
};

struct ConfigBytesParameters {
  std::size_t size = sizeof(ConfigBytesParameters);
  void* reserved = nullptr;
  void* host = nullptr;
  std::size_t bytes = 0;  // out
};

struct ConfigParameters {
  std::size_t size = sizeof(ConfigParameters);
  void* reserved = nullptr;
  void* host = nullptr;
  std::size_t bytes = 0;
  std::uint8_t* config = nullptr;
};

struct PassesParameters {
  std::size_t size = sizeof(PassesParameters);
  void* reserved = nullptr;
  std::size_t bytes = 0;
  std::uint8_t* config = nullptr;
  std::size_t passes = 0;  // out
};

struct EvaluateParameters {
  std::size_t size = sizeof(EvaluateParameters);
  void* reserved = nullptr;
  void* host = nullptr;
  const std::uint8_t* image = nullptr;
  std::size_t bytes = 0;
  std::size_t sample = 0;
  const char** metrics = nullptr;
  std::size_t count = 0;
  double* values = nullptr;  // out
};

struct EnableParameters {
  std::size_t size = sizeof(EnableParameters);
  void* reserved = nullptr;
  std::size_t device = 0;
  void* sampler = nullptr;  // out
};

struct SamplerParameters {  // of Disable, Start and Stop
  std::size_t size = sizeof(SamplerParameters);
  void* reserved = nullptr;
  void* sampler = nullptr;
};

struct SetConfigParameters {
  std::size_t size = sizeof(SetConfigParameters);
  void* reserved = nullptr;
  void* sampler = nullptr;
  std::size_t config_bytes = 0;
  const std::uint8_t* config = nullptr;
  std::size_t hardware_bytes = 0;  // of the buffer for what was not decoded yet
  std::uint64_t interval = 0;      // in the trigger's unit
  std::int32_t trigger = kEveryNanoseconds;
  std::int32_t append = kKeepOldest;
};

struct DecodeParameters {
  std::size_t size = offsetof(DecodeParameters, overflow) + sizeof(overflow);
  void* reserved = nullptr;
  void* sampler = nullptr;
  std::uint8_t* image = nullptr;
  std::size_t bytes = 0;
  std::int32_t stopped = 0;    // out
  std::uint8_t overflow = 0;   // out
};

struct ImageBytesParameters {
  std::size_t size = sizeof(ImageBytesParameters);
  void* reserved = nullptr;
  void* sampler = nullptr;
  const char** metrics = nullptr;
  std::size_t count = 0;
  std::uint32_t most_samples = 0;
  std::size_t bytes = 0;  // out
};

struct ClearImageParameters {
  std::size_t size = sizeof(ClearImageParameters);
  void* reserved = nullptr;
  void* sampler = nullptr;
  std::size_t bytes = 0;
  std::uint8_t* image = nullptr;
};

struct ImageInfoParameters {
  std::size_t size = sizeof(ImageInfoParameters);
  void* reserved = nullptr;
  const std::uint8_t* image = nullptr;
  std::size_t bytes = 0;
  std::size_t total = 0, populated = 0, completed = 0;  // out, samples
};

struct SampleInfoParameters {
  std::size_t size = sizeof(SampleInfoParameters);
  void* reserved = nullptr;
  void* sampler = nullptr;
  const std::uint8_t* image = nullptr;
  std::size_t bytes = 0;
  std::size_t sample = 0;
  std::uint64_t start = 0, end = 0;  // out, nanoseconds of CUPTI's clock
};

struct CounterApi {
  Result (*initialize)(InitializeParameters*);
  Result (*get_chip_name)(ChipNameParameters*);
  Result (*get_availability)(AvailabilityParameters*);
  Result (*begin_host)(HostParameters*);
  Result (*end_host)(EndHostParameters*);
  Result (*add_metrics)(AddMetricsParameters*);
  Result (*get_config_bytes)(ConfigBytesParameters*);
  Result (*get_config)(ConfigParameters*);
  Result (*get_passes)(PassesParameters*);
  Result (*evaluate)(EvaluateParameters*);
  Result (*enable)(EnableParameters*);
  Result (*disable)(SamplerParameters*);
  Result (*set_config)(SetConfigParameters*);
  Result (*start)(SamplerParameters*);
  Result (*stop)(SamplerParameters*);
  Result (*decode)(DecodeParameters*);
  Result (*get_image_bytes)(ImageBytesParameters*);
  Result (*clear_image)(ClearImageParameters*);
  Result (*get_image_info)(ImageInfoParameters*);
  Result (*get_sample_info)(SampleInfoParameters*);
};

}  // namespace crossover::cupti
