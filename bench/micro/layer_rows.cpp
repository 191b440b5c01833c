// What a layer does besides its products: attention of the 35B-A3B and the passes over rows. Gated DeltaNet: gdn_bench.cpp.
#include <fmt/format.h>

#include "bench/micro/kernel_row.h"
#include "kernels/formats/formats.h"

namespace crossover::micro_bench {
namespace {

constexpr std::int64_t kHeads = 16, kKvHeads = 2, kHeadDim = 256;
constexpr std::int64_t kLongRows = 4096;  // rows of 8192 floats: 134 MB

using Floats = std::shared_ptr<std::vector<float>>;
Floats floats(std::int64_t count, float low = -1, float high = 1) { return std::make_shared<std::vector<float>>(random_floats(count, low, high)); }

// `layers` caches one after the other.
void add_attention(const char* kernel, DType dtype, cpu::Isa isa, std::int64_t tokens, std::int64_t past, std::int64_t layers, int threads) {
  add_row(kernel, isa, fmt::format("T:{}/past:{}/kv:{}/heads:16/kv_heads:2", tokens, past, name(dtype)), threads, [=](std::shared_ptr<CpuContext> context) {
    const std::int64_t rows = past + tokens, cache_bytes = rows * row_bytes(dtype, kKvHeads * kHeadDim);
    const Floats q = floats(tokens * kHeads * kHeadDim), out = floats(tokens * kHeads * kHeadDim), values = floats(rows * kKvHeads * kHeadDim);
    auto caches = std::make_shared<std::vector<std::byte>>(static_cast<std::size_t>(layers * 2 * cache_bytes));
    for (std::int64_t i = 0; i < 2 * layers; ++i) quantize_fn(dtype)(values->data(), caches->data() + i * cache_bytes, rows * kKvHeads * kHeadDim);
    const auto layer = [=](std::int64_t i) {
      std::byte* keys = caches->data() + 2 * i * cache_bytes;
      const std::array<std::int64_t, 3> shape{1, rows, kKvHeads * kHeadDim};
      return Attention{.q = {q->data(), tokens * kHeads, kHeadDim}, .keys = Tensor{keys, dtype, shape}, .values = Tensor{keys + cache_bytes, dtype, shape}, .past = past,
                       .heads = kHeads, .kv_heads = kKvHeads};
    };
    const bool decodes = tokens == 1;
    return KernelRow{.bound = decodes ? "memory" : isa >= cpu::Isa::kAvx512Bf16 ? "bf16" : "f32",
                     .cost = cost::attention(layer(0), Rows(nullptr, tokens * kHeads, kHeadDim)),
                     .work = [=] { for (std::int64_t i = 0; i < layers; ++i) op::attention(*context, layer(i), Rows(out->data(), tokens * kHeads, kHeadDim)); },
                     .calls = layers,
                     .memory = decodes ? caches->data() : nullptr,
                     .memory_bytes = layers * 2 * cache_bytes};
  });
}

// One pass over long rows: x is read and y is written (or x again), `dim` floats a row.
void add_pass(const char* kernel, cpu::Isa isa, std::int64_t dim, int threads, cost::Cost cost,
              std::function<void(Context&, float* x, float* y)> pass) {
  add_row(kernel, isa, fmt::format("T:{}/K:{}", kLongRows, dim), threads, [=](std::shared_ptr<CpuContext> context) {
    const Floats x = floats(kLongRows * dim), y = floats(kLongRows * dim);
    return KernelRow{.bound = "memory", .cost = cost, .work = [=] { pass(*context, x->data(), y->data()); },
                     .memory = reinterpret_cast<const std::byte*>(x->data()), .memory_bytes = kLongRows * dim * 4};
  });
}

void add_passes(cpu::Isa isa, int threads) {
  constexpr std::int64_t kHidden = 5120, kChannels = 8192;
  static const std::vector<float> weight = random_floats(kChannels * 4);
  const auto rows = [](float* data, std::int64_t dim) { return Rows(data, kLongRows, dim); };
  add_pass("rms_norm", isa, kHidden, threads, cost::rms_norm(rows(nullptr, kHidden)),
           [=](Context& c, float* x, float* y) { op::rms_norm(c, rows(x, kHidden), weight.data(), 1e-6f, rows(y, kHidden)); });
  add_pass("add", isa, kHidden, threads, cost::add(rows(nullptr, kHidden)), [=](Context& c, float* x, float* y) { op::add(c, rows(y, kHidden), rows(x, kHidden)); });
  add_pass("swiglu", isa, kHidden, threads, cost::swiglu(rows(nullptr, kHidden)),
           [=](Context& c, float* x, float* y) { op::swiglu(c, rows(x, kHidden), rows(y, kHidden), rows(y, kHidden)); });
  const Tensor taps{reinterpret_cast<std::byte*>(const_cast<float*>(weight.data())), DType::kF32, {1, kChannels, 4}};
  static std::vector<float> before(3 * kChannels);
  add_pass("conv1d_silu", isa, kChannels, threads, cost::conv1d_silu(rows(nullptr, kChannels), taps),
           [=](Context& c, float* x, float* y) { op::conv1d_silu(c, rows(x, kChannels), taps, before.data(), rows(y, kChannels)); });
  for (const DType dtype : {DType::kF16, DType::kQ8_0}) {
    const Tensor cache{nullptr, dtype, {1, kLongRows, kChannels}};
    add_pass(dtype == DType::kF16 ? "kv_write/f16" : "kv_write/q8_0", isa, kChannels, threads, cost::kv_write(rows(nullptr, kChannels), cache), [=](Context& c, float* x, float* y) {
      op::kv_write(c, rows(x, kChannels), Tensor{reinterpret_cast<std::byte*>(y), dtype, {1, kLongRows, kChannels}}, 0);
    });
  }
}

[[maybe_unused]] const bool kAdded = [] {
  for (const cpu::Isa isa : cpu::usable_isas()) {
    for (const DType dtype : {DType::kF16, DType::kQ8_0}) {
      for (const std::int64_t past : {0, 4096}) add_attention("attention_prefill", dtype, isa, 512, past, 1, 1);
      for (const int threads : {1, 2}) add_attention("attention_decode", dtype, isa, 1, 4096, 10, threads);
    }
    add_passes(isa, 1);
  }
  return true;
}();

}  // namespace
}  // namespace crossover::micro_bench
