// The mixer of a Gated DeltaNet layer: a task takes a key head and the value heads that read it through all its steps, a block of
// tokens at a time, so that between the projections before and after it nothing goes out to memory but the result.
#include <algorithm>
#include <cmath>

#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/gdn_heads.h"
#include "kernels/cpu/micro.h"
#include "kernels/cpu/worker_scratch.h"

namespace crossover::cpu {
namespace {

constexpr std::int64_t kDim = kGdnHeadDim;

// What a worker needs for a block of tokens of one head.
struct alignas(64) HeadBlock {
  float q[kGdnBlockTokens][kDim], k[kGdnBlockTokens][kDim], v[kGdnBlockTokens][kDim], out[kGdnBlockTokens][kDim];
  float g[kGdnBlockTokens], beta[kGdnBlockTokens];
};

class Mixer {
 public:
  Mixer(const Micro& micro, const GdnMixer& mixer, const GdnChunks* chunks, Rows out) : micro_(micro), mixer_(mixer), chunks_(chunks), out_(out) {}

  void key_head(std::int64_t key_head, HeadBlock& block, std::byte* chunk_memory) const {
    const std::int64_t ratio = mixer_.value_heads / mixer_.key_heads, keys = mixer_.key_heads * kDim;
    for (std::int64_t first = 0; first < out_.rows; first += kGdnBlockTokens) {
      const std::int64_t tokens = std::min(kGdnBlockTokens, out_.rows - first);
      convolve(key_head * kDim, first, tokens, block.q[0]);
      convolve(keys + key_head * kDim, first, tokens, block.k[0]);
      normalise(block.q[0], tokens, 1.0f / std::sqrt(static_cast<float>(kDim)));
      normalise(block.k[0], tokens, 1.0f);
      if (chunks_) chunks_->keys(head_of(block, 0, tokens), chunk_memory);
      for (std::int64_t i = 0; i < ratio; ++i) {
        const float *next = nullptr, *after_next = nullptr, *next_state = nullptr;
        if (i + 1 < ratio) next_state = mixer_.state + cpu::value_head(mixer_, key_head, i + 1) * kDim * kDim;
        else if (key_head + 1 < mixer_.key_heads) next_state = mixer_.state + cpu::value_head(mixer_, key_head + 1, 0) * kDim * kDim;
        if (i + 1 < ratio) next = mixer_.mixed.row(first) + 2 * keys + cpu::value_head(mixer_, key_head, i + 1) * kDim;
        else if (first + 2 * kGdnBlockTokens <= out_.rows) next = mixer_.mixed.row(first + tokens) + key_head * kDim, after_next = next + keys;
        value_head(cpu::value_head(mixer_, key_head, i), first, tokens, next, after_next, next_state, block, chunk_memory);
      }
    }
    keep_inputs(key_head * kDim);
    keep_inputs(keys + key_head * kDim);
    for (std::int64_t i = 0; i < ratio; ++i) keep_inputs(2 * keys + cpu::value_head(mixer_, key_head, i) * kDim);
  }

 private:
  // next, after_next: the inputs that are convolved then, next_state: the state read then; or null.
  void value_head(std::int64_t h, std::int64_t first, std::int64_t tokens, const float* next, const float* after_next, const float* next_state,
                  HeadBlock& block, std::byte* chunk_memory) const {
    convolve(2 * mixer_.key_heads * kDim + h * kDim, first, tokens, block.v[0]);
    micro_.gdn->gates(mixer_.a.row(first) + h, mixer_.a.stride, mixer_.b.row(first) + h, mixer_.b.stride, mixer_.ssm_a[h], mixer_.dt_bias[h], tokens,
                      block.g, block.beta);
    for (std::int64_t t = 0; t < tokens && mixer_.g.data; ++t) mixer_.g.row(first + t)[h] = block.g[t];
    for (std::int64_t t = 0; t < tokens && mixer_.beta.data; ++t) mixer_.beta.row(first + t)[h] = block.beta[t];
    GdnHead head = head_of(block, h, tokens);
    head.soon[0] = {mixer_.z.row(first) + h * kDim, mixer_.z.stride};
    head.soon[1] = {next, mixer_.mixed.stride}, head.soon[2] = {after_next, mixer_.mixed.stride};
    head.next_state = next_state;
    if (chunks_) chunks_->head(head, chunk_memory, chunk_memory + chunks_->keys_bytes);
    else micro_.gdn->recurrent_head(head);
    for (std::int64_t t = 0; t < tokens; ++t)
      micro_.rows->gated_rms_norm(block.out[t], mixer_.norm, mixer_.z.row(first + t) + h * kDim, mixer_.norm_eps, kDim, out_.row(first + t) + h * kDim);
  }

