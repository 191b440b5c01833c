// Products of many tokens by bf16 weights by NVIDIA's own library, where it is. It knows Hopper's instructions better than our kernel of mma.sync
// (gemm.cu), whose peak is about 0.62 of the tensor cores'; below kLibraryTokens both wait for the weights, and ours splits K to fill the GPU.
//
// The library reads column by column: our x [T, K] is its K x T, our weight [N, K] its K x N taken transposed, out [T, N] its N x T, each with our
// stride as leading dimension. So out^T = weight x^T, which is ours without moving a value.
//
// An algorithm is asked for once per shape (strides and the alignment of addresses belong to it) and kept. It may not split K between blocks: so the
// sums have one order, and a product is one kernel, as the engine counts it. A call of the library cannot wait in a LaunchList: what waits there goes
// to the stream before it (Device::stream). Graphs lose nothing by that: they are for passes of one token, which never come here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "kernels/cuda/cublaslt_library.h"
#include "kernels/ops.h"

namespace crossover::cuda {

// From so many tokens on the tensor cores bound a product of ours: 2 T N K flops at 0.62 of 990 TFLOP/s beside 2 N K bytes at 4.8 TB/s (H200); and
// so many sums are a tile of 64 x 64 for each of its 132 multiprocessors. Estimated, not measured.
inline constexpr std::int64_t kLibraryTokens = 128, kLibrarySums = 64 * 64 * 132;

// Of one GPU, used by its thread.
class CublasLt {
 public:
  struct Options {
    std::vector<std::string> libraries = lt::usual_names();
    std::int64_t fewest_tokens = kLibraryTokens, fewest_sums = kLibrarySums;  // of a product that is its work
    bool must = false;  // what the library refuses is std::runtime_error, else our kernel's work
  };

  explicit CublasLt(const Options& options);  // for the current GPU; std::runtime_error where no library works with it
  ~CublasLt();
  CublasLt(const CublasLt&) = delete;
  CublasLt& operator=(const CublasLt&) = delete;

  // Products it is asked for: of bf16, large enough.
  bool wants(const Tensor& weight, std::int64_t tokens) const {
    return weight.dtype == DType::kBF16 && tokens >= options_.fewest_tokens && tokens * weight.rows() >= options_.fewest_sums;
  }

  // out [T, N] = x weight^T, in the order of the device's stream. x: bf16 [T, weight.cols()], rows x_stride values apart. False: refused, nothing was
  // done; refusal() says why.
  bool multiply(Context& ctx, const std::uint16_t* x, std::int64_t x_stride, const Tensor& weight, const Rows& out);

  const std::string& version() const { return library_->version(); }
  const std::string& refusal() const { return refusal_; }  // the last one
  std::size_t shapes() const { return plans_.size(); }     // asked for so far

 private:
  struct Shape {
    std::int64_t tokens, rows, values, x_stride, out_stride;     // T, N, K
    std::uint32_t weight_alignment, x_alignment, out_alignment;  // bytes
    auto operator<=>(const Shape&) const = default;
  };
  struct Plan;

  Plan& plan_of(const Shape& shape);
  bool refuse(const std::string& why);

  const Options options_;
  lt::Handle handle_ = nullptr;
  std::unique_ptr<lt::Library> library_;
  std::map<Shape, std::unique_ptr<Plan>> plans_;
  std::string refusal_;
};

}  // namespace crossover::cuda
