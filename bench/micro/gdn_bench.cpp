// Gated DeltaNet of one layer of the 35B-A3B shape (16 key heads, 32 value heads of 128), one thread. us/token is the number to
// compare: the recurrence needs 8 flop per state element and token, 4.2 Mflop a token here, which at one 16-lane fma per cycle
// and 3.7 GHz is 35 us; a decode step moves 4.2 MB of state, so from memory it is bound by bandwidth.
#include "bench/micro/operands.h"

namespace crossover::micro_bench {
namespace {

constexpr std::int64_t kKeyHeads = 16, kValueHeads = 32, kDim = 128;

struct Layer {
  std::int64_t tokens;
  std::vector<float> qk, v, g, beta, out;

  explicit Layer(std::int64_t t)
      : tokens(t),
        qk(random_floats(t * 2 * kKeyHeads * kDim, -0.15f, 0.15f)),  // about unit length
        v(random_floats(t * kValueHeads * kDim)),
        g(random_floats(t * kValueHeads, -0.1f, 0)),
        beta(random_floats(t * kValueHeads, 0, 1)),
        out(static_cast<std::size_t>(t * kValueHeads * kDim)) {}

  Rows result() { return {out.data(), tokens, kValueHeads * kDim}; }
  GdnScan scan(float* state) const {
    const ConstRows both(qk.data(), tokens, 2 * kKeyHeads * kDim);
    return {.q = both.columns(0, kKeyHeads * kDim),
            .k = both.columns(kKeyHeads * kDim, kKeyHeads * kDim),
            .v = {v.data(), tokens, kValueHeads * kDim},
            .g = {g.data(), tokens, kValueHeads},
            .beta = {beta.data(), tokens, kValueHeads},
            .state = state,
            .key_heads = kKeyHeads,
            .value_heads = kValueHeads};
  }
};

void report_tokens(benchmark::State& state, std::int64_t tokens, cost::Cost cost) {
  report(state, cost);
  state.counters["s/token"] =
      benchmark::Counter(static_cast<double>(tokens), benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

void gdn_recurrent(benchmark::State& state) {
  CpuContext context(1);
  Layer layer(state.range(0));
  std::vector<float> memory = random_floats(kValueHeads * kDim * kDim);
  for (auto _ : state) op::gdn_recurrent(context, layer.scan(memory.data()), layer.result());
  report_tokens(state, layer.tokens, cost::gdn_recurrent(layer.scan(nullptr), layer.result()));
}
BENCHMARK(gdn_recurrent)->ArgName("tokens")->Arg(1)->Arg(16)->Arg(512)->Unit(benchmark::kMicrosecond);

void gdn_chunked(benchmark::State& state) {
  CpuContext context(1);
  Layer layer(state.range(0));
  std::vector<float> memory = random_floats(kValueHeads * kDim * kDim);
  for (auto _ : state) op::gdn_chunked(context, layer.scan(memory.data()), layer.result());
  report_tokens(state, layer.tokens, cost::gdn_chunked(layer.scan(nullptr), layer.result()));
}
BENCHMARK(gdn_chunked)->ArgName("tokens")->Arg(1)->Arg(16)->Arg(64)->Arg(512)->Unit(benchmark::kMicrosecond);

// One token through the states of 30 layers (63 MB): what decoding pays when no cache holds them.
void gdn_decode_30_layers(benchmark::State& state) {
  constexpr std::int64_t kLayers = 30, kStateFloats = kValueHeads * kDim * kDim;
  CpuContext context(static_cast<int>(state.range(0)));
  Layer layer(1);
  std::vector<float> memory = random_floats(kLayers * kStateFloats);
  for (auto _ : state)
    for (std::int64_t i = 0; i < kLayers; ++i) op::gdn_recurrent(context, layer.scan(memory.data() + i * kStateFloats), layer.result());
  report(state, cost::gdn_recurrent(layer.scan(nullptr), layer.result()));
  state.counters["flop/s"].value *= kLayers, state.counters["bytes/s"].value *= kLayers;
}
BENCHMARK(gdn_decode_30_layers)->ArgName("threads")->Arg(1)->Arg(2)->UseRealTime()->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace crossover::micro_bench
