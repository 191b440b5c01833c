// NCCL's C interface as far as it is used: declared here, so that it compiles where NCCL is not, and looked up when it is wanted (library.h).
// declarations_check.cpp holds all of it against the real header where CMake finds one.
#pragma once

#include <cstddef>

namespace crossover::nccl {

inline constexpr const char* kLibraryFile = "libnccl.so.2";

enum class Result : int {
  kSuccess = 0,
  kUnhandledCudaError = 1,
  kSystemError = 2,
  kInternalError = 3,
  kInvalidArgument = 4,
  kInvalidUsage = 5,
  kRemoteError = 6,
  kInProgress = 7,
};
enum class DataType : int { kFloat32 = 7, kBfloat16 = 9 };
enum class Operation : int { kSum = 0 };

struct UniqueId { char bytes[128]; };  // names a communicator; one rank makes it, every rank joins with it

struct OpaqueComm;
using Comm = OpaqueComm*;
using Stream = void*;  // cudaStream_t

// The functions, each with its symbol. Collectives go to a stream and return; they may wait for other ranks the first time.
struct Api {
  Result (*get_version)(int* version);                                                       // ncclGetVersion
  Result (*get_unique_id)(UniqueId* id);                                                     // ncclGetUniqueId
  Result (*comm_init_rank)(Comm* comm, int ranks, UniqueId id, int rank);                    // ncclCommInitRank: waits for every rank
  Result (*comm_destroy)(Comm comm);                                                         // ncclCommDestroy
  Result (*comm_abort)(Comm comm);                                                           // ncclCommAbort: from any thread
  Result (*comm_get_async_error)(Comm comm, Result* error);                                  // ncclCommGetAsyncError: from any thread
  Result (*all_reduce)(const void* from, void* to, std::size_t values, DataType type, Operation operation, Comm comm, Stream stream);  // ncclAllReduce
  const char* (*get_error_string)(Result result);                                            // ncclGetErrorString
  const char* (*get_last_error)(Comm comm);                                                  // ncclGetLastError
};

}  // namespace crossover::nccl
