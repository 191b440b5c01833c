#include "kernels/cuda/cublaslt.h"

#include <algorithm>
#include <bit>
#include <stdexcept>

#include "kernels/cuda/runtime.h"

namespace crossover::cuda {
namespace {

constexpr std::uint64_t kMostWorkspaceBytes = std::uint64_t{32} << 20;  // as much as NVIDIA advises for Hopper

// What address and stride are both multiples of, as far as any kernel asks.
std::uint32_t alignment_of(const void* address, std::int64_t stride_bytes) {
  constexpr std::uintptr_t kMost = 256;
  return std::uint32_t{1} << std::countr_zero(reinterpret_cast<std::uintptr_t>(address) | static_cast<std::uintptr_t>(stride_bytes) | kMost);
}

}  // namespace

struct CublasLt::Plan {
  explicit Plan(const lt::Api& of) : api(of) {}
  ~Plan() {
    // Failures here would be of pointers that the library made itself.
    if (product) (void)api.product_destroy(product);
    for (const lt::Layout layout : {weight, x, out})
      if (layout) (void)api.layout_destroy(layout);
  }
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;

  // The first call that fails; null: none.
  const char* describe(const Shape& shape, lt::Status& status) {
    const auto t = static_cast<std::uint64_t>(shape.tokens), n = static_cast<std::uint64_t>(shape.rows), k = static_cast<std::uint64_t>(shape.values);
    if ((status = api.product_create(&product, lt::ComputeType::kF32, lt::DataType::kF32)) != lt::Status::kSuccess) return "cublasLtMatmulDescCreate";
    const lt::Transpose transpose = lt::Transpose::kYes;
    status = api.product_set(product, lt::ProductAttribute::kTransposeA, &transpose, sizeof transpose);
    if (status != lt::Status::kSuccess) return "cublasLtMatmulDescSetAttribute";
    status = api.layout_create(&weight, lt::DataType::kBf16, k, n, shape.values);
    if (status == lt::Status::kSuccess) status = api.layout_create(&x, lt::DataType::kBf16, k, t, shape.x_stride);
    if (status == lt::Status::kSuccess) status = api.layout_create(&out, lt::DataType::kF32, n, t, shape.out_stride);
    return status != lt::Status::kSuccess ? "cublasLtMatrixLayoutCreate" : nullptr;
  }

  const char* choose(lt::Handle handle, const Shape& shape, lt::Status& status) {
    lt::Wishes wishes = nullptr;
    if ((status = api.wishes_create(&wishes)) != lt::Status::kSuccess) return "cublasLtMatmulPreferenceCreate";
    const std::uint32_t no_scheme = 0;
    const auto set = [&](lt::WishAttribute attribute, const auto& value) {
      if (status == lt::Status::kSuccess) status = api.wishes_set(wishes, attribute, &value, sizeof value);
    };
    set(lt::WishAttribute::kMostWorkspaceBytes, kMostWorkspaceBytes), set(lt::WishAttribute::kReductionSchemes, no_scheme);
    set(lt::WishAttribute::kAlignmentA, shape.weight_alignment), set(lt::WishAttribute::kAlignmentB, shape.x_alignment);
    set(lt::WishAttribute::kAlignmentC, shape.out_alignment), set(lt::WishAttribute::kAlignmentD, shape.out_alignment);
    const char* failed = status != lt::Status::kSuccess ? "cublasLtMatmulPreferenceSetAttribute" : nullptr;
    if (!failed) {
      lt::Heuristic found{};
      int count = 0;
      status = api.get_heuristic(handle, product, weight, x, out, out, wishes, 1, &found, &count);
      if (status == lt::Status::kSuccess && count < 1) status = lt::Status::kNotSupported;
      if (status == lt::Status::kSuccess) status = found.status;
      algorithm = found.algorithm, workspace_bytes = found.workspace_bytes;
      if (status != lt::Status::kSuccess) failed = "cublasLtMatmulAlgoGetHeuristic";
    }
    (void)api.wishes_destroy(wishes);
    return failed;
  }

  const lt::Api& api;
  lt::Product product = nullptr;
  lt::Layout weight = nullptr, x = nullptr, out = nullptr;
  lt::Algorithm algorithm{};
  std::size_t workspace_bytes = 0;
  std::string refused;  // empty: it can be started
};

CublasLt::CublasLt(const Options& options) : options_(options) {
  library_ = std::make_unique<lt::Library>(options.libraries, [this](const lt::Library& library) -> std::string {
    const lt::Status status = library.api().create(&handle_);
    return status == lt::Status::kSuccess ? "" : library.describe("cublasLtCreate", status);
  });
}

CublasLt::~CublasLt() {
  plans_.clear();
  if (library_ && handle_) (void)library_->api().destroy(handle_);
}

bool CublasLt::refuse(const std::string& why) {
  refusal_ = why;
  if (options_.must) throw std::runtime_error(why + "; CROSSOVER_CUDA_GEMM=auto leaves what it refuses to our kernel");
  return false;
}

CublasLt::Plan& CublasLt::plan_of(const Shape& shape) {
  std::unique_ptr<Plan>& plan = plans_[shape];
  if (plan) return *plan;
  plan = std::make_unique<Plan>(library_->api());
  lt::Status status = lt::Status::kSuccess;
  const char* failed = plan->describe(shape, status);
  if (!failed) failed = plan->choose(handle_, shape, status);
  if (failed)
    plan->refused = library_->describe(failed, status) + " for " + std::to_string(shape.tokens) + " tokens by bf16 [" + std::to_string(shape.rows) + ", " +
                    std::to_string(shape.values) + "]";
  return *plan;
}

bool CublasLt::multiply(Context& ctx, const std::uint16_t* x, std::int64_t x_stride, const Tensor& weight, const Rows& out) {
  constexpr std::int64_t kHalf = sizeof(std::uint16_t), kFloat = sizeof(float);
  Plan& plan = plan_of({.tokens = out.rows, .rows = weight.rows(), .values = weight.cols(), .x_stride = x_stride, .out_stride = out.stride,
                        .weight_alignment = alignment_of(weight.data, weight.cols() * kHalf), .x_alignment = alignment_of(x, x_stride * kHalf),
                        .out_alignment = alignment_of(out.data, out.stride * kFloat)});
  if (!plan.refused.empty()) return refuse(plan.refused);
  std::byte* const workspace = plan.workspace_bytes > 0 ? ctx.workspace.bytes("gemm.cublaslt", plan.workspace_bytes) : nullptr;
  const float one = 1, zero = 0;
  const lt::Status status = library_->api().multiply(handle_, plan.product, &one, weight.data, plan.weight, x, plan.x, &zero, out.data, plan.out, out.data, plan.out,
                                                     &plan.algorithm, workspace, plan.workspace_bytes, ctx.device->stream());
  if (status != lt::Status::kSuccess) {
    plan.refused = library_->describe("cublasLtMatmul", status);
    return refuse(plan.refused);
  }
  ctx.device->count_launch();
  return true;
}

}  // namespace crossover::cuda
