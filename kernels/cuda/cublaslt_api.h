// cuBLASLt's C interface as far as it is used: declared here, because the library is opened at run time (cublaslt_library.h) and may be of any
// version from CUDA 12 on, or not there. cublaslt_check.cpp holds all of it against the real header where CMake finds one.
#pragma once

#include <cstddef>
#include <cstdint>

namespace crossover::cuda::lt {

enum class Status : int {  // cublasStatus_t
  kSuccess = 0,
  kNotInitialized = 1,
  kInvalidValue = 7,
  kExecutionFailed = 13,
  kNotSupported = 15,
};
enum class DataType : int { kF32 = 0, kBf16 = 14 };  // cudaDataType_t
enum class ComputeType : int { kF32 = 68 };          // cublasComputeType_t: of the sums
enum class Transpose : int { kNo = 0, kYes = 1 };    // cublasOperation_t, of the stored matrix

enum class ProductAttribute : int { kTransposeA = 3, kTransposeB = 4 };  // cublasLtMatmulDescAttributes_t
enum class WishAttribute : int {                                         // cublasLtMatmulPreferenceAttributes_t
  kMostWorkspaceBytes = 1,   // std::uint64_t
  kReductionSchemes = 3,     // std::uint32_t, bits; 0: K is not split between blocks
  kAlignmentA = 5,           // std::uint32_t, in bytes, as the next three: what addresses are multiples of; 256 where nothing is said
  kAlignmentB = 6,
  kAlignmentC = 7,
  kAlignmentD = 8,
};

struct Algorithm { std::uint64_t data[8]; };
struct Heuristic {
  Algorithm algorithm;
  std::size_t workspace_bytes;
  Status status;  // else nothing in it holds
  float waves;
  int reserved[4];
};

struct OpaqueHandle;
struct OpaqueProduct;
struct OpaqueLayout;
struct OpaqueWishes;
using Handle = OpaqueHandle*;
using Product = OpaqueProduct*;  // cublasLtMatmulDesc_t
using Layout = OpaqueLayout*;    // cublasLtMatrixLayout_t
using Wishes = OpaqueWishes*;    // cublasLtMatmulPreference_t
using Stream = void*;            // cudaStream_t

// The functions, each with its symbol. Matrices lie column by column, the first values of neighbouring columns `leading` values apart.
struct Api {
  std::size_t (*get_version)();                                                                                    // cublasLtGetVersion
  const char* (*get_status_string)(Status status);                                                                 // cublasLtGetStatusString
  Status (*create)(Handle* handle);                                                                                // cublasLtCreate: on the current GPU
  Status (*destroy)(Handle handle);                                                                                // cublasLtDestroy
  Status (*product_create)(Product* product, ComputeType sums, DataType factors);                                  // cublasLtMatmulDescCreate
  Status (*product_destroy)(Product product);                                                                      // cublasLtMatmulDescDestroy
  Status (*product_set)(Product product, ProductAttribute attribute, const void* value, std::size_t bytes);        // cublasLtMatmulDescSetAttribute
  Status (*layout_create)(Layout* layout, DataType type, std::uint64_t rows, std::uint64_t columns, std::int64_t leading);  // cublasLtMatrixLayoutCreate
  Status (*layout_destroy)(Layout layout);                                                                         // cublasLtMatrixLayoutDestroy
  Status (*wishes_create)(Wishes* wishes);                                                                         // cublasLtMatmulPreferenceCreate
  Status (*wishes_destroy)(Wishes wishes);                                                                         // cublasLtMatmulPreferenceDestroy
  Status (*wishes_set)(Wishes wishes, WishAttribute attribute, const void* value, std::size_t bytes);              // cublasLtMatmulPreferenceSetAttribute
  Status (*get_heuristic)(Handle handle, Product product, Layout a, Layout b, Layout c, Layout d, Wishes wishes, int asked, Heuristic* found,
                          int* count);                                                                             // cublasLtMatmulAlgoGetHeuristic
  Status (*multiply)(Handle handle, Product product, const void* alpha, const void* a, Layout a_layout, const void* b, Layout b_layout, const void* beta,
                     const void* c, Layout c_layout, void* d, Layout d_layout, const Algorithm* algorithm, void* workspace, std::size_t workspace_bytes,
                     Stream stream);                                                                               // cublasLtMatmul: d = alpha a b + beta c
};

}  // namespace crossover::cuda::lt