  GdnHead head_of(HeadBlock& block, std::int64_t h, std::int64_t tokens) const {
    return {.q = block.q[0], .k = block.k[0], .v = block.v[0], .q_stride = kDim, .k_stride = kDim, .v_stride = kDim,
            .g = block.g, .beta = block.beta, .g_stride = 1, .beta_stride = 1,
            .tokens = tokens, .state = mixer_.state + h * kDim * kDim, .out = block.out[0], .out_stride = kDim, .soon = {},
            .next_state = nullptr};
  }

  // Tokens first .. of the 128 channels from `channel` on.
  void convolve(std::int64_t channel, std::int64_t first, std::int64_t tokens, float* to) const {
    const bool start = first == 0;
    micro_.rows->conv4_silu(start ? mixer_.conv_state + channel : mixer_.mixed.row(first - 3) + channel, start ? mixer_.mixed.dim : mixer_.mixed.stride,
                            mixer_.mixed.row(first) + channel, mixer_.mixed.stride, mixer_.conv.f32() + 4 * channel, kDim, tokens, to, kDim);
    for (std::int64_t t = 0; t < tokens && mixer_.conv_out.data; ++t) std::copy_n(to + t * kDim, kDim, mixer_.conv_out.row(first + t) + channel);
  }

  void normalise(float* x, std::int64_t tokens, float length) const {
    for (std::int64_t t = 0; t < tokens; ++t) micro_.rows->l2_norm(x + t * kDim, kGdnKeyEps, length, kDim, x + t * kDim);
  }

  // The last three rows of (state, inputs) become the state.
  void keep_inputs(std::int64_t channel) const {
    for (std::int64_t i = 0; i < 3; ++i) {
      const std::int64_t t = out_.rows - 3 + i, channels = mixer_.mixed.dim;
      std::copy_n(t < 0 ? mixer_.conv_state + (t + 3) * channels + channel : mixer_.mixed.row(t) + channel, kDim,
                  mixer_.conv_state + i * channels + channel);
    }
  }

  const Micro& micro_;
  const GdnMixer& mixer_;
  const GdnChunks* chunks_;  // null: token by token
  Rows out_;
};

// Null for the recurrence.
const GdnChunks* chunks_of(const GdnMicro& micro, GdnForm form, std::int64_t tokens) {
  switch (form) {
    case GdnForm::kRecurrent: return nullptr;
    case GdnForm::kChunked: return &micro.chunked;
    case GdnForm::kChunkedF32: return &micro.chunked_f32;
    case GdnForm::kAuto: return tokens >= micro.chunked.from_tokens ? &micro.chunked : nullptr;
  }
  return nullptr;
}

}  // namespace

void gdn_mixer(Context& context, const GdnMixer& mixer, Rows out) {
  const GdnMicro& micro = *context.micro->gdn;
  const GdnChunks* chunks = chunks_of(micro, mixer.form, out.rows);
  context.counters.path("gdn", chunks ? chunks->path : micro.recurrent_path);
  const std::int64_t chunk_bytes = chunks ? chunks->keys_bytes + chunks->scratch_bytes : 0;
  const WorkerScratch scratch(context, "gdn.mixer", (static_cast<std::int64_t>(sizeof(HeadBlock)) + chunk_bytes) / 4);
  const Mixer task(*context.micro, mixer, chunks, out);
  context.pool.parallel_for(mixer.key_heads, 1, [&](std::int64_t begin, std::int64_t end) {
    std::byte* memory = reinterpret_cast<std::byte*>(scratch.mine());
    for (std::int64_t kh = begin; kh < end; ++kh) task.key_head(kh, *reinterpret_cast<HeadBlock*>(memory), memory + sizeof(HeadBlock));
  });
}

}  // namespace crossover::cpu
