// Gated DeltaNet of one layer: 16 key heads under 16 (0.8B), 32 (35B-A3B) or 48 (27B) value heads of 128. Prefill is bound by arithmetic:
// on a core of 233 bf16 GFLOP/s the 104 kflop of a token and value head (kernels/cost.h) are 0.45 us. Decoding moves the states, 131 kB
// a head: as many layers' one after the other as no cache holds.
#include <fmt/format.h>

#include "bench/micro/kernel_row.h"

namespace crossover::micro_bench {
namespace {

constexpr std::int64_t kKeyHeads = 16, kDim = 128, kHeadFloats = kDim * kDim;

// Operands of a pass; the states of `layers` layers.
struct Layer {
  std::int64_t tokens, layers, heads;
  std::vector<float> mixed, z, g, beta, taps, taps_state, vector, states, out;

  Layer(std::int64_t t, std::int64_t l, std::int64_t h)
      : tokens(t), layers(l), heads(h),
        mixed(random_floats(t * channels(), -0.15f, 0.15f)),  // q and k of about unit length
        z(random_floats(t * h * kDim)), g(random_floats(t * h, -0.1f, 0)), beta(random_floats(t * h, 0, 1)), taps(random_floats(4 * channels())),
        taps_state(random_floats(3 * channels())), vector(random_floats(kDim, -0.1f, 0)), states(random_floats(l * h * kHeadFloats)),
        out(static_cast<std::size_t>(t * h * kDim)) {}

  std::int64_t channels() const { return (2 * kKeyHeads + heads) * kDim; }
  ConstRows inputs() const { return {mixed.data(), tokens, channels()}; }
  Rows result() { return {out.data(), tokens, heads * kDim}; }
  ConstRows of_heads(const std::vector<float>& x) const { return {x.data(), tokens, heads}; }
  float* state(std::int64_t layer) { return states.data() + layer * heads * kHeadFloats; }

  GdnScan scan(std::int64_t layer) {
    const std::int64_t keys = kKeyHeads * kDim;
    return {.q = inputs().columns(0, keys), .k = inputs().columns(keys, keys), .v = inputs().columns(2 * keys, heads * kDim), .g = of_heads(g),
            .beta = of_heads(beta), .state = state(layer), .key_heads = kKeyHeads, .value_heads = heads};
  }
  GdnMixer mixer(std::int64_t layer, GdnForm form) {
    return {.mixed = inputs(), .conv = {reinterpret_cast<std::byte*>(taps.data()), DType::kF32, {1, channels(), 4}}, .a = of_heads(g), .b = of_heads(beta),
            .ssm_a = vector.data(), .dt_bias = vector.data(), .z = {z.data(), tokens, heads * kDim}, .norm = vector.data(),
            .conv_state = taps_state.data(), .state = state(layer), .key_heads = kKeyHeads, .value_heads = heads, .form = form};
  }
};

struct Shape {
  std::int64_t tokens, layers, heads;
};

// One call per layer of what `call` does; `chunked`: products in bf16 where the instruction set has them.
void add_layers(const char* kernel, cpu::Isa isa, Shape shape, int threads, bool chunked, std::function<cost::Cost(Layer&)> cost,
                std::function<void(Context&, Layer&, std::int64_t layer)> call) {
  add_row(kernel, isa, fmt::format("T:{}/layers:{}/heads:{}", shape.tokens, shape.layers, shape.heads), threads, [=](std::shared_ptr<CpuContext> context) {
    const auto layer = std::make_shared<Layer>(shape.tokens, shape.layers, shape.heads);
    const bool decodes = shape.tokens == 1;
    return KernelRow{.bound = decodes ? "memory" : chunked && isa >= cpu::Isa::kAvx512Bf16 ? "bf16" : "f32",
                     .cost = cost(*layer),
                     .work = [=] { for (std::int64_t i = 0; i < shape.layers; ++i) call(*context, *layer, i); },
                     .calls = shape.layers,
                     .memory = decodes ? reinterpret_cast<const std::byte*>(layer->states.data()) : nullptr,
                     .memory_bytes = static_cast<std::int64_t>(layer->states.size()) * 4};
  });
}

void add_scan(const char* kernel, cpu::Isa isa, Shape shape, int threads, bool chunked) {
  add_layers(kernel, isa, shape, threads, chunked,
             [=](Layer& l) { return chunked ? cost::gdn_chunked(l.scan(0), l.result()) : cost::gdn_recurrent(l.scan(0), l.result()); },
             [=](Context& c, Layer& l, std::int64_t i) { (chunked ? op::gdn_chunked : op::gdn_recurrent)(c, l.scan(i), l.result()); });
}

// The whole of a layer between its projections.
void add_mixer(const char* kernel, cpu::Isa isa, Shape shape, int threads, GdnForm form) {
  add_layers(kernel, isa, shape, threads, form == GdnForm::kChunked, [=](Layer& l) { return cost::gdn_mixer(l.mixer(0, form), l.result()); },
             [=](Context& c, Layer& l, std::int64_t i) { op::gdn_mixer(c, l.mixer(i, form), l.result()); });
}

[[maybe_unused]] const bool kAdded = [] {
  for (const cpu::Isa isa : cpu::usable_isas())
    for (const std::int64_t heads : {32, 48, 16}) {
      const std::int64_t layers = 30 * 32 / heads;  // 63 MB
      add_scan("gdn_chunked", isa, {512, 1, heads}, 1, true);
      add_scan("gdn_recurrent", isa, {512, 1, heads}, 1, false);
      add_mixer("gdn_mixer", isa, {512, 1, heads}, 1, GdnForm::kChunked);
      for (const int threads : {1, 2}) {
        add_scan("gdn_decode", isa, {1, layers, heads}, threads, false);
        add_mixer("gdn_mixer_decode", isa, {1, layers, heads}, threads, GdnForm::kRecurrent);
      }
    }
  return true;
}();

}  // namespace
}  // namespace crossover::micro_bench
