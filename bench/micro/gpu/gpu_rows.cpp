// Kernels of the cuda backend, each beside the ceiling that bounds it and the best published figure where there is one
// (crossover_gpu_micro). Shapes of the 27B and the 35B-A3B. A call is timed in batches between two synchronizations, whose launches go out as CUDA graphs
// as a decoded token's do: one by one the host takes longer to ask for a kernel of 2 us than the device for the kernel. Operands that decoding reads once
// go round buffers larger than the L2 cache.
#include "bench/micro/gpu/gpu_rows.h"

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <functional>
#include <optional>
#include <stdexcept>

#include "bench/micro/operands.h"
#include "kernels/cuda/cublaslt.h"
#include "kernels/cuda/launch_graphs.h"
#include "kernels/cuda/probe.h"
#include "kernels/cuda/quantize.h"
#include "kernels/cuda/runtime.h"
#include "kernels/formats/formats.h"

namespace crossover::micro_bench {
namespace {

constexpr std::int64_t kBeyondCache = std::int64_t{512} << 20;
constexpr double kBatch_s = 4e-3;  // of a timed batch

// What a benchmark of a device has, and memory on it that goes back with it.
class GpuContext {
 public:
  GpuContext()
      : device_(0), pool_(1), workspace_(memory_of(cuda_ops())), context_{cuda_ops(), pool_, workspace_, counters_, nullptr, nullptr, &device_}, graphs_(device_) {
    workspace_.before_release([this] { device_.hand_over(); });
  }
  operator Context&() { return context_; }
  Context& context() { return context_; }

