// The map of the arithmetic: every operation of the engine with its shapes. A backend is one table of these functions; the
// engine knows only the table. Letters: T tokens of this call, H hidden, N rows of a weight, C conv channels, nk/nv GDN key and
// value heads, D = 128 GDN head dim, nh/nkv attention heads, hd = 256 attention head dim, E experts, k experts per token.
// Weights are [out, in]. Activations are f32. Operands must not overlap unless a line says "in place".
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "kernels/counters.h"
#include "kernels/rotation.h"
#include "kernels/tensor.h"
#include "kernels/thread_pool.h"
#include "kernels/trace.h"
#include "kernels/workspace.h"

namespace crossover {

namespace cpu { struct Micro; }   // inner loops of one instruction set (kernels/cpu/micro.h)
namespace cuda {
class Device;    // a GPU and its stream (kernels/cuda/runtime.h)
class CublasLt;  // NVIDIA's products (kernels/cuda/cublaslt.h)
}  // namespace cuda
struct Ops;

// What an operation may use besides its operands. One per rank; never shared between threads.
struct Context {
  const Ops& ops;
  ThreadPool& pool;
  Workspace& workspace;
  Counters& counters;
  Trace* trace = nullptr;
  const cpu::Micro* micro = nullptr;  // cpu backend only
  cuda::Device* device = nullptr;     // cuda backend only
  cuda::CublasLt* cublaslt = nullptr;  // cuda backend: null where every product is our kernels'
};

// Which key head a value head reads: tiled = p mod nk (GGUF order of qwen35*), grouped = p div (nv/nk) (qwen3next).
enum class HeadOrder : std::uint8_t { kTiled, kGrouped };

struct GdnScan {
  ConstRows q, k;             // [T, nk*D], L2-normalised; q also scaled by D^-1/2
  ConstRows v;                // [T, nv*D]
  ConstRows g, beta;          // [T, nv]: log decay (<= 0), write strength
  float* state = nullptr;     // [nv, D (k), D (v)], in place
  std::int64_t key_heads = 0, value_heads = 0, head_dim = 128;
  HeadOrder order = HeadOrder::kTiled;
  bool f32_products = false;  // chunked: keep f32 where products in bf16 with f32 sums are faster
};

// How the delta rule is evaluated: token by token, or by chunks of tokens with products in bf16 where that is faster, or in f32.
// Auto: chunks from that number of tokens on from which they are faster.
enum class GdnForm : std::uint8_t { kAuto, kRecurrent, kChunked, kChunkedF32 };

// What a Gated DeltaNet layer does between its projections, in one operation: convolution and SiLU of q, k and v, L2 norm of q and
// k, gates, delta rule, gated norm of every head's output.
struct GdnMixer {
  ConstRows mixed;                     // [T, C], C = (2 nk + nv) D: q, k and v before the convolution
  Tensor conv;                         // f32 [C, 4]
  ConstRows a, b;                      // [T, nv]
  const float *ssm_a = nullptr, *dt_bias = nullptr;  // [nv]
  ConstRows z;                         // [T, nv*D]: the gate of the output
  const float* norm = nullptr;         // [D]
  float norm_eps = 1e-6f;
  float* conv_state = nullptr;         // [3, C], oldest first, in place
  float* state = nullptr;              // [nv, D (k), D (v)], in place
  std::int64_t key_heads = 0, value_heads = 0, head_dim = 128;
  HeadOrder order = HeadOrder::kTiled;
  GdnForm form = GdnForm::kAuto;
  Rows conv_out = {}, g = {}, beta = {};  // for whoever wants to see them, [T, C] and [T, nv]; not written where data is null
};

inline constexpr float kGdnKeyEps = 1e-6f;  // of the L2 norms of q and k

// A cache knows how its rows are rotated: what writes it rotates, what reads it rotates queries or turns results back.
struct KvCache {
  Tensor rows;                // [capacity, nkv*hd]
  Rotation rotation = Rotation::kNone;
  std::int64_t head_dim = 0;  // hd; needed when rotated

  KvCache() = default;
  KvCache(const Tensor& r, Rotation how = Rotation::kNone, std::int64_t hd = 0) : rows(r), rotation(how), head_dim(hd) {}
};

struct Attention {
  ConstRows q;                // [T*nh, hd], after norm and RoPE, not rotated; row t*nh + h
  KvCache keys, values;       // rows 0 .. past+T-1 are filled
  std::int64_t past = 0;      // query t sees rows 0 .. past+t
  std::int64_t heads = 0, kv_heads = 0;
  float scale = 0.0625f;      // hd^-1/2
  ConstRows gate = {};        // [T*nh, hd] or no memory: the result is multiplied by sigmoid(gate)
};

// Grouped: every expert multiplies all its tokens of the pass at once. Per token: one token after the other with its k experts.
enum class MoeMode : std::uint8_t { kGrouped, kPerToken };

struct MoeExperts {
  ConstRows x;                           // [T, H]
  std::span<const std::int32_t> ids;     // [T, k]
  std::span<const float> weights;        // [T, k]
  Tensor gate, up, down;                 // [E, Im, H], [E, Im, H], [E, H, Im]; Im may be 0 on a rank
  MoeMode mode = MoeMode::kGrouped;      // cpu backend; the same sums, whose products may take another path of the same tolerance
};

// One of several products of the same activations [T, K].
struct Projection {
  Tensor weight;              // [N, K]
  Rows out;                   // [T, N]
  Tensor up = {};             // [N, K], or no memory: out = x weight^T; with memory: out = silu(x weight^T) * (x up^T)
};
inline constexpr std::size_t kMaxProjections = 8;

struct Ops {
  const char* backend;
  bool host_memory;  // operands lie where the host may read and write them; else only upload, download and clear reach them (ids of embed: always host)

