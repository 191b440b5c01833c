// The gated delta rule token by token, and a mixer's decode step in one launch.
//
// Bound of a step: the state. 32 heads x 128 x 128 f32 are read and written once per call: 4.2 MB, 1.25 us at 3.35 TB/s; the mixer's other
// operands are 0.1 MB. A block takes 32 value columns of a head, a warp 8 of them: 128 blocks of 128 threads for 32 heads, 192 for 48, one or
// two on each multiprocessor. A lane keeps 16 k rows x 2 columns in registers from the first token to the last, so the whole state is asked for
// by the first instructions of the launch (16 loads of 8 bytes a lane, every 32-byte sector used whole, 2 MB under way on the device) while the
// convolution and the norms run. Columns of the state never meet: k.S and q.S are sums within a thread and three shuffles over the 8 lanes of
// a column; both are taken of the old state, o = a (q.S) + (q.k) u, so that a token has one reduction on its serial chain and the state is
// swept twice (read, update) in registers. Chain per token: 16 dependent FMA, 3 shuffles, 16 more independent FMA: about 380 cycles with one
// warp on a scheduler (170 FMA, 12 shuffles, 8 loads of shared memory), 0.22 us. Registers: 32 state, 32 q and k, at most 128 in all; shared memory
// 18.5 KB.
//
// The norm of a head's output needs all 128 columns, and the state of the convolution may be replaced only when all blocks that share its
// channels have read it. Both are done by whichever block of a key head comes last (Device::arrivals): it changes nothing that another block
// reads, and what it computes does not depend on which it is. That is a trip to L2 for the count and one for the outputs, 1.2 us, where a second
// launch takes 2. A step of one token in all: loads 0.8 us, convolution and norms 0.4 beside the state's transfer, the rule 0.3, the end 1.2: about 3 us.
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/gdn_inputs.h"

namespace crossover::cuda {
namespace {

constexpr int kThreads = 128, kWarps = kThreads / kWarp;
constexpr int kSlice = 32, kSlices = kGdnDim / kSlice;  // value columns of a block
constexpr int kPiece = 16;                              // tokens whose rows lie in shared memory at a time
constexpr int kGroup = 4;                               // tokens whose rows a warp makes at once
constexpr int kRowGroups = 8, kRuns = kGdnDim / (4 * kRowGroups);  // k rows of a lane: runs of 4, one in every 32

struct Piece {
  alignas(16) float q[kPiece][kGdnDim];
  alignas(16) float k[kPiece][kGdnDim];
  alignas(16) float v[kPiece][kSlice];
  float decay[kPiece], beta[kPiece];
};

struct LastBlock {
  GdnFinish finish;
  float* conv_state = nullptr;
  unsigned* arrivals = nullptr;  // [nk], zeros; null: nothing is left to do
};

// The rows of tokens first ..: jobs of a warp are four rows of queries, four of keys, or the slice's values of all tokens, so that for one
// token the four warps make its q, k, v and gates at the same time.
template <bool kMixes>
__device__ void fill(Piece& piece, const GdnInputs& in, int head, int slice, std::int64_t first) {
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp, key_head = in.key_head(head);
  const bool shows_keys = slice == 0 && head == in.value_head(key_head, 0);
  for (int job = warp; job < 2 * kPiece / kGroup; job += kWarps) {
    const int at = job / 2 * kGroup;
    if (first + at >= in.tokens) break;
    Values<4> y[kGroup];
    read_key_rows<kGroup, kMixes>(in, job % 2 == 0 ? GdnPart::kQuery : GdnPart::kKey, key_head, first + at, shows_keys, y);
#pragma unroll
    for (int t = 0; t < kGroup; ++t) store<4>((job % 2 == 0 ? piece.q : piece.k)[at + t] + lane * kGdnLaneValues, y[t]);
  }
  if (warp == 2) {
    constexpr int kLanes = kSlice / 4;  // of a token
    const int at = lane / kLanes * kGroup, c = lane % kLanes * 4;
    Values<4> y[kGroup];
    read_rows<kGroup, kMixes>(in, GdnPart::kValue, head, first + at, slice * kSlice + c, true, y);
#pragma unroll
    for (int t = 0; t < kGroup; ++t) store<4>(piece.v[at + t] + c, y[t]);
  }
  if (warp == 3 && lane < kPiece && first + lane < in.tokens) {
    const GdnGates gates = read_gates<kMixes>(in, head, first + lane, slice == 0);
    piece.decay[lane] = expf(gates.g), piece.beta[lane] = gates.beta;
  }
}

// Lane: columns 2 (lane % 4) and the next of the warp's eight, rows 32 j + 4 (lane / 4) + i.
struct Slice {
  float s[kRuns][4][2];