  // call(0) .. call(calls - 1), until they are done.
  double seconds(std::int64_t calls, const std::function<void(std::int64_t)>& call) {
    const auto start = std::chrono::steady_clock::now();
    graphs_.run(false, [&] {
      for (std::int64_t i = 0; i < calls; ++i) call(i);
    });
    cuda_ops().synchronize(context_);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

  std::byte* bytes(std::int64_t count) { return memory_.emplace_back(static_cast<std::size_t>(std::max<std::int64_t>(count, 256)), memory_of(cuda_ops())).data(); }
  float* floats(std::int64_t count, float low = -1, float high = 1) {
    const std::vector<float> host = random_floats(count, low, high);
    return reinterpret_cast<float*>(copy(host.data(), count * 4));
  }
  std::byte* copy(const void* host, std::int64_t count) {
    std::byte* const to = bytes(count);
    cuda_ops().upload(context_, to, static_cast<const std::byte*>(host), static_cast<std::size_t>(count));
    return to;
  }
  // From now on products of many tokens by bf16 weights are cuBLASLt's; std::runtime_error where it cannot be used.
  void use_library() { context_.cublaslt = &library_.emplace(cuda::CublasLt::Options{.must = true}); }

  // Valid blocks, the same few again and again: values do not matter to the time.
  Tensor weights(DType dtype, std::array<std::int64_t, 3> shape) {
    constexpr std::int64_t kPiece = 1 << 20;
    const Tensor tensor{nullptr, dtype, shape};
    const std::vector<float> values = random_floats(kPiece, -0.1f, 0.1f);
    std::vector<std::byte> piece(static_cast<std::size_t>(row_bytes(dtype, kPiece)));
    quantize_fn(dtype)(values.data(), piece.data(), kPiece);
    std::byte* const to = bytes(tensor.bytes());
    for (std::int64_t at = 0; at < tensor.bytes(); at += static_cast<std::int64_t>(piece.size()))
      cuda_ops().upload(context_, to + at, piece.data(), std::min(piece.size(), static_cast<std::size_t>(tensor.bytes() - at)));
    return {to, dtype, shape};
  }

 private:
  cuda::Device device_;
  ThreadPool pool_;
  std::vector<Buffer> memory_;
  Workspace workspace_;
  Counters counters_;
  std::optional<cuda::CublasLt> library_;
  Context context_;
  cuda::LaunchGraphs graphs_;
};

struct GpuRow {
  const char* bound;                          // memory | bf16
  cost::Cost cost;                            // of one call
  std::function<void(std::int64_t)> call;     // the n-th
};

void measure(benchmark::State& state, const std::function<GpuRow(GpuContext&)>& prepare) {
  std::string why;
  if (cuda::device_count(&why) == 0) return state.SkipWithError(why.c_str());
  GpuContext gpu;
  GpuRow row;
  try {
    row = prepare(gpu);
  } catch (const std::runtime_error& error) {  // not on this GPU
    return state.SkipWithError(error.what());
  }
  gpu.seconds(4, row.call);  // each number of calls makes its graphs the first time
  const std::int64_t calls = std::clamp<std::int64_t>(std::llround(kBatch_s / (gpu.seconds(4, row.call) / 4)), 1, 1000);
  gpu.seconds(calls, row.call);
  for (auto _ : state) state.SetIterationTime(gpu.seconds(calls, row.call) / static_cast<double>(calls));
  state.counters["flop/s"] = rate(static_cast<double>(row.cost.flops));
  state.counters["bytes/s"] = rate(static_cast<double>(row.cost.bytes));
  state.SetLabel(row.bound);
}

void add(const std::string& name, std::function<GpuRow(GpuContext&)> prepare) {
  benchmark::RegisterBenchmark(name.c_str(), measure, std::move(prepare))->UseManualTime()->Iterations(15)->Unit(benchmark::kMicrosecond);
}

void add_ceilings() {
  add("ceiling/read", [](GpuContext& gpu) {
    const std::int64_t bytes = std::int64_t{4} << 30;
    std::byte* const memory = gpu.bytes(bytes);
    cuda_ops().clear(gpu, memory, static_cast<std::size_t>(bytes));
    return GpuRow{"memory", {bytes, 0}, [&gpu, memory, bytes](std::int64_t) { cuda::read_all(gpu, memory, bytes); }};
  });
  add("ceiling/mma_bf16", [](GpuContext& gpu) {
    constexpr std::int64_t kRounds = 20000;
    const std::int64_t flops = cuda::multiply_all(gpu, kRounds);
    return GpuRow{"bf16", {0, flops}, [&gpu](std::int64_t) { cuda::multiply_all(gpu, kRounds); }};
  });
}

// By warpgroups: beside the same by warps.
enum class Products { kWarps, kWarpgroups, kLibrary };
const char* suffix(Products products) { return products == Products::kWarpgroups ? "/wgmma" : ""; }

void add_matmul(DType dtype, std::int64_t tokens, std::int64_t n, std::int64_t k, Products products = Products::kWarps) {
  const bool library = products == Products::kLibrary;  // cuBLASLt
  add(fmt::format("matmul/{}{}/M:{}/N:{}/K:{}{}", name(dtype), library ? "-cublaslt" : "", tokens, n, k, suffix(products)), [=](GpuContext& gpu) {
    if (library) gpu.use_library();
    if (products == Products::kWarpgroups) gpu.context().device->use_warpgroups();
    const std::int64_t copies = tokens <= 16 ? std::max<std::int64_t>(1, kBeyondCache / (n * row_bytes(dtype, k)) + 1) : 1;
    const Tensor all = gpu.weights(dtype, {copies, n, k});
    const Rows x(gpu.floats(tokens * k), tokens, k), out(gpu.floats(tokens * n), tokens, n);
    return GpuRow{tokens <= 64 ? "memory" : "bf16", cost::matmul(x, all.expert(0), out),
                  [=, &gpu](std::int64_t i) { op::matmul(gpu, x, all.expert(i % copies), out); }};
  });
}

// Experts of the 35B-A3B: 256 of which each token takes 8, chosen evenly.
void add_moe(std::int64_t tokens) {
  add(fmt::format("moe_experts/q6_k/T:{}/E:256/k:8/H:2048/Im:512", tokens), [=](GpuContext& gpu) {
    constexpr std::int64_t kExperts = 256, kChosen = 8, kHidden = 2048, kWidth = 512;
    const Tensor gate = gpu.weights(DType::kQ6_K, {kExperts, kWidth, kHidden}), up = gpu.weights(DType::kQ6_K, {kExperts, kWidth, kHidden}),
                 down = gpu.weights(DType::kQ6_K, {kExperts, kHidden, kWidth});
    std::vector<std::int32_t> ids(static_cast<std::size_t>(tokens * kChosen));
    std::mt19937 random(3);
    for (std::size_t i = 0; i < ids.size(); i += kChosen)
      for (std::size_t j = 0; j < kChosen; ++j) ids[i + j] = static_cast<std::int32_t>((random() % 32) + 32 * j);
    const auto count = static_cast<std::int64_t>(ids.size());
    const MoeExperts moe{Rows(gpu.floats(tokens * kHidden), tokens, kHidden), {reinterpret_cast<const std::int32_t*>(gpu.copy(ids.data(), count * 4)), ids.size()},
                         {gpu.floats(count, 0.05f, 0.2f), ids.size()}, gate, up, down};
    const Rows out(gpu.floats(tokens * kHidden), tokens, kHidden);
    std::sort(ids.begin(), ids.end());
    const auto different = static_cast<std::int64_t>(std::unique(ids.begin(), ids.end()) - ids.begin());
    return GpuRow{tokens <= 1024 ? "memory" : "bf16", cost::moe_experts(moe, different, out), [=, &gpu](std::int64_t) { op::moe_experts(gpu, moe, out); }};
  });
}

// A matrix of the 27B, as a load has it. Its bound is neither ceiling: some 500 instructions a weight (kernels/cuda/quantize.cu).
void add_quantize() {
  add("quantize_q6_k/bf16/N:17408/K:5120", [](GpuContext& gpu) {
    const Tensor rows = gpu.weights(DType::kBF16, {1, 17408, 5120});
    const std::int64_t block_bytes = row_bytes(DType::kQ6_K, rows.values());
    std::byte* const blocks = gpu.bytes(block_bytes);
    return GpuRow{"memory", {rows.bytes() + block_bytes, 0},
                  [=, &gpu](std::int64_t) { cuda::quantize_q6_k(*gpu.context().device, DType::kBF16, rows.data, rows.values(), blocks); }};
  });
}

// The mixer of a layer with 16 key and 32 value heads: convolution, norms, gates, delta rule, gated norm.
void add_gdn(std::int64_t tokens, std::int64_t value_heads) {
  add(fmt::format("gdn_mixer/T:{}/nk:16/nv:{}", tokens, value_heads), [=](GpuContext& gpu) {
    constexpr std::int64_t kKeys = 16, kDim = 128;
    const std::int64_t channels = (2 * kKeys + value_heads) * kDim, width = value_heads * kDim, layers = tokens == 1 ? 64 : 1, state = value_heads * kDim * kDim;
    GdnMixer mixer{.mixed = Rows(gpu.floats(tokens * channels), tokens, channels), .conv = gpu.weights(DType::kF32, {1, channels, 4}),
                   .a = Rows(gpu.floats(tokens * value_heads), tokens, value_heads), .b = Rows(gpu.floats(tokens * value_heads), tokens, value_heads),
                   .ssm_a = gpu.floats(value_heads, -1, -0.1f), .dt_bias = gpu.floats(value_heads), .z = Rows(gpu.floats(tokens * width), tokens, width),
                   .norm = gpu.floats(kDim), .conv_state = gpu.floats(3 * channels), .key_heads = kKeys, .value_heads = value_heads};
    float* const states = gpu.floats(layers * state, -0.1f, 0.1f);
    const Rows out(gpu.floats(tokens * width), tokens, width);
    mixer.state = states;
    return GpuRow{"memory", cost::gdn_mixer(mixer, out), [=, &gpu](std::int64_t i) {
                    GdnMixer one = mixer;
                    one.state = states + i % layers * state;
                    op::gdn_mixer(gpu, one, out);
                  }};
  });
}

// 16 heads over 2 key/value heads of 256.
void add_attention(DType dtype, std::int64_t tokens, std::int64_t past, Products products = Products::kWarps) {
  add(fmt::format("attention/{}/T:{}/past:{}/heads:16/kv_heads:2{}", name(dtype), tokens, past, suffix(products)), [=](GpuContext& gpu) {
    if (products == Products::kWarpgroups) gpu.context().device->use_warpgroups();
    constexpr std::int64_t kHeads = 16, kKvHeads = 2, kDim = 256;
    const std::int64_t rows = past + tokens, layers = tokens == 1 ? std::max<std::int64_t>(1, kBeyondCache / (2 * rows * row_bytes(dtype, kKvHeads * kDim))) : 1;
    const Tensor keys = gpu.weights(dtype, {layers, rows, kKvHeads * kDim}), values = gpu.weights(dtype, {layers, rows, kKvHeads * kDim});
    const Rows out(gpu.floats(tokens * kHeads * kDim), tokens * kHeads, kDim);
    const Attention one{.q = Rows(gpu.floats(tokens * kHeads * kDim), tokens * kHeads, kDim), .keys = keys.expert(0), .values = values.expert(0), .past = past,
                        .heads = kHeads, .kv_heads = kKvHeads};
    return GpuRow{tokens == 1 ? "memory" : "bf16", cost::attention(one, out), [=, &gpu](std::int64_t i) {
                    Attention a = one;
                    a.keys = keys.expert(i % layers), a.values = values.expert(i % layers);
                    op::attention(gpu, a, out);
                  }};
  });
}

}  // namespace

void add_gpu_rows() {
  add_ceilings();
  for (const auto& [n, k] : {std::pair<std::int64_t, std::int64_t>{17408, 5120}, {5120, 17408}, {2048, 4096}})
    for (const std::int64_t tokens : {1, 4, 16, 64, 512, 2048}) {
      add_matmul(DType::kQ6_K, tokens, n, k);
      if (tokens >= 512) add_matmul(DType::kQ6_K, tokens, n, k, Products::kWarpgroups);
    }
  for (const std::int64_t tokens : {1, 2048}) add_matmul(DType::kBF16, tokens, 17408, 5120);
  for (const Products products : {Products::kWarpgroups, Products::kLibrary}) add_matmul(DType::kBF16, 2048, 17408, 5120, products);
  for (const std::int64_t tokens : {1, 16, 512, 2048, 4096}) add_moe(tokens);
  add_quantize();
  for (const std::int64_t tokens : {1, 2048, 8192, 32768}) add_gdn(tokens, 32);
  for (const std::int64_t tokens : {2048, 8192, 16384})
    for (const Products products : {Products::kWarps, Products::kWarpgroups}) add_attention(DType::kF16, tokens, 0, products);
  for (const Products products : {Products::kWarps, Products::kWarpgroups}) add_attention(DType::kBF16, 8192, 0, products);
  for (const DType dtype : {DType::kF16, DType::kQ8_0, DType::kQ4_0})
    for (const std::int64_t past : {4095, 32767}) add_attention(dtype, 1, past);
}

}  // namespace crossover::micro_bench
