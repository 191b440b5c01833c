// Compiled where CMake finds cuBLASLt's own header, and holds cublaslt_api.h against it: values, sizes and the type of every function. No code.
#include <cublasLt.h>

#include <cstddef>
#include <type_traits>

#include "kernels/cuda/cublaslt_api.h"

namespace crossover::cuda::lt {
namespace {

// Our word for a type of the real header.
template <class T> struct Ours { using Type = T; };
template <class T> struct Ours<T*> { using Type = typename Ours<T>::Type*; };
template <class T> struct Ours<const T*> { using Type = const typename Ours<T>::Type*; };
template <> struct Ours<cublasLtHandle_t> { using Type = Handle; };
template <> struct Ours<cublasLtMatmulDesc_t> { using Type = Product; };
template <> struct Ours<cublasLtMatrixLayout_t> { using Type = Layout; };
template <> struct Ours<cublasLtMatmulPreference_t> { using Type = Wishes; };
template <> struct Ours<cudaStream_t> { using Type = Stream; };
template <> struct Ours<cublasLtMatmulAlgo_t> { using Type = Algorithm; };
template <> struct Ours<cublasLtMatmulHeuristicResult_t> { using Type = Heuristic; };
template <> struct Ours<cublasStatus_t> { using Type = Status; };
template <> struct Ours<cudaDataType_t> { using Type = DataType; };
template <> struct Ours<cublasComputeType_t> { using Type = ComputeType; };
template <> struct Ours<cublasLtMatmulDescAttributes_t> { using Type = ProductAttribute; };
template <> struct Ours<cublasLtMatmulPreferenceAttributes_t> { using Type = WishAttribute; };
template <class R, class... A> struct Ours<R(A...)> { using Type = typename Ours<R>::Type(typename Ours<A>::Type...); };

template <class Real>
constexpr bool same_layout() {
  using Own = typename Ours<Real>::Type;
  return sizeof(Own) == sizeof(Real) && alignof(Own) == alignof(Real) && std::is_trivially_copyable_v<Own>;
}
static_assert(same_layout<cublasLtHandle_t>() && same_layout<cudaStream_t>() && same_layout<cublasLtMatmulAlgo_t>() && same_layout<cublasLtMatmulHeuristicResult_t>());
static_assert(same_layout<cublasStatus_t>() && same_layout<cudaDataType_t>() && same_layout<cublasComputeType_t>() && sizeof(Transpose) == sizeof(cublasOperation_t));
static_assert(same_layout<cublasLtMatmulDescAttributes_t>() && same_layout<cublasLtMatmulPreferenceAttributes_t>());
static_assert(offsetof(Heuristic, workspace_bytes) == offsetof(cublasLtMatmulHeuristicResult_t, workspaceSize));
static_assert(offsetof(Heuristic, status) == offsetof(cublasLtMatmulHeuristicResult_t, state));
static_assert(offsetof(Heuristic, waves) == offsetof(cublasLtMatmulHeuristicResult_t, wavesCount));

template <class Own, class Real>
constexpr bool same_value(Own own, Real real) { return static_cast<int>(own) == static_cast<int>(real); }
static_assert(same_value(Status::kSuccess, CUBLAS_STATUS_SUCCESS) && same_value(Status::kNotInitialized, CUBLAS_STATUS_NOT_INITIALIZED));
static_assert(same_value(Status::kInvalidValue, CUBLAS_STATUS_INVALID_VALUE) && same_value(Status::kExecutionFailed, CUBLAS_STATUS_EXECUTION_FAILED));
static_assert(same_value(Status::kNotSupported, CUBLAS_STATUS_NOT_SUPPORTED));
static_assert(same_value(DataType::kF32, CUDA_R_32F) && same_value(DataType::kBf16, CUDA_R_16BF) && same_value(ComputeType::kF32, CUBLAS_COMPUTE_32F));
static_assert(same_value(Transpose::kNo, CUBLAS_OP_N) && same_value(Transpose::kYes, CUBLAS_OP_T));
static_assert(same_value(ProductAttribute::kTransposeA, CUBLASLT_MATMUL_DESC_TRANSA) && same_value(ProductAttribute::kTransposeB, CUBLASLT_MATMUL_DESC_TRANSB));
static_assert(same_value(WishAttribute::kMostWorkspaceBytes, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES));
static_assert(same_value(WishAttribute::kReductionSchemes, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK) && CUBLASLT_REDUCTION_SCHEME_NONE == 0);
static_assert(same_value(WishAttribute::kAlignmentA, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES));
static_assert(same_value(WishAttribute::kAlignmentB, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES));
static_assert(same_value(WishAttribute::kAlignmentC, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES));
static_assert(same_value(WishAttribute::kAlignmentD, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES));

template <class Real, class Own>
constexpr bool same_function = std::is_same_v<typename Ours<Real>::Type*, Own>;
static_assert(same_function<decltype(::cublasLtGetVersion), decltype(Api::get_version)>);
static_assert(same_function<decltype(::cublasLtGetStatusString), decltype(Api::get_status_string)>);
static_assert(same_function<decltype(::cublasLtCreate), decltype(Api::create)>);
static_assert(same_function<decltype(::cublasLtDestroy), decltype(Api::destroy)>);
static_assert(same_function<decltype(::cublasLtMatmulDescCreate), decltype(Api::product_create)>);
static_assert(same_function<decltype(::cublasLtMatmulDescDestroy), decltype(Api::product_destroy)>);
static_assert(same_function<decltype(::cublasLtMatmulDescSetAttribute), decltype(Api::product_set)>);
static_assert(same_function<decltype(::cublasLtMatrixLayoutCreate), decltype(Api::layout_create)>);
static_assert(same_function<decltype(::cublasLtMatrixLayoutDestroy), decltype(Api::layout_destroy)>);
static_assert(same_function<decltype(::cublasLtMatmulPreferenceCreate), decltype(Api::wishes_create)>);
static_assert(same_function<decltype(::cublasLtMatmulPreferenceDestroy), decltype(Api::wishes_destroy)>);
static_assert(same_function<decltype(::cublasLtMatmulPreferenceSetAttribute), decltype(Api::wishes_set)>);
static_assert(same_function<decltype(::cublasLtMatmulAlgoGetHeuristic), decltype(Api::get_heuristic)>);
static_assert(same_function<decltype(::cublasLtMatmul), decltype(Api::multiply)>);

}  // namespace
}  // namespace crossover::cuda::lt
