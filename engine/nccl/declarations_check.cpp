// Compiled where CMake finds NCCL's own header, and holds nccl_api.h against it: values, sizes and the type of every function. No code.
#include <nccl.h>

#include <type_traits>

#include "engine/nccl/nccl_api.h"

namespace crossover::nccl {
namespace {

// Our word for a type of the real header.
template <class T> struct Ours { using Type = T; };
template <class T> struct Ours<T*> { using Type = typename Ours<T>::Type*; };
template <> struct Ours<ncclComm_t> { using Type = Comm; };
template <> struct Ours<cudaStream_t> { using Type = Stream; };
template <> struct Ours<ncclUniqueId> { using Type = UniqueId; };
template <> struct Ours<ncclResult_t> { using Type = Result; };
template <> struct Ours<ncclDataType_t> { using Type = DataType; };
template <> struct Ours<ncclRedOp_t> { using Type = Operation; };
template <class R, class... A> struct Ours<R(A...)> { using Type = typename Ours<R>::Type(typename Ours<A>::Type...); };

template <class Real>
constexpr bool same_layout() {
  using Own = typename Ours<Real>::Type;
  return sizeof(Own) == sizeof(Real) && alignof(Own) == alignof(Real) && std::is_trivially_copyable_v<Own>;
}
static_assert(same_layout<ncclComm_t>() && same_layout<cudaStream_t>() && same_layout<ncclUniqueId>());
static_assert(same_layout<ncclResult_t>() && same_layout<ncclDataType_t>() && same_layout<ncclRedOp_t>());

template <class Own, class Real>
constexpr bool same_value(Own own, Real real) { return static_cast<int>(own) == static_cast<int>(real); }
static_assert(same_value(Result::kSuccess, ncclSuccess) && same_value(Result::kUnhandledCudaError, ncclUnhandledCudaError));
static_assert(same_value(Result::kSystemError, ncclSystemError) && same_value(Result::kInternalError, ncclInternalError));
static_assert(same_value(Result::kInvalidArgument, ncclInvalidArgument) && same_value(Result::kInvalidUsage, ncclInvalidUsage));
static_assert(same_value(Result::kRemoteError, ncclRemoteError) && same_value(Result::kInProgress, ncclInProgress));
static_assert(same_value(DataType::kFloat32, ncclFloat32) && same_value(DataType::kBfloat16, ncclBfloat16));
static_assert(same_value(Operation::kSum, ncclSum));

template <class Real, class Own>
constexpr bool same_function = std::is_same_v<typename Ours<Real>::Type*, Own>;
static_assert(same_function<decltype(::ncclGetVersion), decltype(Api::get_version)>);
static_assert(same_function<decltype(::ncclGetUniqueId), decltype(Api::get_unique_id)>);
static_assert(same_function<decltype(::ncclCommInitRank), decltype(Api::comm_init_rank)>);
static_assert(same_function<decltype(::ncclCommDestroy), decltype(Api::comm_destroy)>);
static_assert(same_function<decltype(::ncclCommAbort), decltype(Api::comm_abort)>);
static_assert(same_function<decltype(::ncclCommGetAsyncError), decltype(Api::comm_get_async_error)>);
static_assert(same_function<decltype(::ncclAllReduce), decltype(Api::all_reduce)>);
static_assert(same_function<decltype(::ncclGetErrorString), decltype(Api::get_error_string)>);
static_assert(same_function<decltype(::ncclGetLastError), decltype(Api::get_last_error)>);

}  // namespace
}  // namespace crossover::nccl
