// Rows of a table of any type in f32, the reference's bits. Bound by writing 4 bytes per value.
#include "kernels/cuda/blocks.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/view.h"

namespace crossover::cuda {
namespace {

constexpr int kThreads = 256;

template <DType kType>
__global__ void __launch_bounds__(kThreads) embed_kernel(const std::byte* table, std::int64_t stride, std::int64_t first_row, std::int64_t rows, const std::int32_t* ids, View<float> out) {
  wait_for_launches_before();
  const std::int64_t row = ids[blockIdx.x] - first_row;
  float* const to = out.row(blockIdx.x);
  for (std::int64_t i = threadIdx.x; i < out.dim; i += kThreads) to[i] = row >= 0 && row < rows ? value_at<kType>(table + row * stride, i) : 0.0f;
}

}  // namespace

void embed(Context& ctx, const Tensor& table, std::int64_t first_row, std::span<const std::int32_t> ids, Rows out) {
  if (out.rows == 0 || out.dim == 0) return;
  std::byte* const on_device = ctx.workspace.bytes("embed.ids", ids.size_bytes());
  ctx.device->upload(on_device, reinterpret_cast<const std::byte*>(ids.data()), ids.size_bytes());
  dispatch(table.dtype, [&]<DType kType>() {
    launch(ctx, "embed", embed_kernel<kType>, {dim3(static_cast<unsigned>(out.rows)), dim3(kThreads)}, table.data, table.row_stride(), first_row, table.rows(),
           reinterpret_cast<const std::int32_t*>(on_device), view(out));
  });
}

}  // namespace crossover::cuda