  __device__ static int row(int run, int i) { return 32 * run + static_cast<int>(threadIdx.x) % kWarp / 4 * 4 + i; }

  template <class Access>
  __device__ void each(const Access& access) {
#pragma unroll
    for (int j = 0; j < kRuns; ++j)
#pragma unroll
      for (int i = 0; i < 4; ++i) access(row(j, i), s[j][i]);
  }

  __device__ void load(const float* state, bool pairs) {
    each([&](int k, float (&x)[2]) {
      const float* const from = state + k * kGdnDim;
      if (pairs) {
        const float2 both = *reinterpret_cast<const float2*>(from);
        x[0] = both.x, x[1] = both.y;
      } else {
        x[0] = from[0], x[1] = from[1];
      }
    });
  }
  __device__ void save(float* state, bool pairs) {
    each([&](int k, float (&x)[2]) {
      float* const to = state + k * kGdnDim;
      if (pairs) *reinterpret_cast<float2*>(to) = make_float2(x[0], x[1]);
      else to[0] = x[0], to[1] = x[1];
    });
  }

  // One token; its output in column `column` + lane / 4 % 2.
  __device__ float step(const Piece& piece, int t, int column) {
    Values<4> q[kRuns], k[kRuns];
    float ks[2] = {}, qs[2] = {}, qk = 0;
#pragma unroll
    for (int j = 0; j < kRuns; ++j) {
      q[j] = cuda::load<4>(piece.q[t] + row(j, 0)), k[j] = cuda::load<4>(piece.k[t] + row(j, 0));
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        ks[0] += k[j].v[i] * s[j][i][0], ks[1] += k[j].v[i] * s[j][i][1];
        qs[0] += q[j].v[i] * s[j][i][0], qs[1] += q[j].v[i] * s[j][i][1];
        qk += q[j].v[i] * k[j].v[i];
      }
    }
    const bool second = static_cast<int>(threadIdx.x) % 8 >= 4;
    float out = (second ? qs[1] : qs[0]) + __shfl_xor_sync(kAllLanes, second ? qs[0] : qs[1], 4);  // each of a pair of lanes goes on with one column
#pragma unroll
    for (int lanes = 4; lanes < kWarp; lanes *= 2) {
      ks[0] += __shfl_xor_sync(kAllLanes, ks[0], lanes), ks[1] += __shfl_xor_sync(kAllLanes, ks[1], lanes);
      qk += __shfl_xor_sync(kAllLanes, qk, lanes);
      if (lanes > 4) out += __shfl_xor_sync(kAllLanes, out, lanes);
    }
    const float decay = piece.decay[t], beta = piece.beta[t];
    const float u[2] = {beta * (piece.v[t][column] - decay * ks[0]), beta * (piece.v[t][column + 1] - decay * ks[1])};
#pragma unroll
    for (int j = 0; j < kRuns; ++j)
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int c = 0; c < 2; ++c) s[j][i][c] = decay * s[j][i][c] + k[j].v[i] * u[c];
    return decay * out + qk * (second ? u[1] : u[0]);
  }
};

