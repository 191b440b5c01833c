#include "engine/load/loader.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <stdexcept>
#include <system_error>

#include "engine/load/device_lanes.h"
#include "kernels/formats/panels.h"

namespace crossover {

namespace {

// Memory comes from the backend, on huge pages where blocks are large (kernels/cpu/memory.cpp).
void pin_pages(std::byte* memory, std::size_t bytes, Pin pin) {
  if (pin == Pin::kPlain) {
    const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
    const auto first = (reinterpret_cast<std::uintptr_t>(memory) + page - 1) / page * page;
    const auto end = (reinterpret_cast<std::uintptr_t>(memory) + bytes) / page * page;
    if (first < end) (void)::madvise(reinterpret_cast<void*>(first), end - first, MADV_NOHUGEPAGE);  // advice: a refusal changes nothing
  }
  // Pages are locked as they are filled, so that this does not zero them all first.
  if (pin == Pin::kMlock && ::mlock2(memory, bytes, MLOCK_ONFAULT) != 0)
    throw std::runtime_error(fmt::format("CROSSOVER_PIN=mlock: cannot lock {} bytes in memory: {}; raise the limit (ulimit -l) or use huge", bytes,
                                         std::generic_category().message(errno)));
}

}  // namespace

RankWeights::~RankWeights() { clear(); }

void RankWeights::clear() {
  for (auto [memory, bytes] : blocks_) {
    if (pin_ == Pin::kMlock) (void)::munlock(memory, bytes);
    ops_.release(memory, bytes);
  }
  blocks_.clear();
  bytes_ = 0;
  weights = {};
}

std::byte* RankWeights::allocate(std::int64_t bytes) {
  if (bytes == 0) return nullptr;
  blocks_.reserve(blocks_.size() + 1);
  std::byte* memory = ops_.allocate(static_cast<std::size_t>(bytes));
  blocks_.emplace_back(memory, static_cast<std::size_t>(bytes));
  bytes_ += bytes;
  if (ops_.host_memory) pin_pages(memory, static_cast<std::size_t>(bytes), pin_);
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

ConvertReport convert_to_device(const ConvertPlan& plan, ConvertOptions options, Context& ctx, std::vector<Trace>& traces) {
  DeviceLanes lanes(ctx, plan.largest_delivery_bytes(), plan.largest_quantized_there_bytes());
  options.deliver = [&](std::byte* to, const std::byte* rows, std::size_t bytes) { lanes.deliver(to, rows, bytes); };
  options.quantize_there = [&](const ConvertTask& task, const SourceTensor& tensor, const std::byte* rows, std::byte* blocks, Trace* trace) {
    lanes.quantize(task, tensor, rows, blocks, trace);
  };
  ConvertReport report = convert(plan, options, ctx.pool, traces);
  lanes.finish(ctx.trace);
  ctx.counters.add("bytes.staging", lanes.staging_bytes());
  ctx.counters.add("bytes.staging.device", lanes.device_staging_bytes());
  return report;
}

}  // namespace

RankLoad load_rank(const LoadJob& job, Context& ctx, std::vector<Trace>& traces, RankWeights& into) {
  into.weights.layers.resize(static_cast<std::size_t>(job.source.config.layers));
  for (std::size_t i = 0; i < into.weights.layers.size(); ++i) into.weights.layers[i].full_attention = job.source.config.full_attention[i];
  into.weights.first_vocab_row = job.plan.shape.first_vocab_row;
  ConvertPlan plan(job.source, job.schedule, job.quantizes_on_device);
  const bool own_head = std::any_of(job.plan.tensors.begin(), job.plan.tensors.end(),
                                    [](const TensorShard& shard) { return shard.place == "output.weight" && shard.shape[1] > 0; });
  for (std::size_t i = 0; i < job.plan.tensors.size(); ++i) {
    const TensorShard& shard = job.plan.tensors[i];
    const SourceTensor& tensor = job.source.tensors[shard.tensor];
    std::span<const IndexRange> columns;
    if (shard.shape[2] != tensor.shape[2]) columns = shard.columns;
    const bool head = shard.place == "output.weight", only_embeds = shard.place == "token_embd.weight" && (own_head || !job.source.config.tied_embeddings);
    Tensor weight{nullptr, shard.dtype, shard.shape, has_panels(shard.dtype) && !only_embeds ? job.layout : Layout::kRows};
    weight.data = into.allocate(weight.bytes());
    slot(into.weights, shard.place) = weight;
    if (weight.data)
      plan.add(shard.tensor, shard.dtype, shard.rows, columns, weight.data, head ? "lm_head" : nullptr, !job.kept.empty() && job.kept[i], weight.layout);
    if (weight.layout == Layout::kPanels) ctx.counters.path("weights", "panels");
  }
  for (std::size_t tensor : job.passing) plan.add(tensor, target_type(job.source.tensors[tensor], job.passing_type), {}, {}, nullptr);
  if (job.source.config.tied_embeddings && !into.weights.head.data) into.weights.head = into.weights.embedding;
  RankLoad load{ctx.ops.host_memory ? convert(plan, job.convert, ctx.pool, traces) : convert_to_device(plan, job.convert, ctx, traces), plan.quantized_values()};
  if (load.convert.quantized_there) ctx.counters.path("quantize", "device");
  for (Schedule schedule : load.convert.schedules)
    ctx.counters.path("quantize", quantize_path(schedule, job.convert.micro));
  ctx.counters.add("launches.quantize", load.convert.launches);
  ctx.counters.add("bytes.weights", into.bytes());
  return load;
}

}  // namespace crossover
