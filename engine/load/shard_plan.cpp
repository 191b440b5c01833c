#include "engine/load/shard_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <stdexcept>

namespace crossover {
namespace {

using Ranges = std::vector<IndexRange>;

constexpr std::string_view kEmbedding = "token_embd.weight", kHead = "output.weight";

std::int64_t total(const Ranges& ranges) {
  return std::accumulate(ranges.begin(), ranges.end(), std::int64_t{0}, [](std::int64_t sum, IndexRange r) { return sum + r.count; });
}

void append(Ranges& ranges, IndexRange range) {
  if (range.count == 0) return;
  if (!ranges.empty() && ranges.back().first + ranges.back().count == range.first) ranges.back().count += range.count;
  else ranges.push_back(range);
}

// `count` units dealt as evenly as possible, the remainder to low ranks.
IndexRange deal(std::int64_t count, int ranks, int rank) {
  const std::int64_t each = count / ranks, extra = count % ranks;
  return {rank * each + std::min<std::int64_t>(rank, extra), each + (rank < extra ? 1 : 0)};
}

IndexRange scaled(IndexRange range, std::int64_t unit) { return {range.first * unit, range.count * unit}; }

[[noreturn]] void refuse(const std::string& tensor, const std::string& number, int ranks, const std::string& remedy) {
  throw std::invalid_argument(fmt::format("cannot split {} over {} ranks: {}; {}", tensor, ranks, number, remedy));
}

// Which heads, widths and vocabulary rows one rank holds.
struct Deal {
  IndexRange heads, kv_heads, key_heads, vocab;
};

class Planner {
 public:
  Planner(const Source& source, std::optional<DType> weights, int ranks, HeadPolicy head)
      : source_(source), config_(source.config), weights_(weights), ranks_(ranks), head_(head) {
    if (ranks < 1) throw std::invalid_argument(fmt::format("ranks must be at least 1, asked for {}", ranks));
    check();
  }

  RankPlan plan(int rank) const {
    const Deal deal = deal_of(rank);
    RankPlan plan;
    plan.shape.heads = deal.heads.count;
    plan.shape.kv_heads = deal.kv_heads.count;
    plan.shape.key_heads = deal.key_heads.count;
    plan.shape.value_heads = config_.key_heads ? deal.key_heads.count * (config_.value_heads / config_.key_heads) : 0;
    plan.shape.first_vocab_row = deal.vocab.first;
    plan.shape.vocab_rows = deal.vocab.count;
    const IndexRange head = head_rows(rank);
    plan.shape.first_head_row = head.first, plan.shape.head_rows = head.count;
    plan.shape.head_copy = head_ != HeadPolicy::kSharded && rank > 0;
    for (std::size_t i = 0; i < source_.tensors.size(); ++i) {
      const SourceTensor& tensor = source_.tensors[i];
      if (is_mtp(tensor, config_)) continue;
      TensorShard shard{i, tensor.name, held_as(tensor), tensor.shape, {{0, tensor.shape[1]}}, {{0, tensor.shape[2]}}};
      select(tensor, deal, rank, shard);
      if (tensor.name == kHead) select_head(tensor, rank, shard);
      shard.shape = {tensor.shape[0], total(shard.rows), total(shard.columns)};
      if (ends(tensor, ".ffn_down.weight")) plan.shape.intermediate = shard.shape[2];
      if (ends(tensor, ".ffn_down_exps.weight")) plan.shape.expert_width = shard.shape[2];
      if (ends(tensor, ".ffn_down_shexp.weight")) plan.shape.shared_width = shard.shape[2];
      plan.tensors.push_back(shard);
      // A tied embedding is the head as well, unless the head is dealt in another way.
      if (tensor.name != kEmbedding || !config_.tied_embeddings || head_ == HeadPolicy::kSharded) continue;
      shard.place = kHead;
      select_head(tensor, rank, shard);
      shard.shape = {tensor.shape[0], total(shard.rows), total(shard.columns)};
      plan.tensors.push_back(std::move(shard));
    }
    return plan;
  }

 private:
  static bool ends(const SourceTensor& tensor, std::string_view suffix) { return tensor.name.ends_with(suffix); }
  DType held_as(const SourceTensor& tensor) const { return target_type(tensor, weights_.value_or(tensor.dtype)); }

