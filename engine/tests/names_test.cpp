// Names and head order: every value of every tensor is where the formulas of model-spec sections 2.3 to 2.10 put it,
// and what does not fit is refused by name.
#include "engine/checkpoint/names.h"

#include <cmath>
#include <set>

#include "engine/checkpoint/config.h"
#include "engine/checkpoint/safetensors.h"
#include "engine/tests/checkpoint_files.h"
#include "kernels/formats/formats.h"

namespace crossover::test {
namespace {

// Values of a stored tensor as the file holds them.
std::vector<float> stored_values(const StoredTensors& stored, const std::string& name) {
  const StoredTensor& tensor = stored.tensors.at(name);
  const std::string bytes =
      read_bytes(stored.files[static_cast<std::size_t>(tensor.file)]).substr(tensor.offset, tensor.bytes);
  std::int64_t count = 1;
  for (std::int64_t dim : tensor.shape) count *= dim;
  std::vector<float> values(static_cast<std::size_t>(count));
  dequantize_fn (*tensor.dtype)(reinterpret_cast<const std::byte*>(bytes.data()), values.data(), count);
  return values;
}

using RowOf = std::function<std::int64_t(std::int64_t)>;

// Compares tensor `name`, a matrix of `cols` columns, with rows row_of(r) and columns col_of(c) of the stored tensor
// `hf`.
void expect_matrix(const Source& source, const StoredTensors& stored, const std::string& name, const std::string& hf,
                   const RowOf& row_of, const RowOf& col_of) {
  const SourceTensor* tensor = source.find(name);
  ASSERT_NE(tensor, nullptr) << name;
  const std::vector<float> got = values_of(source, *tensor), from = stored_values(stored, hf);
  const std::int64_t rows = tensor->shape[0] * tensor->shape[1], cols = tensor->shape[2];
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t c = 0; c < cols; ++c)
      ASSERT_EQ(got[static_cast<std::size_t>(r * cols + c)],
                from[static_cast<std::size_t>(row_of(r) * cols + col_of(c))])
          << name << " row " << r << " column " << c;
}

std::int64_t same(std::int64_t i) { return i; }

// value_heads / key_heads
class HeadRatio : public testing::TestWithParam<int> {};

TEST_P(HeadRatio, ValueHeadsAreTiled) {
  const std::int64_t nk = 2, r = GetParam(), d = 128, kd = nk * d;
  const TempFolder folder;
  SynthOptions options = tiny();
  options.value_heads = nk * r;
  options.f32_decay = r % 2 == 1;
  write_synth(options, folder / "m");
  const Source source = open_checkpoint(folder / "m");
  const StoredTensors stored = open_safetensors(folder / "m");
  const std::string hf = "model.language_model.layers.1.linear_attn.", blk = "blk.1.";
  const RowOf head = [&](std::int64_t p) { return p % nk * r + p / nk; };
  const RowOf channel = [&](std::int64_t i) { return head(i / d) * d + i % d; };
  const RowOf conv_channel = [&](std::int64_t i) { return i < 2 * kd ? i : 2 * kd + channel(i - 2 * kd); };
  expect_matrix(source, stored, blk + "attn_qkv.weight", hf + "in_proj_qkv.weight", conv_channel, same);
  expect_matrix(source, stored, blk + "ssm_conv1d.weight", hf + "conv1d.weight", conv_channel, same);
  expect_matrix(source, stored, blk + "attn_gate.weight", hf + "in_proj_z.weight", channel, same);
  expect_matrix(source, stored, blk + "ssm_beta.weight", hf + "in_proj_b.weight", head, same);
  expect_matrix(source, stored, blk + "ssm_alpha.weight", hf + "in_proj_a.weight", head, same);
  expect_matrix(source, stored, blk + "ssm_out.weight", hf + "out_proj.weight", same, channel);
  expect_matrix(source, stored, blk + "ssm_dt.bias", hf + "dt_bias", same, head);
  expect_matrix(source, stored, blk + "ssm_norm.weight", hf + "norm.weight", same, same);
  const std::vector<float> ssm_a = values_of(source, *source.find(blk + "ssm_a")),
                           a_log = stored_values(stored, hf + "A_log");
  for (std::int64_t p = 0; p < nk * r; ++p)
    EXPECT_EQ(ssm_a[static_cast<std::size_t>(p)],
              static_cast<float>(-std::exp(static_cast<double>(a_log[static_cast<std::size_t>(head(p))]))));
}

TEST_P(HeadRatio, Qwen3NextIsDeinterleavedAndGrouped) {
  const std::int64_t nk = 2, r = GetParam(), d = 128, kd = nk * d;
  const TempFolder folder;
  SynthOptions options = tiny("tiny-moe");
  options.qwen3_next = true;
  options.experts = 4;
  options.value_heads = nk * r;
  write_synth(options, folder / "m");
  const Source source = open_checkpoint(folder / "m");
  const StoredTensors stored = open_safetensors(folder / "m");
  const std::string hf = "model.layers.0.linear_attn.", blk = "blk.0.";
  const std::int64_t period = 2 * d + 2 * r * d;
  const RowOf qkv = [&](std::int64_t i) {
    if (i < kd) return i / d * period + i % d;
    if (i < 2 * kd) return (i - kd) / d * period + d + i % d;
    const std::int64_t v = i - 2 * kd;
    return v / (r * d) * period + 2 * d + v % (r * d);
  };
  expect_matrix(source, stored, blk + "attn_qkv.weight", hf + "in_proj_qkvz.weight", qkv, same);
  expect_matrix(
      source, stored, blk + "attn_gate.weight", hf + "in_proj_qkvz.weight",
      [&](std::int64_t i) { return i / (r * d) * period + 2 * d + r * d + i % (r * d); }, same);
  expect_matrix(
      source, stored, blk + "ssm_beta.weight", hf + "in_proj_ba.weight",
      [&](std::int64_t h) { return h / r * 2 * r + h % r; }, same);
  expect_matrix(
      source, stored, blk + "ssm_alpha.weight", hf + "in_proj_ba.weight",
      [&](std::int64_t h) { return h / r * 2 * r + r + h % r; }, same);
  expect_matrix(source, stored, blk + "ssm_out.weight", hf + "out_proj.weight", same, same);
  expect_matrix(source, stored, blk + "ssm_conv1d.weight", hf + "conv1d.weight", same, same);
  expect_matrix(source, stored, blk + "ssm_dt.bias", hf + "dt_bias", same, same);
}

INSTANTIATE_TEST_SUITE_P(Names, HeadRatio, testing::Values(1, 2, 3, 4));

TEST(Names, NormsAreOnePlusWeight) {
  const TempFolder folder;
  SynthOptions options = tiny();
  options.mtp = true;
  write_synth(options, folder / "m");
  const Source source = open_checkpoint(folder / "m");
  const StoredTensors stored = open_safetensors(folder / "m");
  const std::vector<std::pair<const char*, const char*>> norms{
      {"output_norm.weight", "model.language_model.norm.weight"},
      {"blk.3.attn_norm.weight", "model.language_model.layers.3.input_layernorm.weight"},
      {"blk.0.post_attention_norm.weight", "model.language_model.layers.0.post_attention_layernorm.weight"},
      {"blk.3.attn_q_norm.weight", "model.language_model.layers.3.self_attn.q_norm.weight"},
      {"blk.3.attn_k_norm.weight", "model.language_model.layers.3.self_attn.k_norm.weight"},
      {"blk.4.nextn.enorm.weight", "mtp.pre_fc_norm_embedding.weight"},
      {"blk.4.nextn.hnorm.weight", "mtp.pre_fc_norm_hidden.weight"},
      {"blk.4.nextn.shared_head_norm.weight", "mtp.norm.weight"},
      {"blk.4.attn_norm.weight", "mtp.layers.0.input_layernorm.weight"}};
  for (const auto& [gguf, hf] : norms) {
    std::vector<float> expected = stored_values(stored, hf);
    for (float& value : expected) value = 1.0f + value;
    ASSERT_NE(source.find(gguf), nullptr) << gguf;
    EXPECT_EQ(values_of(source, *source.find(gguf)), expected) << gguf;
  }
  expect_matrix(source, stored, "blk.4.nextn.eh_proj.weight", "mtp.fc.weight", same, same);
  expect_matrix(source, stored, "blk.4.attn_q.weight", "mtp.layers.0.self_attn.q_proj.weight", same, same);
}

TEST(Names, PackedExpertsAreSplitInHalves) {
  const TempFolder folder;
  SynthOptions options = tiny("tiny-moe");
  options.experts = 6;
  write_synth(options, folder / "m");
  const Source source = open_checkpoint(folder / "m");
  const StoredTensors stored = open_safetensors(folder / "m");
  const std::string hf = "model.language_model.layers.2.mlp.", blk = "blk.2.ffn_";
  const std::int64_t width = 256;
  EXPECT_EQ(source.find(blk + "gate_exps.weight")->shape, (std::array<std::int64_t, 3>{6, width, 256}));
  expect_matrix(
      source, stored, blk + "gate_exps.weight", hf + "experts.gate_up_proj",
      [&](std::int64_t i) { return i / width * 2 * width + i % width; }, same);
  expect_matrix(
      source, stored, blk + "up_exps.weight", hf + "experts.gate_up_proj",
      [&](std::int64_t i) { return i / width * 2 * width + width + i % width; }, same);
  expect_matrix(source, stored, blk + "down_exps.weight", hf + "experts.down_proj", same, same);
  expect_matrix(source, stored, blk + "gate_inp.weight", hf + "gate.weight", same, same);
  expect_matrix(source, stored, blk + "gate_inp_shexp.weight", hf + "shared_expert_gate.weight", same, same);
}

TEST(Names, ExpertsOfTheirOwnAreJoined) {
  const TempFolder folder;
  SynthOptions options = tiny("tiny-moe");
  options.experts = 6;
  options.per_expert_names = true;
  write_synth(options, folder / "m");
  const Source source = open_checkpoint(folder / "m");
  const StoredTensors stored = open_safetensors(folder / "m");
  for (const auto& [gguf, part] :
       {std::pair{"gate_exps", "gate_proj"}, {"up_exps", "up_proj"}, {"down_exps", "down_proj"}}) {
    const std::vector<float> all = values_of(source, *source.find(std::string("blk.1.ffn_") + gguf + ".weight"));
    std::vector<float> expected;
    for (int e = 0; e < 6; ++e) {
      const auto one = stored_values(
          stored, "model.language_model.layers.1.mlp.experts." + std::to_string(e) + "." + part + ".weight");
      expected.insert(expected.end(), one.begin(), one.end());
    }
    EXPECT_EQ(all, expected) << gguf;
  }
}

TEST(Names, TiedModelsHaveNoHead) {
  const TempFolder folder;
  SynthOptions options = tiny();
  options.tied = true;
  write_synth(options, folder / "m");
  const Source source = open_checkpoint(folder / "m");
  EXPECT_TRUE(source.config.tied_embeddings);
  EXPECT_EQ(source.find("output.weight"), nullptr);
  EXPECT_EQ(source.tensors[0].name, "token_embd.weight");
  EXPECT_EQ(source.tensors[1].name, "output_norm.weight");
}

// Edits what the files hold and maps it.
class Mapping : public testing::Test {
 protected:
  void make(const SynthOptions& options) {
    fs::remove_all(folder_ / "m");
    write_synth(options, folder_ / "m");
    config_ = read_config(folder_ / "m");
    stored_ = open_safetensors(folder_ / "m");
  }
  std::string refusal() {
    ModelConfig config = config_;
    return message_of([&] { map_hf_tensors(stored_, config); });
  }
  void expect_refusal(const std::string& part) { EXPECT_NE(refusal().find(part), std::string::npos) << refusal(); }
  void rename(const std::string& from, const std::string& to) {
    auto node = stored_.tensors.extract(from);
    ASSERT_FALSE(node.empty()) << from;
    node.key() = to;
    node.mapped().name = to;
    stored_.tensors.insert(std::move(node));
  }
  const TempFolder folder_;
  ModelConfig config_;
  StoredTensors stored_;
};

TEST_F(Mapping, EveryMissingTensorIsNamed) {
  for (const char* preset : {"tiny-dense", "tiny-moe"}) {
    SynthOptions options = tiny(preset);
    options.mtp = true;
    make(options);
    const StoredTensors whole = stored_;
    EXPECT_EQ(refusal(), "");
    for (const auto& [name, tensor] : whole.tensors) {
      stored_ = whole;
      stored_.tensors.erase(name);
      if (name == "lm_head.weight" || !name.ends_with("embed_tokens.weight")) expect_refusal("tensor " + name);
      expect_refusal("is missing");
    }
  }
}

TEST_F(Mapping, EveryWrongShapeIsNamed) {
  make(tiny("tiny-moe"));
  const StoredTensors whole = stored_;
  for (const auto& [name, tensor] : whole.tensors) {
    stored_ = whole;
    ++stored_.tensors.at(name).shape.back();
    expect_refusal("tensor " + name + " is ");
  }
}

TEST_F(Mapping, UnknownTensorsAreNamed) {
  make(tiny());
  stored_.tensors["model.visual.blocks.0.attn.qkv.bias"] = {
      "model.visual.blocks.0.attn.qkv.bias", DType::kBF16, "BF16", {96}};
  EXPECT_EQ(refusal(), "");
  stored_.tensors["model.language_model.layers.0.mlp.up_proj.bias"] = {
      "model.language_model.layers.0.mlp.up_proj.bias", DType::kBF16, "BF16", {512}};
  expect_refusal("tensor model.language_model.layers.0.mlp.up_proj.bias BF16 [512] is not part of a qwen35 model");
}

TEST_F(Mapping, UnsupportedTypesAreNamed) {
  make(tiny());
  StoredTensor& tensor = stored_.tensors.at("model.language_model.layers.0.mlp.up_proj.weight");
  tensor.dtype.reset();
  tensor.dtype_name = "F8_E4M3";
  expect_refusal("tensor model.language_model.layers.0.mlp.up_proj.weight has type F8_E4M3");
}

TEST_F(Mapping, ExpertsOfOneTensorHaveOneType) {
  SynthOptions options = tiny("tiny-moe");
  options.per_expert_names = true;
  make(options);
  StoredTensor& tensor = stored_.tensors.at("model.language_model.layers.0.mlp.experts.3.up_proj.weight");
  tensor.dtype = DType::kF32;
  tensor.dtype_name = "F32";
  expect_refusal("experts.3.up_proj.weight is F32, those of other experts are bf16");
  stored_.tensors.erase("model.language_model.layers.0.mlp.experts.3.up_proj.weight");
  expect_refusal("experts.3.up_proj.weight [256, 256] is missing");
}

TEST_F(Mapping, TextModelsUnderAnyPrefix) {
  make(tiny());
  const StoredTensors whole = stored_;
  for (const auto& [name, tensor] : whole.tensors)
    if (name.starts_with("model.language_model.")) rename(name, "model." + name.substr(21));
  EXPECT_EQ(refusal(), "");
}

TEST_F(Mapping, SecondPredictionLayerIsRefused) {
  SynthOptions options = tiny();
  options.mtp = true;
  make(options);
  rename("mtp.layers.0.input_layernorm.weight", "mtp.layers.1.input_layernorm.weight");
  expect_refusal("more than one prediction layer");
}

TEST(Names, GoldenModels) {
  const auto golden = golden_models();
  if (!golden) GTEST_SKIP() << "CROSSOVER_GOLDEN names no folder with models";
  const Source dense = open_checkpoint(*golden / "dense-r3"), moe = open_checkpoint(*golden / "moe-r2");
  EXPECT_EQ(dense.tensors.size(), 3u + 3 * 14 + 11 + 15);
  EXPECT_EQ(moe.tensors.size(), 3u + 3 * 19 + 16 + 20);
  EXPECT_EQ(dense.config.mtp_layers, 1);
  EXPECT_EQ(moe.files.size(), 2u);
  EXPECT_EQ(dense.tokenizer.filename(), "tokenizer.json");
  for (const SourceTensor& tensor : moe.tensors)
    for (float value : values_of(moe, tensor)) ASSERT_TRUE(std::isfinite(value)) << tensor.name;
}

}  // namespace
}  // namespace crossover::test
