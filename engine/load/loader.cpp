#include "engine/load/loader.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

namespace crossover {

RankWeights::~RankWeights() {
  for (auto [memory, bytes] : blocks_) ops_.release(memory, bytes);
}

std::byte* RankWeights::allocate(std::int64_t bytes) {
  if (bytes == 0) return nullptr;
  blocks_.reserve(blocks_.size() + 1);
  std::byte* memory = ops_.allocate(static_cast<std::size_t>(bytes));
  blocks_.emplace_back(memory, static_cast<std::size_t>(bytes));
  bytes_ += bytes;
  return memory;
}

namespace {

Tensor& layer_slot(LayerWeights& layer, std::string_view part) {
  struct Slot { std::string_view name; Tensor& tensor; };
  const Slot slots[] = {
      {"attn_norm.weight", layer.input_norm},          {"post_attention_norm.weight", layer.post_norm},
      {"attn_qkv.weight", layer.gdn.qkv},              {"attn_gate.weight", layer.gdn.z},
      {"ssm_alpha.weight", layer.gdn.a},               {"ssm_beta.weight", layer.gdn.b},
      {"ssm_conv1d.weight", layer.gdn.conv},           {"ssm_a", layer.gdn.ssm_a},
      {"ssm_dt.bias", layer.gdn.dt_bias},              {"ssm_norm.weight", layer.gdn.norm},
      {"ssm_out.weight", layer.gdn.out},               {"attn_q.weight", layer.attention.q},
      {"attn_k.weight", layer.attention.k},            {"attn_v.weight", layer.attention.v},
      {"attn_output.weight", layer.attention.out},     {"attn_q_norm.weight", layer.attention.q_norm},
      {"attn_k_norm.weight", layer.attention.k_norm},  {"ffn_gate.weight", layer.mlp.gate},
      {"ffn_up.weight", layer.mlp.up},                 {"ffn_down.weight", layer.mlp.down},
      {"ffn_gate_inp.weight", layer.moe.router},       {"ffn_gate_exps.weight", layer.moe.gate},
      {"ffn_up_exps.weight", layer.moe.up},            {"ffn_down_exps.weight", layer.moe.down},
      {"ffn_gate_shexp.weight", layer.moe.shared.gate}, {"ffn_up_shexp.weight", layer.moe.shared.up},
      {"ffn_down_shexp.weight", layer.moe.shared.down}, {"ffn_gate_inp_shexp.weight", layer.moe.shared_gate},
  };
  for (const Slot& slot : slots)
    if (slot.name == part) return slot.tensor;
  throw std::runtime_error(fmt::format("tensor blk.*.{} has no place in the model", part));
}

Tensor& slot(Weights& weights, std::string_view name) {
  if (name == "token_embd.weight") return weights.embedding;
  if (name == "output_norm.weight") return weights.output_norm;
  if (name == "output.weight") return weights.head;
  const std::string_view rest = name.substr(name.find('.') + 1);  // after "blk."
  const std::size_t layer = std::stoul(std::string(rest.substr(0, rest.find('.'))));
  return layer_slot(weights.layers.at(layer), rest.substr(rest.find('.') + 1));
}

// Row tasks of one shard: every contiguous run of rows of every expert, cut into pieces of rows_per_task.
void add_tasks(const SourceTensor& tensor, const TensorShard& shard, std::span<const IndexRange> columns, std::byte* out, std::vector<RowTask>& tasks) {
  const std::int64_t out_row = row_bytes(shard.dtype, shard.shape[2]), piece = rows_per_task(shard.shape[2]);
  for (std::int64_t expert = 0; expert < shard.shape[0]; ++expert) {
    for (IndexRange run : shard.rows) {
      for (std::int64_t done = 0; done < run.count; done += piece) {
        const std::int64_t count = std::min(piece, run.count - done);
        tasks.push_back({&tensor, shard.dtype, expert * tensor.shape[1] + run.first + done, count, columns, shard.shape[2], out});
        out += count * out_row;
      }
    }
  }
}

}  // namespace

void load_rank(const LoadJob& job, Context& ctx, std::vector<Trace>& traces, RankWeights& into) {
  into.weights.layers.resize(static_cast<std::size_t>(job.source.config.layers));
  for (std::size_t i = 0; i < into.weights.layers.size(); ++i) into.weights.layers[i].full_attention = job.source.config.full_attention[i];
  into.weights.first_vocab_row = job.plan.shape.first_vocab_row;
  std::vector<RowTask> tasks;
  for (const TensorShard& shard : job.plan.tensors) {
    const SourceTensor& tensor = job.source.tensors[shard.tensor];
    std::span<const IndexRange> columns;
    if (shard.shape[2] != tensor.shape[2]) columns = shard.columns;
    std::byte* memory = into.allocate(shard.shape[0] * shard.shape[1] * row_bytes(shard.dtype, shard.shape[2]));
    slot(into.weights, tensor.name) = {memory, shard.dtype, shard.shape};
    if (memory) add_tasks(tensor, shard, columns, memory, tasks);
    if (memory && needs_quantizing(tensor, shard.dtype))
      ctx.counters.path("quantize", fmt::format("{}-{}", job.schedule, job.convert.micro ? cpu::name(job.convert.micro->isa) : "scalar"));
  }
  if (job.source.config.tied_embeddings) into.weights.head = into.weights.embedding;
  std::vector<ConvertScratch> scratch(static_cast<std::size_t>(ctx.pool.threads()));
  ctx.pool.parallel_for(static_cast<std::int64_t>(tasks.size()), 1, [&](std::int64_t begin, std::int64_t end) {
    const auto worker = static_cast<std::size_t>(ThreadPool::worker());
    for (std::int64_t t = begin; t < end; ++t) {
      const RowTask& task = tasks[static_cast<std::size_t>(t)];
      convert_rows(job.convert, task, scratch[worker], &traces[worker]);
      if (job.loaded_bytes) job.loaded_bytes->fetch_add(task.rows * row_bytes(task.to, task.columns_count), std::memory_order_relaxed);
    }
  });
  ctx.counters.add("bytes.weights", into.bytes());
}

}  // namespace crossover
