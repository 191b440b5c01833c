// What the kernels of attention share: operands as they see them, how a query row comes in and how a result leaves. For .cu files.
#pragma once

#include "kernels/cuda/attention_plan.h"
#include "kernels/cuda/view.h"
#include "kernels/cuda/warp_row.h"
#include "kernels/ops.h"

namespace crossover::cuda {

struct CacheView {
  const std::uint8_t* data;
  std::int64_t stride, head_bytes;  // of a row of all heads, of a head's part of it
  DType type;
  Rotation rotation;
  __device__ const std::uint8_t* row(std::int64_t key, int kv_head) const { return data + key * stride + kv_head * head_bytes; }
};

// Query row r of a KV head is head r % group of token r / group: rows of a token are neighbours, whatever the group.
struct AttentionArgs {
  View<const float> q, gate;  // gate.data may be null
  View<float> out;
  CacheView keys, values;
  std::int64_t past;
  int rows, heads, group, dim;  // rows: query rows of a KV head
  float scale;                  // times log2(e): scores are exponents of 2
  // Where there are several splits each leaves for its rows the sum of weighted values, the largest score and the sum of weights.
  float* parts;
  int splits;
  std::int64_t split_keys;

  __device__ std::int64_t keys_seen() const { return past + rows / group; }
  __device__ std::int64_t visible(int row) const { return past + row / group + 1; }
  __device__ std::int64_t out_row(int kv_head, int row) const { return static_cast<std::int64_t>(row / group) * heads + kv_head * group + row % group; }
  __device__ std::int64_t part(int kv_head, int split, int row) const { return (static_cast<std::int64_t>(kv_head) * splits + split) * rows + row; }
  __device__ float* part_sums(std::int64_t part) const { return parts + part * dim; }
  // [0]: largest score, [1]: sum of weights
  __device__ float* part_stats(std::int64_t part) const { return parts + static_cast<std::int64_t>(heads / group) * splits * rows * dim + 2 * part; }
};

// A warp's: row `row` of the queries as the keys are rotated, scaled; zeros past the end.
__device__ __forceinline__ void read_query(const AttentionArgs& a, int kv_head, int row, float (&x)[kLaneValues]) {
  if (row >= a.rows) {
#pragma unroll
    for (int j = 0; j < kLaneValues; ++j) x[j] = 0.0f;
    return;
  }
  read_lane(a.q.row(a.out_row(kv_head, row)), a.dim, x);
  rotate_lane(x, a.keys.rotation, false, a.dim);
#pragma unroll
  for (int j = 0; j < kLaneValues; ++j) x[j] *= a.scale;
}

// A warp's: x / sum, turned back as the values were rotated, times the gate.
__device__ __forceinline__ void finish_row(const AttentionArgs& a, int kv_head, int row, float (&x)[kLaneValues], float sum) {
  const std::int64_t to = a.out_row(kv_head, row);
  const float inverse = 1.0f / sum;
  float gate[kLaneValues];
  if (a.gate.data) read_lane(a.gate.row(to), a.dim, gate);  // arrives during the rotation
#pragma unroll
  for (int j = 0; j < kLaneValues; ++j) x[j] *= inverse;
  rotate_lane(x, a.values.rotation, true, a.dim);
  if (a.gate.data) {
#pragma unroll
    for (int j = 0; j < kLaneValues; ++j) x[j] *= sigmoid(gate[j]);
  }
  write_lane(a.out.row(to), a.dim, x);
}

// A warp's: the result where there is one split, else its part.
__device__ __forceinline__ void leave_row(const AttentionArgs& a, int kv_head, int split, int row, float (&x)[kLaneValues], float top, float sum) {
  if (row >= a.rows) return;
  if (a.splits == 1) return finish_row(a, kv_head, row, x, sum);
  const std::int64_t part = a.part(kv_head, split, row);
  write_lane(a.part_sums(part), a.dim, x);
  if (lane_of_thread() == 0) a.part_stats(part)[0] = top, a.part_stats(part)[1] = sum;
}

// What scores are measured against: rows that see nothing of a split have a maximum of -inf, and -inf - -inf is no number.
__device__ __forceinline__ float score_base(float top) { return top == -INFINITY ? 0.0f : top; }

void attend_few(Context& ctx, const AttentionArgs& a, const AttentionPlan& plan);
void attend_tiles(Context& ctx, const AttentionArgs& a, const AttentionPlan& plan);
void attend_warpgroups(Context& ctx, const AttentionArgs& a, const AttentionPlan& plan);

// Caches of another type than f16 or bf16 (`type`), or whose rows do not begin at 16 bytes, are copied to scratch memory.
void use_tiles(Context& ctx, AttentionArgs& a, DType type);

}  // namespace crossover::cuda
