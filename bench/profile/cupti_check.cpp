// Compiled where CUPTI's own headers are found: what cupti_api.h says must be what they say.
#include "bench/profile/cupti_api.h"

#include <cupti.h>

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

}  // namespace
}  // namespace crossover::cupti
