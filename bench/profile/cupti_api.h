// What we use of CUPTI's activity interface, declared here because the library is opened at run time: it may be of any version from CUDA 12 on,
// or not there. Of records only the leading fields, which have kept their places over those versions; cupti_check.cpp compares all of it with
// the real headers where CMake finds them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace crossover::cupti {

using Result = int;  // CUptiResult
inline constexpr Result kSuccess = 0, kNoMoreRecords = 12, kUnknownKind = 21, kInsufficientPrivileges = 35;

// CUpti_ActivityKind
inline constexpr std::int32_t kMemcpy = 1, kMemset = 2, kKernel = 3, kRuntime = 5, kConcurrentKernel = 10, kOverhead = 17, kExternalCorrelation = 39;
inline constexpr std::int32_t kOurIds = 3;  // CUPTI_EXTERNAL_CORRELATION_KIND_CUSTOM0
inline constexpr std::uint32_t kFlushForced = 1;

// Times are nanoseconds of CUPTI's clock (GetTimestamp); 0 where it could not take them.
struct KernelRecord {
  std::int32_t kind;
  std::uint8_t cache_config, shared_memory_config;
  std::uint16_t registers_per_thread;
  std::int32_t partitioned_requested, partitioned_executed;
  std::uint64_t start, end, completed;
  std::uint32_t device, context, stream;
  std::int32_t grid[3], block[3];
  std::int32_t static_shared_bytes, dynamic_shared_bytes;
  std::uint32_t local_bytes_per_thread, local_bytes;
  std::uint32_t correlation;
  std::int64_t grid_id;
  const char* name;  // CUPTI's, for as long as the process lives; mangled
};

struct MemcpyRecord {
  std::int32_t kind;
  std::uint8_t copy_kind, source_kind, target_kind, flags;  // copy_kind: 1 to the device, 2 to the host, 8 within a device
  std::uint64_t bytes, start, end;
  std::uint32_t device, context, stream, correlation;
};

struct MemsetRecord {
  std::int32_t kind;
  std::uint32_t value;
  std::uint64_t bytes, start, end;
  std::uint32_t device, context, stream, correlation;
};

struct OverheadRecord {
  std::int32_t kind, overhead_kind;
  std::int32_t object_kind;
  std::uint32_t object[3];
  std::uint64_t start, end;
};

// The call `correlation` was made while `id` was on top of its thread's stack.
struct ExternalCorrelationRecord {
  std::int32_t kind, external_kind;
  std::uint64_t id;
  std::uint32_t correlation, reserved;
};

using BufferRequested = void (*)(std::uint8_t** buffer, std::size_t* bytes, std::size_t* most_records);  // 8-byte aligned
using BufferCompleted = void (*)(void* context, std::uint32_t stream, std::uint8_t* buffer, std::size_t bytes, std::size_t valid_bytes);

struct Api {
  Result (*get_version)(std::uint32_t* version);
  Result (*get_result_string)(Result result, const char** text);
  Result (*get_timestamp)(std::uint64_t* ns);
  Result (*activity_enable)(std::int32_t kind);
  Result (*activity_disable)(std::int32_t kind);
  Result (*register_callbacks)(BufferRequested requested, BufferCompleted completed);
  Result (*get_next_record)(std::uint8_t* buffer, std::size_t valid_bytes, void** record);
  Result (*flush_all)(std::uint32_t flag);
  Result (*get_dropped)(void* context, std::uint32_t stream, std::size_t* dropped);
  Result (*push_id)(std::int32_t kind, std::uint64_t id);
  Result (*pop_id)(std::int32_t kind, std::uint64_t* last);
};

}  // namespace crossover::cupti