  // Key heads are dealt in pairs where V-head columns are Q6_K blocks of 256 = two heads of 128.
  std::int64_t key_head_granule() const {
    for (const SourceTensor& tensor : source_.tensors)
      if (ends(tensor, ".ssm_out.weight") && !is_mtp(tensor, config_) && info(held_as(tensor)).block_values > config_.gdn_head_dim)
        return config_.key_heads % 2 == 0 ? 2 : config_.key_heads;
    return 1;
  }

  void check() const {
    const std::int64_t nh = config_.heads, nkv = config_.kv_heads, nk = config_.key_heads;
    const std::int64_t count = ranks_;
    const bool attention = std::find(config_.full_attention.begin(), config_.full_attention.end(), true) != config_.full_attention.end();
    const bool gdn = std::find(config_.full_attention.begin(), config_.full_attention.end(), false) != config_.full_attention.end();
    const char* remedy = "use a rank count that divides it";
    if (attention && nh % count != 0) refuse("attn_q.weight", fmt::format("{} query heads are not divisible by {}", nh, count), ranks_, remedy);
    if (attention && nkv % count != 0 && count % nkv != 0)
      refuse("attn_k.weight", fmt::format("neither do {} KV heads divide by {} nor {} by {}", nkv, count, count, nkv), ranks_, remedy);
    if (gdn && key_head_granule() == 1 && nk % count != 0)
      refuse("attn_qkv.weight (GDN)", fmt::format("{} key heads are not divisible by {}", nk, count), ranks_, remedy);
  }

  Deal deal_of(int rank) const {
    Deal d;
    d.heads = deal(config_.heads, ranks_, rank);
    d.kv_heads = config_.kv_heads % ranks_ == 0 ? deal(config_.kv_heads, ranks_, rank)
                                                : IndexRange{rank / (ranks_ / std::max<std::int64_t>(1, config_.kv_heads)), 1};
    const std::int64_t granule = std::max<std::int64_t>(1, key_head_granule());
    d.key_heads = scaled(deal(config_.key_heads / granule, ranks_, rank), granule);
    d.vocab = deal(config_.vocab, ranks_, rank);
    return d;
  }

  // Value heads of the rank's key heads, `unit` rows or columns each, starting at `base`.
  Ranges value_heads(const Deal& deal, std::int64_t base, std::int64_t unit) const {
    Ranges ranges;
    const std::int64_t groups = config_.value_heads / config_.key_heads;
    if (config_.head_order() == HeadOrder::kGrouped) {
      append(ranges, {base + deal.key_heads.first * groups * unit, deal.key_heads.count * groups * unit});
      return ranges;
    }
    for (std::int64_t j = 0; j < groups; ++j)
      append(ranges, {base + (j * config_.key_heads + deal.key_heads.first) * unit, deal.key_heads.count * unit});
    return ranges;
  }

  IndexRange head_rows(int rank) const {
    if (head_ == HeadPolicy::kSharded) return deal(config_.vocab, ranks_, rank);
    return {0, rank == 0 || head_ != HeadPolicy::kRank0 ? config_.vocab : 0};
  }

  void select_head(const SourceTensor& tensor, int rank, TensorShard& shard) const {
    shard.rows.clear();
    append(shard.rows, head_rows(rank));
    if (rank > 0 && head_ == HeadPolicy::kEveryRankPlain) shard.dtype = tensor.dtype;
  }

  // q rows, k rows, v rows of the fused projection (unit = head dim) or of its convolution.
  Ranges qkv(const Deal& deal) const {
    const std::int64_t d = config_.gdn_head_dim, kd = config_.key_dim();
    Ranges ranges;
    append(ranges, scaled(deal.key_heads, d));
    append(ranges, {kd + deal.key_heads.first * d, deal.key_heads.count * d});
    for (IndexRange range : value_heads(deal, 2 * kd, d)) append(ranges, range);
    return ranges;
  }

  // The part of a feed-forward width: whole blocks of the down projection's type.
  Ranges width(const SourceTensor& tensor, int rank) const {
    std::string down = tensor.name;
    for (const char* part : {"ffn_gate", "ffn_up"})
      if (const auto at = down.find(part); at != std::string::npos) down.replace(at, std::string_view(part).size(), "ffn_down");
    const SourceTensor* of = source_.find(down);
    if (!of) throw std::runtime_error("no tensor " + down + " beside " + tensor.name);
    const std::int64_t columns = of->shape[2], block = std::max(32, info(held_as(*of)).block_values);
    const std::int64_t unit = columns % block == 0 ? block : 1;
    Ranges ranges;
    append(ranges, scaled(deal(columns / unit, ranks_, rank), unit));
    return ranges;
  }

