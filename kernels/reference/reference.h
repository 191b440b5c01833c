// The reference backend's operations; shapes and meaning are those of kernels/ops.h. Everything is one plain loop nest on the
// calling thread, sums and transcendental functions in double, one rounding to f32 at the end.
#pragma once

#include "kernels/ops.h"

namespace crossover::reference {

std::byte* allocate(std::size_t bytes);
void release(std::byte* memory, std::size_t bytes);
void upload(Context&, std::byte* to, const std::byte* from_host, std::size_t bytes);
void download(Context&, std::byte* to_host, const std::byte* from, std::size_t bytes);
void download_rows(Context&, Rows to_host, ConstRows from);
void clear(Context&, std::byte* memory, std::size_t bytes);
void synchronize(Context&);

void embed(Context&, const Tensor& table, std::int64_t first_row, std::span<const std::int32_t> ids, Rows out);
void rms_norm(Context&, ConstRows x, const float* weight, float eps, Rows out);
void add_rms_norm(Context&, Rows x, ConstRows y, const float* weight, float eps, Rows out);
void l2_norm(Context&, ConstRows x, float eps, float scale, Rows out);
void matmul(Context&, ConstRows x, const Tensor& weight, Rows out);
void matmuls(Context&, ConstRows x, std::span<const Projection>);
void add(Context&, Rows x, ConstRows y);
void add_gated(Context&, Rows x, ConstRows y, ConstRows gate);
void swiglu(Context&, ConstRows gate, ConstRows up, Rows out);
void sigmoid_gate(Context&, Rows x, ConstRows gate);
void conv1d_silu(Context&, ConstRows x, const Tensor& weight, float* state, Rows out);
void gdn_gates(Context&, ConstRows a, ConstRows b, const float* ssm_a, const float* dt_bias, Rows g, Rows beta);
void gdn_recurrent(Context&, const GdnScan&, Rows out);
void gdn_chunked(Context&, const GdnScan&, Rows out);
void gdn_mixer(Context&, const GdnMixer&, Rows out);
void gated_rms_norm(Context&, ConstRows x, const float* weight, ConstRows z, float eps, Rows out);
void rope_angles(Context&, std::int64_t first_position, double theta, Rows out);
void norm_rope(Context&, Rows x, const float* weight, float eps, std::int64_t heads, ConstRows angles);
void rotate(Context&, Rows x, Rotation rotation, bool back);
void kv_write(Context&, ConstRows x, const KvCache& cache, std::int64_t first_row);
void attention(Context&, const Attention&, Rows out);
void moe_route(Context&, ConstRows logits, std::int64_t k, bool normalize, std::span<std::int32_t> ids, std::span<float> weights);
void moe_experts(Context&, const MoeExperts&, Rows out);

}  // namespace crossover::reference
