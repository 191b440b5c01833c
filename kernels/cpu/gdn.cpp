// Gated delta rule over heads: a head is one serial scan, heads run in parallel.
#include <algorithm>

#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/gdn_heads.h"
#include "kernels/cpu/micro.h"
#include "kernels/cpu/worker_scratch.h"

namespace crossover::cpu {
namespace {

constexpr std::int64_t kDim = kGdnHeadDim;

GdnHead head_of(const GdnScan& scan, std::int64_t h, std::int64_t first_token, std::int64_t tokens, const Rows& out) {
  const std::int64_t key_column = key_head(scan, h) * kDim, column = h * kDim;
  return {.q = scan.q.row(first_token) + key_column,
          .k = scan.k.row(first_token) + key_column,
          .v = scan.v.row(first_token) + column,
          .q_stride = scan.q.stride,
          .k_stride = scan.k.stride,
          .v_stride = scan.v.stride,
          .g = scan.g.row(first_token) + h,
          .beta = scan.beta.row(first_token) + h,
          .g_stride = scan.g.stride,
          .beta_stride = scan.beta.stride,
          .tokens = tokens,
          .state = scan.state + h * kDim * kDim,
          .out = out.row(first_token) + column,
          .out_stride = out.stride,
          .soon = {},
          .next_state = h + 1 < scan.value_heads ? scan.state + (h + 1) * kDim * kDim : nullptr};
}

// Rows of one head side by side: in the operands they lie whole pages apart, and where they are read strip by strip would fight for a few
// sets of the caches.
struct ValueBlock {
  float v[kGdnBlockTokens][kDim], out[kGdnBlockTokens][kDim];
};

void chunk_head(const GdnChunks& chunks, GdnHead head, ValueBlock& block, std::byte* memory) {
  if (chunks.reads_apart) return chunks.head(head, memory, memory + chunks.keys_bytes);
  for (std::int64_t t = 0; t < head.tokens; ++t) std::copy_n(head.v + t * head.v_stride, kDim, block.v[t]);
  const GdnHead outer = head;
  head.v = block.v[0], head.out = block.out[0], head.v_stride = head.out_stride = kDim;
  chunks.head(head, memory, memory + chunks.keys_bytes);
  for (std::int64_t t = 0; t < head.tokens; ++t) std::copy_n(block.out[t], kDim, outer.out + t * outer.out_stride);
}

}  // namespace

void gdn_recurrent(Context& context, const GdnScan& scan, Rows out) {
  context.counters.path("gdn", context.micro->gdn->recurrent_path);
  const std::int64_t heads_per_task = std::clamp<std::int64_t>(16 / out.rows, 1, 4);  // tasks of ten microseconds or more
  context.pool.parallel_for(scan.value_heads, heads_per_task, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t h = begin; h < end; ++h) context.micro->gdn->recurrent_head(head_of(scan, h, 0, out.rows, out));
  });
}

void gdn_chunked(Context& context, const GdnScan& scan, Rows out) {
  const GdnChunks& chunks = scan.f32_products ? context.micro->gdn->chunked_f32 : context.micro->gdn->chunked;
  context.counters.path("gdn", chunks.path);
  const WorkerScratch scratch(context, "gdn.chunk", (chunks.keys_bytes + chunks.scratch_bytes + static_cast<std::int64_t>(sizeof(ValueBlock))) / 4);
  context.pool.parallel_for(scan.key_heads, 1, [&](std::int64_t begin, std::int64_t end) {
    ValueBlock& block = *reinterpret_cast<ValueBlock*>(scratch.mine());
    std::byte* memory = reinterpret_cast<std::byte*>(&block + 1);
    for (std::int64_t kh = begin; kh < end; ++kh) {
      for (std::int64_t first = 0; first < out.rows; first += kGdnBlockTokens) {
        const std::int64_t tokens = std::min(kGdnBlockTokens, out.rows - first);
        chunks.keys(head_of(scan, value_head(scan, kh, 0), first, tokens, out), memory);
        for (std::int64_t i = 0; i < scan.value_heads / scan.key_heads; ++i)
          chunk_head(chunks, head_of(scan, value_head(scan, kh, i), first, tokens, out), block, memory);
      }
    }
  });
}

}  // namespace crossover::cpu