  void select(const SourceTensor& tensor, const Deal& deal, int rank, TensorShard& shard) const {
    const std::int64_t hd = config_.head_dim, d = config_.gdn_head_dim;
    auto rows = [&](Ranges r) { shard.rows = std::move(r); };
    auto columns = [&](Ranges r) { shard.columns = std::move(r); };
    auto one = [](IndexRange r) { Ranges ranges; append(ranges, r); return ranges; };
    if (tensor.name == kEmbedding || tensor.name == kHead) return rows(one(deal.vocab));
    if (ends(tensor, ".attn_q.weight")) return rows(one(scaled(deal.heads, 2 * hd)));
    if (ends(tensor, ".attn_k.weight") || ends(tensor, ".attn_v.weight")) return rows(one(scaled(deal.kv_heads, hd)));
    if (ends(tensor, ".attn_output.weight")) return columns(one(scaled(deal.heads, hd)));
    if (ends(tensor, ".attn_qkv.weight") || ends(tensor, ".ssm_conv1d.weight")) return rows(qkv(deal));
    if (ends(tensor, ".attn_gate.weight")) return rows(value_heads(deal, 0, d));
    if (ends(tensor, ".ssm_alpha.weight") || ends(tensor, ".ssm_beta.weight")) return rows(value_heads(deal, 0, 1));
    if (ends(tensor, ".ssm_a") || ends(tensor, ".ssm_dt.bias")) return columns(value_heads(deal, 0, 1));
    if (ends(tensor, ".ssm_out.weight")) return columns(value_heads(deal, 0, d));
    if (tensor.name.find(".ffn_gate_inp") != std::string::npos) return;
    if (tensor.name.find(".ffn_down") != std::string::npos) return columns(width(tensor, rank));
    if (tensor.name.find(".ffn_gate") != std::string::npos || tensor.name.find(".ffn_up") != std::string::npos) return rows(width(tensor, rank));
  }

  const Source& source_;
  const ModelConfig& config_;
  std::optional<DType> weights_;
  int ranks_;
  HeadPolicy head_;
};

std::int64_t bytes_of(const TensorShard& shard) { return shard.shape[0] * shard.shape[1] * row_bytes(shard.dtype, shard.shape[2]); }

}  // namespace

std::int64_t RankPlan::bytes() const {
  return std::accumulate(tensors.begin(), tensors.end(), std::int64_t{0}, [](std::int64_t sum, const TensorShard& t) { return sum + bytes_of(t); });
}

bool is_mtp(const SourceTensor& tensor, const ModelConfig& config) {
  return tensor.name.find(".nextn.") != std::string::npos || tensor.name.starts_with(fmt::format("blk.{}.", config.layers));
}

ShardPlan make_shard_plan(const Source& source, std::optional<DType> weights, int ranks, HeadPolicy head) {
  const Planner planner(source, weights, ranks, head);
  ShardPlan plan;
  for (int rank = 0; rank < ranks; ++rank) plan.ranks.push_back(planner.plan(rank));
  return plan;
}

std::string describe(const Source& source, const ShardPlan& plan) {
  std::string text;
  for (std::size_t rank = 0; rank < plan.ranks.size(); ++rank) {
    text += fmt::format("rank {}: {} bytes\n", rank, plan.ranks[rank].bytes());
    for (const TensorShard& shard : plan.ranks[rank].tensors) {
      const SourceTensor& tensor = source.tensors[shard.tensor];
      auto ranges = [](const Ranges& list) {
        std::string out;
        for (IndexRange r : list) out += fmt::format("{}{}+{}", out.empty() ? "" : ",", r.first, r.count);
        return out.empty() ? std::string("none") : out;
      };
      text += fmt::format("  {:<32} {:<5} [{}, {}, {}] of [{}, {}, {}]  rows {}  columns {}\n", shard.place, name(shard.dtype), shard.shape[0],
                          shard.shape[1], shard.shape[2], tensor.shape[0], tensor.shape[1], tensor.shape[2], ranges(shard.rows),
                          ranges(shard.columns));
    }
  }
  return text;
}

}  // namespace crossover
