#include "engine/forward.h"

#include <cstddef>
#include <vector>

namespace crossover {
namespace {

// part = the sum of every rank's part. Ranks of one process meet in host memory where NCCL does not join their GPUs.
void all_reduce(Context& ctx, LocalComm& comm, int rank, const ForwardOptions& options, nccl::ReduceType type, Rows part) {
  const auto count = static_cast<std::size_t>(part.rows * part.dim);
  if (comm.ranks() == 1) return;
  if (options.nccl) return options.nccl->all_reduce(ctx, rank, part.data, part.rows * part.dim, type);
  if (ctx.ops.host_memory) return comm.all_reduce(rank, {part.data, count});
  auto* const on_device = reinterpret_cast<std::byte*>(part.data);
  std::vector<float>& staged = comm.staging(rank);
  if (staged.size() < count) staged.resize(count);
  auto* const on_host = reinterpret_cast<std::byte*>(staged.data());
  ctx.ops.download(ctx, on_host, on_device, count * sizeof(float));
  comm.all_reduce(rank, {staged.data(), count});
  ctx.ops.upload(ctx, on_device, on_host, count * sizeof(float));
}

void reduce(Context& ctx, LocalComm& comm, int rank, const ForwardOptions& options, Rows part) {
  if (comm.ranks() == 1) return;
  const Range range(ctx.trace, "reduce");
  all_reduce(ctx, comm, rank, options, options.reduce_type, part);
}

// Logits of the rank's part of the vocabulary, to `out` on the host.
void head(Context& ctx, const RankModel& model, ConstRows x, Rows out) {
  const bool copy = model.shape.head_copy;
  const std::int64_t width = copy ? model.config.vocab : model.shape.head_rows;
  if (ctx.ops.host_memory && !copy) return op::matmul(ctx, x, model.weights.head, out.columns(model.shape.first_head_row, width));
  const Rows own(ctx.workspace.floats("logits", static_cast<std::size_t>(x.rows * width)), x.rows, width);
  op::matmul(ctx, x, model.weights.head, own);
  if (copy) return;  // rank 0's are the answer
  ctx.ops.download_rows(ctx, out.columns(model.shape.first_head_row, width), own);
}

}  // namespace

void forward(Context& ctx, LocalComm& comm, int rank, const RankModel& model, State& state, std::span<const std::int32_t> tokens,
             const ForwardOptions& options, Rows logits) {
  const ModelConfig& config = model.config;
  const std::int64_t count = static_cast<std::int64_t>(tokens.size()), hidden = config.hidden;
  auto rows = [&](const char* name, std::int64_t n) { return Rows(ctx.workspace.floats(name, static_cast<std::size_t>(n * hidden)), n, hidden); };
  const Rows x = rows("x", count), normed = rows("normed", count), part = rows("part", count);
  {
    const Range range(ctx.trace, "embed");
    op::embed(ctx, model.weights.embedding, model.weights.first_vocab_row, tokens, x);
    all_reduce(ctx, comm, rank, options, nccl::ReduceType::kF32, x);  // one rank has the row, the others zeros: exact
  }
  Pass pass{ctx, config, model.shape, state.tokens(), 0, options.gdn_form, options.moe_mode, options.probe};
  pass.separate_rotation = options.separate_rotation, pass.rehearsed_experts = options.rehearsed_experts;
  {
    const Range range(ctx.trace, "attn.rope");
    const Rows angles(ctx.workspace.floats("rope.angles", static_cast<std::size_t>(count * config.rotary_dim)), count, config.rotary_dim);
    op::rope_angles(ctx, state.tokens(), config.rope_theta, angles);  // shared by all attention layers
    pass.angles = angles;
  }
  pass.show("embed", x);
  // x += part, and what the next block reads: part of the same pass over x.
  auto add_and_norm = [&](const Tensor& weight) {
    reduce(ctx, comm, rank, options, part);
    const Range range(ctx.trace, "norm");
    op::add_rms_norm(ctx, x, part, weight.f32(), config.rms_eps, normed);
  };
  {
    const Range range(ctx.trace, "norm");
    op::rms_norm(ctx, x, model.weights.layers[0].input_norm.f32(), config.rms_eps, normed);
  }
  for (std::int64_t i = 0; i < config.layers; ++i) {
    const LayerWeights& layer = model.weights.layers[static_cast<std::size_t>(i)];
    pass.layer = i;
    if (layer.full_attention) attention_layer(pass, layer.attention, state.layer(i), normed, part);
    else gdn_layer(pass, layer.gdn, state.layer(i), normed, part);
    add_and_norm(layer.post_norm);
    if (config.moe()) {
      moe_layer(pass, layer.moe, normed, part);
      pass.show("moe.out", part);
    } else {
      const Range range(ctx.trace, "mlp");
      mlp_layer(pass, layer.mlp, model.shape.intermediate, normed, part);
    }
    if (i + 1 < config.layers) {
      add_and_norm(model.weights.layers[static_cast<std::size_t>(i) + 1].input_norm);
    } else {
      reduce(ctx, comm, rank, options, part);
      const Range range(ctx.trace, "norm");
      op::add(ctx, x, part);
    }
    pass.show("hidden", x);
  }
  state.advance(count);
  if (logits.rows == 0 && !options.probe) return;
  const std::int64_t first = options.probe ? 0 : count - logits.rows;
  const Range range(ctx.trace, "lm_head");
  const Rows last = normed.slice(first, count - first);
  op::rms_norm(ctx, x.slice(first, count - first), model.weights.output_norm.f32(), config.rms_eps, last);
  pass.show("final", last);
  if (logits.rows == 0 || model.shape.head_rows == 0) return;
  head(ctx, model, normed.slice(count - logits.rows, logits.rows), logits);
  if (options.nccl) options.nccl->check();  // the logits have come, so every sum is over, or was aborted
}

}  // namespace crossover
