// The mixer of a Gated DeltaNet layer: which form runs, and what is left to do after it.
//
// Few tokens: one launch does everything (gdn_recurrent.cu). Else the rule writes its raw outputs, since no block of it has a head's 128 columns
// together, and heads are normalised and gated in a pass of their own, a segment at a time: 4 bytes read from DRAM and 4 written per value, the raw
// outputs come from L2.
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/gdn_inputs.h"

namespace crossover::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads) finish_rows(GdnFinish finish, View<float> out, std::int64_t first, unsigned rows, unsigned value_heads) {
  wait_for_launches_before();
  const unsigned row = blockIdx.x * (kThreads / kWarp) + threadIdx.x / kWarp, token = row / value_heads;
  if (row < rows) finish_row(finish, out, first + token, static_cast<int>(row - token * value_heads));
}

void finish_tokens(Context& ctx, const GdnFinish& finish, const GdnSegment& segment, int value_heads, Rows out) {
  const std::int64_t rows = segment.tokens * value_heads;
  launch(ctx, "gdn finish", finish_rows, {dim3(blocks_for(rows, kThreads / kWarp)), dim3(kThreads)}, finish, view(out), segment.first,
         static_cast<unsigned>(rows), static_cast<unsigned>(value_heads));
}

}  // namespace

GdnInputs gdn_inputs(const GdnScan& scan, std::int64_t tokens) {
  GdnInputs in;
  in.q = view(scan.q), in.k = view(scan.k), in.v = view(scan.v), in.g = view(scan.g), in.beta = view(scan.beta);
  in.tokens = tokens;
  in.key_heads = static_cast<int>(scan.key_heads), in.value_heads = static_cast<int>(scan.value_heads), in.tiled = scan.order == HeadOrder::kTiled;
  in.fours = in_fours(scan.q) && in_fours(scan.k) && in_fours(scan.v);
  return in;
}

GdnInputs gdn_inputs(const GdnMixer& mixer) {
  GdnInputs in;
  in.mixed = view(mixer.mixed), in.a = view(mixer.a), in.b = view(mixer.b);
  in.taps = mixer.conv.f32(), in.conv_state = mixer.conv_state, in.ssm_a = mixer.ssm_a, in.dt_bias = mixer.dt_bias;
  in.conv_out = view(mixer.conv_out), in.g_out = view(mixer.g), in.beta_out = view(mixer.beta);
  in.tokens = mixer.mixed.rows;
  in.key_heads = static_cast<int>(mixer.key_heads), in.value_heads = static_cast<int>(mixer.value_heads), in.tiled = mixer.order == HeadOrder::kTiled;
  in.fours = in_fours(mixer.mixed) && aligned_16(in.taps) && aligned_16(in.conv_state);
  return in;
}

void gdn_mixer(Context& ctx, const GdnMixer& mixer, Rows out) {
  const GdnInputs in = gdn_inputs(mixer);
  const GdnFinish finish{view(mixer.z), mixer.norm, mixer.norm_eps, in_fours(mixer.z) && in_fours(out) && aligned_16(mixer.norm)};
  if (gdn_in_chunks(mixer.form, out.rows)) {
    for (std::int64_t i = 0; i < gdn_segments(out.rows); ++i) {
      const GdnSegment segment = gdn_segment(i, out.rows);
      scan_segment(ctx, in, true, mixer.form == GdnForm::kChunkedF32, segment, mixer.state, out);
      finish_tokens(ctx, finish, segment, in.value_heads, out);  // while the raw outputs lie in L2
    }
    return keep_inputs(ctx, mixer.mixed, mixer.conv_state);
  }
  ctx.counters.path("gdn", kGdnRecurrentPath);
  if (out.rows <= kGdnFinishTokens && in.key_heads <= Device::kArrivals) return recur(ctx, in, true, mixer.state, out, &finish, mixer.conv_state);
  recur(ctx, in, true, mixer.state, out, nullptr, nullptr);
  finish_tokens(ctx, finish, {0, out.rows}, in.value_heads, out);
  keep_inputs(ctx, mixer.mixed, mixer.conv_state);
}

}  // namespace crossover::cuda