// A block says that its outputs are written and its inputs read.
__device__ unsigned arrive(unsigned* arrivals) {
  __threadfence();
  __syncthreads();
  return threadIdx.x == 0 ? atomicAdd(arrivals, 1u) : 0;
}

// Whether it was the last of `blocks`, which then sees what all others wrote. before: what arrive gave.
__device__ bool is_last(unsigned* arrivals, unsigned before, unsigned blocks) {
  if (!__syncthreads_or(threadIdx.x == 0 && before + 1 == blocks)) return false;
  if (threadIdx.x == 0) *arrivals = 0;  // for the next launch
  __threadfence();
  return true;
}

__device__ void finish_key_head(const LastBlock& last, const GdnInputs& in, int key_head, const View<float>& out) {
  const int thread = static_cast<int>(threadIdx.x), tokens = static_cast<int>(in.tokens);
  for (int row = thread / kWarp; row < in.ratio() * tokens; row += kWarps)
    finish_row(last.finish, out, row % tokens, in.value_head(key_head, row / tokens));
  for (int part = 0; part < 2 + in.ratio(); ++part) {
    const int head = part == 0 ? key_head : part == 1 ? in.key_heads + key_head : 2 * in.key_heads + in.value_head(key_head, part - 2);
    keep_inputs_of(in.mixed, last.conv_state, static_cast<std::int64_t>(head) * kGdnDim + thread);
  }
}

template <bool kMixes>
__global__ void __launch_bounds__(kThreads) recur_slices(GdnInputs in, float* states, bool pairs, View<float> out, LastBlock last) {
  wait_for_launches_before();
  __shared__ Piece piece;
  const int slice = static_cast<int>(blockIdx.x), head = static_cast<int>(blockIdx.y), lane = static_cast<int>(threadIdx.x) % kWarp;
  const int column = static_cast<int>(threadIdx.x) / kWarp * 8 + lane % 4 * 2;  // of the slice
  float* const state = states + static_cast<std::int64_t>(head) * kGdnDim * kGdnDim + slice * kSlice + column;
  Slice mine;
  mine.load(state, pairs);
  for (std::int64_t first = 0; first < in.tokens; first += kPiece) {
    if (first > 0) __syncthreads();
    fill<kMixes>(piece, in, head, slice, first);
    __syncthreads();
    const int count = static_cast<int>(min(static_cast<std::int64_t>(kPiece), in.tokens - first));
    for (int t = 0; t < count; ++t) {
      const float o = mine.step(piece, t, column);
      if (lane < 8) out.row(first + t)[head * kGdnDim + slice * kSlice + column + lane / 4] = o;
    }
  }
  if constexpr (!kMixes) return mine.save(state, pairs);
  if (!last.arrivals) return mine.save(state, pairs);
  unsigned* const arrivals = last.arrivals + in.key_head(head);
  const unsigned before = arrive(arrivals);
  mine.save(state, pairs);  // after the outputs, whose fence would wait for it, and while the count is under way
  if (is_last(arrivals, before, static_cast<unsigned>(kSlices * in.ratio()))) finish_key_head(last, in, in.key_head(head), out);
}

}  // namespace

void recur(Context& ctx, const GdnInputs& in, bool mixes, float* state, Rows out, const GdnFinish* finish, float* conv_state) {
  LastBlock last;
  if (finish) last = {*finish, conv_state, ctx.device->arrivals()};
  const Shape shape{dim3(kSlices, static_cast<unsigned>(in.value_heads)), dim3(kThreads)};
  launch(ctx, "gdn_recurrent", mixes ? recur_slices<true> : recur_slices<false>, shape, in, state, aligned_16(state), view(out), last);
}

void gdn_recurrent(Context& ctx, const GdnScan& scan, Rows out) {
  ctx.counters.path("gdn", kGdnRecurrentPath);
  recur(ctx, gdn_inputs(scan, out.rows), false, scan.state, out, nullptr, nullptr);
}

}  // namespace crossover::cuda