  // memory of the backend and its clock
  std::byte* (*allocate)(std::size_t bytes);                                       // 64-byte aligned, uninitialised
  void (*release)(std::byte* memory, std::size_t bytes);
  void (*upload)(Context&, std::byte* to, const std::byte* from_host, std::size_t bytes);
  void (*download)(Context&, std::byte* to_host, const std::byte* from, std::size_t bytes);
  void (*download_rows)(Context&, Rows to_host, ConstRows from);                   // of one shape, each with its own stride; one wait for all
  void (*clear)(Context&, std::byte* memory, std::size_t bytes);                   // zeros
  void (*synchronize)(Context&);                                                   // all work asked for so far is done

  void (*embed)(Context&, const Tensor& table, std::int64_t first_row,             // table [N, H] holds rows first_row ..;
                std::span<const std::int32_t> ids, Rows out);                      // an id outside it gives a zero row
  void (*rms_norm)(Context&, ConstRows x, const float* weight, float eps, Rows out);            // x*rsqrt(mean(x^2)+eps)*w; may be in place
  void (*add_rms_norm)(Context&, Rows x, ConstRows y, const float* weight, float eps, Rows out);  // x += y, out = rms_norm(x): the same bits as both apart
  void (*l2_norm)(Context&, ConstRows x, float eps, float scale, Rows out);        // x*rsqrt(sum(x^2)+eps)*scale; may be in place
  void (*matmul)(Context&, ConstRows x, const Tensor& weight, Rows out);           // [T, K] x [N, K]^T -> [T, N]
  void (*matmuls)(Context&, ConstRows x, std::span<const Projection>);             // at most kMaxProjections, each of its own N and type; x is converted once
  void (*add)(Context&, Rows x, ConstRows y);                                      // x += y
  void (*add_gated)(Context&, Rows x, ConstRows y, ConstRows gate);                // x += sigmoid(gate [T, 1]) * y
  void (*swiglu)(Context&, ConstRows gate, ConstRows up, Rows out);                // silu(gate) * up; out may be gate or up
  void (*sigmoid_gate)(Context&, Rows x, ConstRows gate);                          // x *= sigmoid(gate)
  void (*conv1d_silu)(Context&, ConstRows x, const Tensor& weight, float* state, Rows out);  // x [T, C], weight f32 [C, 4], state [3, C] oldest first, in place
  void (*gdn_gates)(Context&, ConstRows a, ConstRows b, const float* ssm_a, const float* dt_bias, Rows g, Rows beta);  // g = ssm_a*softplus(a+dt), beta = sigmoid(b)
  void (*gdn_recurrent)(Context&, const GdnScan&, Rows out);                       // out [T, nv*D]
  void (*gdn_chunked)(Context&, const GdnScan&, Rows out);                         // the same values by chunks of tokens; state f32 between them
  void (*gdn_mixer)(Context&, const GdnMixer&, Rows out);                          // out [T, nv*D]
  void (*gated_rms_norm)(Context&, ConstRows x, const float* weight, ConstRows z, float eps, Rows out);  // norm(x)*w*silu(z), rows of D; may be in place
  void (*rope_angles)(Context&, std::int64_t first_position, double theta, Rows out);  // out [T, rd]: cos, then sin, of (first + t) * theta^(-2i/rd), i < rd/2
  void (*norm_rope)(Context&, Rows x, const float* weight, float eps, std::int64_t heads, ConstRows angles);  // rms_norm, then RoPE on pairs (i, i+rd/2) by angles [T, rd]; x [T*heads, hd] in place
  void (*rotate)(Context&, Rows x, Rotation rotation, bool back);                  // rows of hd, in place; back: the inverse
  void (*kv_write)(Context&, ConstRows x, const KvCache& cache, std::int64_t first_row);  // x [T, nkv*hd] -> rows of the cache, rotated, in its type
  void (*attention)(Context&, const Attention&, Rows out);                         // out [T*nh, hd]
  void (*moe_route)(Context&, ConstRows logits, std::int64_t k, bool normalize, std::span<std::int32_t> ids, std::span<float> weights);  // softmax over E, top k by falling weight, ties to the lowest id
  void (*moe_experts)(Context&, const MoeExperts&, Rows out);                      // [T, H], sum over a token's experts in ascending id order
};

// Of states and scratch memory.
inline MemorySource memory_of(const Ops& ops) { return ops.host_memory ? host::kMemory : MemorySource{ops.allocate, ops.release}; }

const Ops& reference_ops();  // plain loops, double accumulation: the oracle
const Ops& cpu_ops();        // threads and the instruction set in Context::micro
const Ops& cuda_ops();       // the GPU of Context::device; std::runtime_error in a build without CUDA

// Checked entries: shapes are verified (std::invalid_argument names operand, asked and found), the launch is counted, the table
// is called. Same arguments as the table's functions.
namespace op {
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
}  // namespace op

}  // namespace crossover
