#include "engine/load/shard_plan.h"

#include <gtest/gtest.h>

#include <set>

namespace crossover {
namespace {

// The tensors of one GDN and one attention layer with the given shapes; nothing lies in any file.
Source make_source(const ModelConfig& config) {
  Source source;
  source.config = config;
  const std::int64_t h = config.hidden, kd = config.key_dim(), vd = config.value_dim();
  auto add = [&](const std::string& name, std::int64_t rows, std::int64_t columns, std::int64_t experts = 1) {
    source.tensors.push_back({name, DType::kBF16, {experts, rows, columns}, Transform::kNone, {}, {}, name});
  };
  add("token_embd.weight", config.vocab, h);
  add("output.weight", config.vocab, h);
  add("blk.0.attn_norm.weight", 1, h);
  add("blk.0.attn_qkv.weight", 2 * kd + vd, h);
  add("blk.0.attn_gate.weight", vd, h);
  add("blk.0.ssm_alpha.weight", config.value_heads, h);
  add("blk.0.ssm_a", 1, config.value_heads);
  add("blk.0.ssm_conv1d.weight", 2 * kd + vd, 4);
  add("blk.0.ssm_out.weight", h, vd);
  add("blk.1.attn_q.weight", config.heads * 512, h);
  add("blk.1.attn_k.weight", config.kv_heads * 256, h);
  add("blk.1.attn_output.weight", h, config.heads * 256);
  if (config.moe()) {
    add("blk.1.ffn_gate_inp.weight", config.experts, h);
    add("blk.1.ffn_gate_exps.weight", config.expert_width, h, config.experts);
    add("blk.1.ffn_down_exps.weight", h, config.expert_width, config.experts);
  } else {
    add("blk.1.ffn_gate.weight", config.intermediate, h);
    add("blk.1.ffn_down.weight", h, config.intermediate);
  }
  add("blk.2.nextn.eh_proj.weight", h, 2 * h);
  return source;
}

ModelConfig dense_27b() {
  ModelConfig c;
  c.hidden = 5120, c.layers = 2, c.vocab = 248320, c.full_attention = {false, true};
  c.heads = 24, c.kv_heads = 4, c.key_heads = 16, c.value_heads = 48, c.intermediate = 17408;
  return c;
}

ModelConfig moe_35b() {
  ModelConfig c;
  c.arch = Arch::kQwen35Moe;
  c.hidden = 2048, c.layers = 2, c.vocab = 248320, c.full_attention = {false, true};
  c.heads = 16, c.kv_heads = 2, c.key_heads = 16, c.value_heads = 32, c.experts = 256, c.experts_per_token = 8, c.expert_width = 512;
  return c;
}

const TensorShard& shard_of(const Source& source, const RankPlan& plan, std::string_view name) {
  for (const TensorShard& shard : plan.tensors)
    if (source.tensors[shard.tensor].name == name) return shard;
  throw std::runtime_error("no such shard");
}

TEST(ShardPlan, DealsFeedForwardWidthInWholeBlocks) {
  const Source source = make_source(dense_27b());
  const ShardPlan plan = make_shard_plan(source, DType::kQ6_K, 8);
  const std::int64_t blocks[] = {9, 9, 9, 9, 8, 8, 8, 8};
  for (int r = 0; r < 8; ++r) {
    EXPECT_EQ(plan.ranks[r].shape.intermediate, blocks[r] * 256);
    EXPECT_EQ(shard_of(source, plan.ranks[r], "blk.1.ffn_gate.weight").shape[1], blocks[r] * 256);
  }
}

TEST(ShardPlan, ARankMayHoldNoPartOfTheExperts) {
  const Source source = make_source(moe_35b());
  const ShardPlan plan = make_shard_plan(source, DType::kQ6_K, 4);
  const std::int64_t widths[] = {256, 256, 0, 0};
  for (int r = 0; r < 4; ++r) EXPECT_EQ(plan.ranks[r].shape.expert_width, widths[r]);
  const ShardPlan f32 = make_shard_plan(source, DType::kF32, 4);
  for (int r = 0; r < 4; ++r) EXPECT_EQ(f32.ranks[r].shape.expert_width, 128);
}

TEST(ShardPlan, TiledValueHeadsAreTheRunsOfTheRanksKeyHeads) {
  const Source source = make_source(dense_27b());
  const ShardPlan plan = make_shard_plan(source, DType::kQ6_K, 2);
  const TensorShard& out = shard_of(source, plan.ranks[1], "blk.0.ssm_out.weight");
  ASSERT_EQ(out.columns.size(), 3u);  // r = 3 runs of 8 key heads
  for (std::size_t j = 0; j < 3; ++j) {
    EXPECT_EQ(out.columns[j].first, static_cast<std::int64_t>(j) * 16 * 128 + 8 * 128);
    EXPECT_EQ(out.columns[j].count, 8 * 128);
  }
  ModelConfig grouped = dense_27b();
  grouped.arch = Arch::kQwen3Next;
  const Source next = make_source(grouped);
  const ShardPlan next_plan = make_shard_plan(next, DType::kF32, 2);
  const TensorShard& next_out = shard_of(next, next_plan.ranks[1], "blk.0.ssm_out.weight");
  ASSERT_EQ(next_out.columns.size(), 1u);
  EXPECT_EQ(next_out.columns[0].first, 24 * 128);
}

TEST(ShardPlan, PartsCoverEveryRowAndColumnOnce) {
  for (const ModelConfig& config : {dense_27b(), moe_35b()}) {
    const Source source = make_source(config);
    for (DType type : {DType::kF32, DType::kQ6_K}) {
      for (int ranks : {1, 2, 4}) {
        const ShardPlan plan = make_shard_plan(source, type, ranks);
        for (std::string_view name : {"token_embd.weight", "blk.0.attn_qkv.weight", "blk.0.ssm_out.weight", "blk.1.attn_output.weight", "blk.0.ssm_a"}) {
          std::int64_t cells = 0;
          std::set<std::pair<std::int64_t, std::int64_t>> starts;
          for (const RankPlan& rank : plan.ranks) {
            const TensorShard& shard = shard_of(source, rank, name);
            cells += shard.shape[0] * shard.shape[1] * shard.shape[2];
            for (IndexRange r : shard.rows)
              for (IndexRange c : shard.columns) EXPECT_TRUE(starts.emplace(r.first, c.first).second) << name;
          }
          const auto& shape = source.find(name)->shape;
          EXPECT_EQ(cells, shape[0] * shape[1] * shape[2]) << name << ' ' << ranks;
        }
      }
    }
  }
}

TEST(ShardPlan, KeyValueHeadsAreReplicatedBeyondTheirNumber) {
  const Source source = make_source(moe_35b());
  const ShardPlan plan = make_shard_plan(source, DType::kF32, 4);
  for (int r = 0; r < 4; ++r) {
    EXPECT_EQ(plan.ranks[r].shape.kv_heads, 1);
    EXPECT_EQ(shard_of(source, plan.ranks[r], "blk.1.attn_k.weight").rows[0].first, r / 2 * 256);
  }
}

TEST(ShardPlan, SkipsTheDrafter) {
  const Source source = make_source(dense_27b());
  EXPECT_THROW(shard_of(source, make_shard_plan(source, DType::kF32, 1).ranks[0], "blk.2.nextn.eh_proj.weight"), std::runtime_error);
}

void expect_refused(const ModelConfig& config, DType type, int ranks, const std::string& tensor, const std::string& number) {
  const Source source = make_source(config);
  try {
    make_shard_plan(source, type, ranks);
    FAIL() << "not refused: " << tensor;
  } catch (const std::invalid_argument& error) {
    EXPECT_NE(std::string(error.what()).find(tensor), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find(number), std::string::npos) << error.what();
  }
}

TEST(ShardPlan, RefusesByTensorAndNumber) {
  expect_refused(dense_27b(), DType::kF32, 5, "attn_q.weight", "24 query heads");
  ModelConfig odd = dense_27b();
  odd.kv_heads = 3;
  expect_refused(odd, DType::kF32, 2, "attn_k.weight", "3 KV heads");
  odd = dense_27b();
  odd.key_heads = 3, odd.value_heads = 9;
  expect_refused(odd, DType::kF32, 2, "attn_qkv.weight", "3 key heads");
  expect_refused(dense_27b(), DType::kF32, 0, "ranks", "0");
}

TEST(ShardPlan, DescribesEveryRank) {
  const Source source = make_source(moe_35b());
  const std::string text = describe(source, make_shard_plan(source, DType::kQ6_K, 4));
  EXPECT_NE(text.find("rank 3: "), std::string::npos);
  EXPECT_NE(text.find("rows none"), std::string::npos);
}

}  // namespace
}  // namespace crossover
