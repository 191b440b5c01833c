// Compiled where CUPTI's own headers are found: what cupti_api.h says must be what they say.
#include "bench/profile/counters_api.h"
#include "bench/profile/cupti_api.h"

#include <cupti.h>

#if __has_include(<cupti_pmsampling.h>)  // of CUDA 12.6 on
#include <cupti_pmsampling.h>
#include <cupti_profiler_host.h>
#include <cupti_profiler_target.h>
#include <cupti_target.h>
#endif

#include <type_traits>

namespace crossover::cupti {
namespace {

static_assert(kSuccess == CUPTI_SUCCESS && kNoMoreRecords == CUPTI_ERROR_MAX_LIMIT_REACHED && kUnknownKind == CUPTI_ERROR_INVALID_KIND &&
              kInsufficientPrivileges == CUPTI_ERROR_INSUFFICIENT_PRIVILEGES);
static_assert(kMemcpy == CUPTI_ACTIVITY_KIND_MEMCPY && kMemset == CUPTI_ACTIVITY_KIND_MEMSET && kKernel == CUPTI_ACTIVITY_KIND_KERNEL &&
              kRuntime == CUPTI_ACTIVITY_KIND_RUNTIME && kConcurrentKernel == CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL &&
              kOverhead == CUPTI_ACTIVITY_KIND_OVERHEAD && kExternalCorrelation == CUPTI_ACTIVITY_KIND_EXTERNAL_CORRELATION);
static_assert(kOurIds == CUPTI_EXTERNAL_CORRELATION_KIND_CUSTOM0 && kFlushForced == CUPTI_ACTIVITY_FLAG_FLUSH_FORCED);
static_assert(sizeof(CUptiResult) == sizeof(Result) && sizeof(CUpti_ActivityKind) == sizeof(std::int32_t));

// The newest version of each record that these headers know.
#if CUPTI_API_VERSION >= 130000
using Kernel = CUpti_ActivityKernel10;
using Memcpy = CUpti_ActivityMemcpy6;
using Memset = CUpti_ActivityMemset4;
using Overhead = CUpti_ActivityOverhead3;
#else
using Kernel = CUpti_ActivityKernel9;
using Memcpy = CUpti_ActivityMemcpy5;
using Memset = CUpti_ActivityMemset4;
using Overhead = CUpti_ActivityOverhead;
#endif

#define CROSSOVER_SAME(ours, our_field, theirs, their_field)                                         \
  static_assert(offsetof(ours, our_field) == offsetof(theirs, their_field) &&                        \
                sizeof(std::declval<ours&>().our_field) <= sizeof(std::declval<theirs&>().their_field) * 3)  // grid is three of theirs

CROSSOVER_SAME(KernelRecord, registers_per_thread, Kernel, registersPerThread);
CROSSOVER_SAME(KernelRecord, start, Kernel, start);
CROSSOVER_SAME(KernelRecord, end, Kernel, end);
CROSSOVER_SAME(KernelRecord, device, Kernel, deviceId);
CROSSOVER_SAME(KernelRecord, stream, Kernel, streamId);
CROSSOVER_SAME(KernelRecord, grid, Kernel, gridX);
CROSSOVER_SAME(KernelRecord, block, Kernel, blockX);
CROSSOVER_SAME(KernelRecord, static_shared_bytes, Kernel, staticSharedMemory);
CROSSOVER_SAME(KernelRecord, dynamic_shared_bytes, Kernel, dynamicSharedMemory);
CROSSOVER_SAME(KernelRecord, local_bytes_per_thread, Kernel, localMemoryPerThread);
CROSSOVER_SAME(KernelRecord, correlation, Kernel, correlationId);
CROSSOVER_SAME(KernelRecord, name, Kernel, name);
CROSSOVER_SAME(MemcpyRecord, copy_kind, Memcpy, copyKind);
CROSSOVER_SAME(MemcpyRecord, bytes, Memcpy, bytes);
CROSSOVER_SAME(MemcpyRecord, start, Memcpy, start);
CROSSOVER_SAME(MemcpyRecord, end, Memcpy, end);
CROSSOVER_SAME(MemcpyRecord, device, Memcpy, deviceId);
CROSSOVER_SAME(MemcpyRecord, correlation, Memcpy, correlationId);
CROSSOVER_SAME(MemsetRecord, bytes, Memset, bytes);
CROSSOVER_SAME(MemsetRecord, start, Memset, start);
CROSSOVER_SAME(MemsetRecord, end, Memset, end);
CROSSOVER_SAME(MemsetRecord, device, Memset, deviceId);
CROSSOVER_SAME(MemsetRecord, correlation, Memset, correlationId);
CROSSOVER_SAME(OverheadRecord, overhead_kind, Overhead, overheadKind);
CROSSOVER_SAME(OverheadRecord, start, Overhead, start);
CROSSOVER_SAME(OverheadRecord, end, Overhead, end);
CROSSOVER_SAME(ExternalCorrelationRecord, external_kind, CUpti_ActivityExternalCorrelation, externalKind);
CROSSOVER_SAME(ExternalCorrelationRecord, id, CUpti_ActivityExternalCorrelation, externalId);
CROSSOVER_SAME(ExternalCorrelationRecord, correlation, CUpti_ActivityExternalCorrelation, correlationId);
#undef CROSSOVER_SAME

// Enumerations and opaque pointers apart, which pass like what we say.
static_assert(std::is_same_v<decltype(&cuptiGetVersion), CUptiResult (*)(std::uint32_t*)>);
static_assert(std::is_same_v<decltype(&cuptiGetResultString), CUptiResult (*)(CUptiResult, const char**)>);
static_assert(std::is_same_v<decltype(&cuptiGetTimestamp), CUptiResult (*)(std::uint64_t*)>);
static_assert(std::is_same_v<decltype(&cuptiActivityEnable), CUptiResult (*)(CUpti_ActivityKind)>);
static_assert(std::is_same_v<decltype(&cuptiActivityDisable), CUptiResult (*)(CUpti_ActivityKind)>);
static_assert(std::is_same_v<decltype(&cuptiActivityGetNextRecord), CUptiResult (*)(std::uint8_t*, std::size_t, CUpti_Activity**)>);
static_assert(std::is_same_v<decltype(&cuptiActivityFlushAll), CUptiResult (*)(std::uint32_t)>);
static_assert(std::is_same_v<decltype(&cuptiActivityGetNumDroppedRecords), CUptiResult (*)(CUcontext, std::uint32_t, std::size_t*)>);
static_assert(std::is_same_v<decltype(&cuptiActivityPushExternalCorrelationId), CUptiResult (*)(CUpti_ExternalCorrelationKind, std::uint64_t)>);
static_assert(std::is_same_v<decltype(&cuptiActivityPopExternalCorrelationId), CUptiResult (*)(CUpti_ExternalCorrelationKind, std::uint64_t*)>);
static_assert(std::is_same_v<CUpti_BuffersCallbackRequestFunc, BufferRequested>);
static_assert(std::is_same_v<CUpti_BuffersCallbackCompleteFunc, void (*)(CUcontext, std::uint32_t, std::uint8_t*, std::size_t, std::size_t)>);

#if __has_include(<cupti_pmsampling.h>)
static_assert(kInvalidOperation == CUPTI_ERROR_INVALID_OPERATION && kOutOfMemory == CUPTI_ERROR_OUT_OF_MEMORY &&
              kProfilesBySampling == CUPTI_PROFILER_TYPE_PM_SAMPLING);
static_assert(kEveryClocks == CUPTI_PM_SAMPLING_TRIGGER_MODE_GPU_SYSCLK_INTERVAL && kEveryNanoseconds == CUPTI_PM_SAMPLING_TRIGGER_MODE_GPU_TIME_INTERVAL &&
              kEndOfRecords == CUPTI_PM_SAMPLING_DECODE_STOP_REASON_END_OF_RECORDS && kKeepOldest == CUPTI_PM_SAMPLING_HARDWARE_BUFFER_APPEND_MODE_KEEP_OLDEST);

#define CROSSOVER_SIZE(ours, theirs) \
  static_assert(ours{}.size == theirs##_STRUCT_SIZE && sizeof(ours) == sizeof(theirs) && offsetof(ours, reserved) == offsetof(theirs, pPriv))
#define CROSSOVER_FIELD(ours, our_field, theirs, their_field)                \
  static_assert(offsetof(ours, our_field) == offsetof(theirs, their_field) && \
                sizeof(std::declval<ours&>().our_field) == sizeof(std::declval<theirs&>().their_field))

CROSSOVER_SIZE(InitializeParameters, CUpti_Profiler_Initialize_Params);
CROSSOVER_SIZE(ChipNameParameters, CUpti_Device_GetChipName_Params);
CROSSOVER_FIELD(ChipNameParameters, device, CUpti_Device_GetChipName_Params, deviceIndex);
CROSSOVER_FIELD(ChipNameParameters, chip, CUpti_Device_GetChipName_Params, pChipName);
CROSSOVER_SIZE(AvailabilityParameters, CUpti_PmSampling_GetCounterAvailability_Params);
CROSSOVER_FIELD(AvailabilityParameters, device, CUpti_PmSampling_GetCounterAvailability_Params, deviceIndex);
CROSSOVER_FIELD(AvailabilityParameters, bytes, CUpti_PmSampling_GetCounterAvailability_Params, counterAvailabilityImageSize);
CROSSOVER_FIELD(AvailabilityParameters, image, CUpti_PmSampling_GetCounterAvailability_Params, pCounterAvailabilityImage);
CROSSOVER_SIZE(HostParameters, CUpti_Profiler_Host_Initialize_Params);
CROSSOVER_FIELD(HostParameters, profiler, CUpti_Profiler_Host_Initialize_Params, profilerType);
CROSSOVER_FIELD(HostParameters, chip, CUpti_Profiler_Host_Initialize_Params, pChipName);
CROSSOVER_FIELD(HostParameters, availability, CUpti_Profiler_Host_Initialize_Params, pCounterAvailabilityImage);
CROSSOVER_FIELD(HostParameters, host, CUpti_Profiler_Host_Initialize_Params, pHostObject);
CROSSOVER_SIZE(EndHostParameters, CUpti_Profiler_Host_Deinitialize_Params);
CROSSOVER_FIELD(EndHostParameters, host, CUpti_Profiler_Host_Deinitialize_Params, pHostObject);
CROSSOVER_SIZE(AddMetricsParameters, CUpti_Profiler_Host_ConfigAddMetrics_Params);
CROSSOVER_FIELD(AddMetricsParameters, host, CUpti_Profiler_Host_ConfigAddMetrics_Params, pHostObject);
CROSSOVER_FIELD(AddMetricsParameters, metrics, CUpti_Profiler_Host_ConfigAddMetrics_Params, ppMetricNames);
CROSSOVER_FIELD(AddMetricsParameters, count, CUpti_Profiler_Host_ConfigAddMetrics_Params, numMetrics);
CROSSOVER_SIZE(ConfigBytesParameters, CUpti_Profiler_Host_GetConfigImageSize_Params);
CROSSOVER_FIELD(ConfigBytesParameters, host, CUpti_Profiler_Host_GetConfigImageSize_Params, pHostObject);
CROSSOVER_FIELD(ConfigBytesParameters, bytes, CUpti_Profiler_Host_GetConfigImageSize_Params, configImageSize);
CROSSOVER_SIZE(ConfigParameters, CUpti_Profiler_Host_GetConfigImage_Params);
CROSSOVER_FIELD(ConfigParameters, host, CUpti_Profiler_Host_GetConfigImage_Params, pHostObject);
CROSSOVER_FIELD(ConfigParameters, bytes, CUpti_Profiler_Host_GetConfigImage_Params, configImageSize);
CROSSOVER_FIELD(ConfigParameters, config, CUpti_Profiler_Host_GetConfigImage_Params, pConfigImage);
CROSSOVER_SIZE(PassesParameters, CUpti_Profiler_Host_GetNumOfPasses_Params);
CROSSOVER_FIELD(PassesParameters, bytes, CUpti_Profiler_Host_GetNumOfPasses_Params, configImageSize);
CROSSOVER_FIELD(PassesParameters, config, CUpti_Profiler_Host_GetNumOfPasses_Params, pConfigImage);
CROSSOVER_FIELD(PassesParameters, passes, CUpti_Profiler_Host_GetNumOfPasses_Params, numOfPasses);
CROSSOVER_SIZE(EvaluateParameters, CUpti_Profiler_Host_EvaluateToGpuValues_Params);
CROSSOVER_FIELD(EvaluateParameters, host, CUpti_Profiler_Host_EvaluateToGpuValues_Params, pHostObject);
CROSSOVER_FIELD(EvaluateParameters, image, CUpti_Profiler_Host_EvaluateToGpuValues_Params, pCounterDataImage);
CROSSOVER_FIELD(EvaluateParameters, bytes, CUpti_Profiler_Host_EvaluateToGpuValues_Params, counterDataImageSize);
CROSSOVER_FIELD(EvaluateParameters, sample, CUpti_Profiler_Host_EvaluateToGpuValues_Params, rangeIndex);
CROSSOVER_FIELD(EvaluateParameters, metrics, CUpti_Profiler_Host_EvaluateToGpuValues_Params, ppMetricNames);
CROSSOVER_FIELD(EvaluateParameters, count, CUpti_Profiler_Host_EvaluateToGpuValues_Params, numMetrics);
CROSSOVER_FIELD(EvaluateParameters, values, CUpti_Profiler_Host_EvaluateToGpuValues_Params, pMetricValues);
CROSSOVER_SIZE(EnableParameters, CUpti_PmSampling_Enable_Params);
CROSSOVER_FIELD(EnableParameters, device, CUpti_PmSampling_Enable_Params, deviceIndex);
CROSSOVER_FIELD(EnableParameters, sampler, CUpti_PmSampling_Enable_Params, pPmSamplingObject);
CROSSOVER_SIZE(SamplerParameters, CUpti_PmSampling_Disable_Params);
CROSSOVER_FIELD(SamplerParameters, sampler, CUpti_PmSampling_Disable_Params, pPmSamplingObject);
CROSSOVER_SIZE(SamplerParameters, CUpti_PmSampling_Start_Params);
CROSSOVER_FIELD(SamplerParameters, sampler, CUpti_PmSampling_Start_Params, pPmSamplingObject);
CROSSOVER_SIZE(SamplerParameters, CUpti_PmSampling_Stop_Params);
CROSSOVER_FIELD(SamplerParameters, sampler, CUpti_PmSampling_Stop_Params, pPmSamplingObject);
CROSSOVER_SIZE(SetConfigParameters, CUpti_PmSampling_SetConfig_Params);
CROSSOVER_FIELD(SetConfigParameters, sampler, CUpti_PmSampling_SetConfig_Params, pPmSamplingObject);
CROSSOVER_FIELD(SetConfigParameters, config_bytes, CUpti_PmSampling_SetConfig_Params, configSize);
CROSSOVER_FIELD(SetConfigParameters, config, CUpti_PmSampling_SetConfig_Params, pConfig);
CROSSOVER_FIELD(SetConfigParameters, hardware_bytes, CUpti_PmSampling_SetConfig_Params, hardwareBufferSize);
CROSSOVER_FIELD(SetConfigParameters, interval, CUpti_PmSampling_SetConfig_Params, samplingInterval);
CROSSOVER_FIELD(SetConfigParameters, trigger, CUpti_PmSampling_SetConfig_Params, triggerMode);
CROSSOVER_FIELD(SetConfigParameters, append, CUpti_PmSampling_SetConfig_Params, hwBufferAppendMode);
CROSSOVER_SIZE(DecodeParameters, CUpti_PmSampling_DecodeData_Params);
CROSSOVER_FIELD(DecodeParameters, sampler, CUpti_PmSampling_DecodeData_Params, pPmSamplingObject);
CROSSOVER_FIELD(DecodeParameters, image, CUpti_PmSampling_DecodeData_Params, pCounterDataImage);
CROSSOVER_FIELD(DecodeParameters, bytes, CUpti_PmSampling_DecodeData_Params, counterDataImageSize);
CROSSOVER_FIELD(DecodeParameters, stopped, CUpti_PmSampling_DecodeData_Params, decodeStopReason);
CROSSOVER_FIELD(DecodeParameters, overflow, CUpti_PmSampling_DecodeData_Params, overflow);
CROSSOVER_SIZE(ImageBytesParameters, CUpti_PmSampling_GetCounterDataSize_Params);
CROSSOVER_FIELD(ImageBytesParameters, sampler, CUpti_PmSampling_GetCounterDataSize_Params, pPmSamplingObject);
CROSSOVER_FIELD(ImageBytesParameters, metrics, CUpti_PmSampling_GetCounterDataSize_Params, pMetricNames);
CROSSOVER_FIELD(ImageBytesParameters, count, CUpti_PmSampling_GetCounterDataSize_Params, numMetrics);
CROSSOVER_FIELD(ImageBytesParameters, most_samples, CUpti_PmSampling_GetCounterDataSize_Params, maxSamples);
CROSSOVER_FIELD(ImageBytesParameters, bytes, CUpti_PmSampling_GetCounterDataSize_Params, counterDataSize);
CROSSOVER_SIZE(ClearImageParameters, CUpti_PmSampling_CounterDataImage_Initialize_Params);
CROSSOVER_FIELD(ClearImageParameters, sampler, CUpti_PmSampling_CounterDataImage_Initialize_Params, pPmSamplingObject);
CROSSOVER_FIELD(ClearImageParameters, bytes, CUpti_PmSampling_CounterDataImage_Initialize_Params, counterDataSize);
CROSSOVER_FIELD(ClearImageParameters, image, CUpti_PmSampling_CounterDataImage_Initialize_Params, pCounterData);
CROSSOVER_SIZE(ImageInfoParameters, CUpti_PmSampling_GetCounterDataInfo_Params);
CROSSOVER_FIELD(ImageInfoParameters, image, CUpti_PmSampling_GetCounterDataInfo_Params, pCounterDataImage);
CROSSOVER_FIELD(ImageInfoParameters, bytes, CUpti_PmSampling_GetCounterDataInfo_Params, counterDataImageSize);
CROSSOVER_FIELD(ImageInfoParameters, total, CUpti_PmSampling_GetCounterDataInfo_Params, numTotalSamples);
CROSSOVER_FIELD(ImageInfoParameters, populated, CUpti_PmSampling_GetCounterDataInfo_Params, numPopulatedSamples);
CROSSOVER_FIELD(ImageInfoParameters, completed, CUpti_PmSampling_GetCounterDataInfo_Params, numCompletedSamples);
CROSSOVER_SIZE(SampleInfoParameters, CUpti_PmSampling_CounterData_GetSampleInfo_Params);
CROSSOVER_FIELD(SampleInfoParameters, sampler, CUpti_PmSampling_CounterData_GetSampleInfo_Params, pPmSamplingObject);
CROSSOVER_FIELD(SampleInfoParameters, image, CUpti_PmSampling_CounterData_GetSampleInfo_Params, pCounterDataImage);
CROSSOVER_FIELD(SampleInfoParameters, bytes, CUpti_PmSampling_CounterData_GetSampleInfo_Params, counterDataImageSize);
CROSSOVER_FIELD(SampleInfoParameters, sample, CUpti_PmSampling_CounterData_GetSampleInfo_Params, sampleIndex);
CROSSOVER_FIELD(SampleInfoParameters, start, CUpti_PmSampling_CounterData_GetSampleInfo_Params, startTimestamp);
CROSSOVER_FIELD(SampleInfoParameters, end, CUpti_PmSampling_CounterData_GetSampleInfo_Params, endTimestamp);
#undef CROSSOVER_SIZE
#undef CROSSOVER_FIELD

// Each takes one pointer to its parameters.
#define CROSSOVER_TAKES(function, parameters) static_assert(std::is_same_v<decltype(&function), CUptiResult (*)(parameters*)>)
CROSSOVER_TAKES(cuptiProfilerInitialize, CUpti_Profiler_Initialize_Params);
CROSSOVER_TAKES(cuptiDeviceGetChipName, CUpti_Device_GetChipName_Params);
CROSSOVER_TAKES(cuptiPmSamplingGetCounterAvailability, CUpti_PmSampling_GetCounterAvailability_Params);
CROSSOVER_TAKES(cuptiProfilerHostInitialize, CUpti_Profiler_Host_Initialize_Params);
CROSSOVER_TAKES(cuptiProfilerHostDeinitialize, CUpti_Profiler_Host_Deinitialize_Params);
CROSSOVER_TAKES(cuptiProfilerHostConfigAddMetrics, CUpti_Profiler_Host_ConfigAddMetrics_Params);
CROSSOVER_TAKES(cuptiProfilerHostGetConfigImageSize, CUpti_Profiler_Host_GetConfigImageSize_Params);
CROSSOVER_TAKES(cuptiProfilerHostGetConfigImage, CUpti_Profiler_Host_GetConfigImage_Params);
CROSSOVER_TAKES(cuptiProfilerHostGetNumOfPasses, CUpti_Profiler_Host_GetNumOfPasses_Params);
CROSSOVER_TAKES(cuptiProfilerHostEvaluateToGpuValues, CUpti_Profiler_Host_EvaluateToGpuValues_Params);
CROSSOVER_TAKES(cuptiPmSamplingEnable, CUpti_PmSampling_Enable_Params);
CROSSOVER_TAKES(cuptiPmSamplingDisable, CUpti_PmSampling_Disable_Params);
CROSSOVER_TAKES(cuptiPmSamplingSetConfig, CUpti_PmSampling_SetConfig_Params);
CROSSOVER_TAKES(cuptiPmSamplingStart, CUpti_PmSampling_Start_Params);
CROSSOVER_TAKES(cuptiPmSamplingStop, CUpti_PmSampling_Stop_Params);
CROSSOVER_TAKES(cuptiPmSamplingDecodeData, CUpti_PmSampling_DecodeData_Params);
CROSSOVER_TAKES(cuptiPmSamplingGetCounterDataSize, CUpti_PmSampling_GetCounterDataSize_Params);
CROSSOVER_TAKES(cuptiPmSamplingCounterDataImageInitialize, CUpti_PmSampling_CounterDataImage_Initialize_Params);
CROSSOVER_TAKES(cuptiPmSamplingGetCounterDataInfo, CUpti_PmSampling_GetCounterDataInfo_Params);
CROSSOVER_TAKES(cuptiPmSamplingCounterDataGetSampleInfo, CUpti_PmSampling_CounterData_GetSampleInfo_Params);
#undef CROSSOVER_TAKES
#endif

}  // namespace
}  // namespace crossover::cupti
