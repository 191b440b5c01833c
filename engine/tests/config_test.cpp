// config.json in its spellings, and every setting the engine has no code for refused by name.
#include "engine/checkpoint/config.h"

#include <nlohmann/json.hpp>

#include "engine/tests/checkpoint_files.h"

namespace crossover::test {
namespace {

using nlohmann::json;

json dense() {
  return json::parse(
      R"({"model_type":"qwen3_5","tie_word_embeddings":true,"eos_token_id":9,"text_config":{"model_type":"qwen3_5_text",
    "vocab_size":100,"hidden_size":256,"num_hidden_layers":4,"num_attention_heads":4,"num_key_value_heads":2,"head_dim":256,
    "linear_num_key_heads":2,"linear_num_value_heads":6,"linear_key_head_dim":128,"linear_value_head_dim":128,"linear_conv_kernel_dim":4,
    "intermediate_size":512,"rms_norm_eps":1e-6,"eos_token_id":7,"attention_bias":false,"hidden_act":"silu","max_position_embeddings":4096,
    "rope_parameters":{"rope_type":"default","rope_theta":5000000,"partial_rotary_factor":0.5,"mrope_section":[11,11,10]}}})");
}

json next() {
  return json::parse(
      R"({"model_type":"qwen3_next","vocab_size":100,"hidden_size":256,"num_hidden_layers":6,"num_attention_heads":4,
    "num_key_value_heads":2,"head_dim":256,"linear_num_key_heads":2,"linear_num_value_heads":4,"num_experts":8,"num_experts_per_tok":2,
    "moe_intermediate_size":256,"shared_expert_intermediate_size":512,"norm_topk_prob":false,"decoder_sparse_step":1,"mlp_only_layers":[],
    "rope_theta":10000000,"partial_rotary_factor":0.25,"rope_scaling":null,"full_attention_interval":3,"eos_token_id":5})");
}

class Config : public testing::Test {
 protected:
  ModelConfig read(const json& config) {
    write_bytes(folder_ / "config.json", config.dump());
    return read_config(folder_.path());
  }
  std::string refusal(const json& config) {
    return message_of([&] { read(config); });
  }
  const TempFolder folder_;
};

TEST_F(Config, Nested) {
  const ModelConfig c = read(dense());
  EXPECT_EQ(c.arch, Arch::kQwen35);
  EXPECT_EQ(c.hidden, 256);
  EXPECT_EQ(c.value_heads, 6);
  EXPECT_EQ(c.conv_channels(), 2 * 256 + 768);
  EXPECT_EQ(c.rotary_dim, 128);
  EXPECT_EQ(c.rope_theta, 5e6);
  EXPECT_EQ(c.max_positions, 4096);
  EXPECT_TRUE(c.tied_embeddings);
  EXPECT_FALSE(c.moe());
  EXPECT_EQ(c.full_attention, (std::vector<bool>{false, false, false, true}));
  EXPECT_EQ(c.end_of_text, (std::vector<std::int32_t>{7, 9}));
}

TEST_F(Config, Flat) {
  const ModelConfig c = read(next());
  EXPECT_EQ(c.arch, Arch::kQwen3Next);
  EXPECT_EQ(c.rotary_dim, 64);
  EXPECT_EQ(c.rope_theta, 1e7);
  EXPECT_EQ(c.experts, 8);
  EXPECT_EQ(c.shared_width, 512);
  EXPECT_FALSE(c.normalize_top_k);
  EXPECT_EQ(c.full_attention, (std::vector<bool>{false, false, true, false, false, true}));
}

TEST_F(Config, FlatTextModelTypes) {
  json text = dense()["text_config"];
  EXPECT_EQ(read(text).arch, Arch::kQwen35);
  text["model_type"] = "qwen3_5_moe_text";
  const json moe = next();
  for (const auto& [key, value] : moe.items())
    if (key.find("expert") != std::string::npos || key == "moe_intermediate_size") text[key] = value;
  const ModelConfig c = read(text);
  EXPECT_EQ(c.arch, Arch::kQwen35Moe);
  EXPECT_TRUE(c.normalize_top_k);
}

TEST_F(Config, LayerTypesBeforeInterval) {
  json config = dense();
  config["text_config"]["full_attention_interval"] = 2;
  EXPECT_EQ(read(config).full_attention, (std::vector<bool>{false, true, false, true}));
  config["text_config"]["layer_types"] = {"full_attention", "linear_attention", "linear_attention", "full_attention"};
  EXPECT_EQ(read(config).full_attention, (std::vector<bool>{true, false, false, true}));
}

TEST_F(Config, GenerationConfigAddsEndOfText) {
  write_bytes(folder_ / "generation_config.json", R"({"eos_token_id":[8,7]})");
  EXPECT_EQ(read(dense()).end_of_text, (std::vector<std::int32_t>{8, 7, 9}));
}

TEST_F(Config, AcceptsNullsAndBothGateNames) {
  json config = dense();
  json& text = config["text_config"];
  text["rope_scaling"] = nullptr;
  text["mlp_only_layers"] = nullptr;
  text["output_gate_type"] = "swish";
  text["rope_parameters"].erase("partial_rotary_factor");
  EXPECT_EQ(read(config).rotary_dim, 64);
}

TEST_F(Config, AcceptsRopeScalingWithoutScaling) {
  json config = next();
  config["rope_scaling"] = {{"type", "default"}, {"mrope_section", {11, 11, 10}}};
  EXPECT_EQ(read(config).rope_theta, 1e7);
}

struct BadField {
  const char* label;
  const char* pointer;
  json value;
  const char* message;
};

class BadFields : public testing::TestWithParam<BadField> {};

TEST_P(BadFields, AreRefusedByName) {
  const TempFolder folder;
  json config = dense();
  if (GetParam().value == "erase")
    config["text_config"].erase(GetParam().pointer);
  else
    config[json::json_pointer(GetParam().pointer)] = GetParam().value;
  write_bytes(folder / "config.json", config.dump());
  const std::string message = message_of([&] { read_config(folder.path()); });
  EXPECT_NE(message.find(GetParam().message), std::string::npos) << message;
  EXPECT_NE(message.find("config.json"), std::string::npos) << message;
}

INSTANTIATE_TEST_SUITE_P(
    Config, BadFields,
    testing::Values(
        BadField{"model_type", "/model_type", "llama", "model_type 'llama' is not supported"},
        BadField{"attention_bias", "/text_config/attention_bias", true, "attention_bias is true; only false"},
        BadField{"attention_gate", "/text_config/attn_output_gate", false, "attn_output_gate is false"},
        BadField{"activation", "/text_config/hidden_act", "gelu", "hidden_act is \"gelu\"; only \"silu\""},
        BadField{"gdn_gate", "/text_config/output_gate_type", "sigmoid", "output_gate_type is \"sigmoid\""},
        BadField{"dense_layers", "/text_config/mlp_only_layers", {1, 2}, "mlp_only_layers is [1,2]"},
        BadField{"sparse_step", "/text_config/decoder_sparse_step", 2, "decoder_sparse_step is 2; only 1"},
        BadField{"rope_type", "/text_config/rope_parameters/rope_type", "yarn", "rope_type is \"yarn\""},
        BadField{"rope_scaling", "/text_config/rope_scaling", {{"type", "linear"}, {"factor", 2}}, "rope_scaling"},
        BadField{"rope_part", "/text_config/rope_parameters/partial_rotary_factor", 1.5, "partial_rotary_factor"},
        BadField{"rope_theta", "/text_config/rope_parameters/rope_theta", "x", "rope_theta is \"x\"; only a number"},
        BadField{"rope_negative", "/text_config/rope_parameters/rope_theta", -1, "must be positive"},
        BadField{"head_dim", "/text_config/head_dim", 128, "attention head dimension is 128; only 256"},
        BadField{"gdn_head_dim", "/text_config/linear_key_head_dim", 64, "linear_value_head_dim is 128; only 64"},
        BadField{"value_head_dim", "/text_config/linear_value_head_dim", 64, "linear_value_head_dim is 64; only 128"},
        BadField{"conv", "/text_config/linear_conv_kernel_dim", 3, "convolution width is 3; only 4"},
        BadField{"head_ratio", "/text_config/num_key_value_heads", 3, "is not a multiple of number of KV heads"},
        BadField{"gdn_ratio", "/text_config/linear_num_value_heads", 5, "is not a multiple of number of GDN key heads"},
        BadField{"layers", "/text_config/num_hidden_layers", 1000000000, "num_hidden_layers is 1000000000"},
        BadField{"no_layers", "/text_config/num_hidden_layers", 0, "num_hidden_layers is 0"},
        BadField{"negative", "/text_config/hidden_size", -256, "hidden_size is -256; only a whole number"},
        BadField{"beyond_64_bits", "/text_config/hidden_size", 18446744073709551615ull,
                 "hidden_size is 18446744073709551615"},
        BadField{"fraction", "/text_config/hidden_size", 256.5, "hidden_size is 256.5"},
        BadField{"text_size", "/text_config/vocab_size", "100", "vocab_size is \"100\""},
        BadField{"layer_type", "/text_config/layer_types", {"a", "b", "c", "d"}, "layer_types holds \"a\""},
        BadField{
            "layer_count", "/text_config/layer_types", {"full_attention"}, "layer_types has 1 entries for 4 layers"},
        BadField{"interval", "/text_config/full_attention_interval", 0, "full_attention_interval is 0"},
        BadField{"quantized", "/quantization_config", {{"quant_method", "fp8"}}, "quantization_config"},
        BadField{"own_embeddings", "/text_config/mtp_use_dedicated_embeddings", true,
                 "mtp_use_dedicated_embeddings is true"},
        BadField{"tied", "/tie_word_embeddings", "yes", "tie_word_embeddings is \"yes\""},
        BadField{"eos", "/text_config/eos_token_id", "x", "eos_token_id"},
        BadField{"text_config", "/text_config", 1, "text_config is 1"},
        BadField{"lacks_width", "intermediate_size", "erase", "lacks intermediate_size"},
        BadField{"lacks_rope", "rope_parameters", "erase", "lacks rope_theta"}),
    [](const auto& test) { return std::string(test.param.label); });

TEST_F(Config, MoeLimits) {
  json config = next();
  config["num_experts_per_tok"] = 9;
  EXPECT_NE(refusal(config).find("9 experts per token of 8"), std::string::npos) << refusal(config);
  config["num_experts"] = 0;
  EXPECT_NE(refusal(config).find("num_experts is 0"), std::string::npos) << refusal(config);
}

TEST_F(Config, NotJson) {
  for (const std::string& text :
       {std::string("{"), std::string("[]"), std::string("null"), std::string("\xff\xff"), std::string()}) {
    write_bytes(folder_ / "config.json", text);
    EXPECT_NE(message_of([&] { read_config(folder_.path()); }).find("config.json"), std::string::npos) << text;
  }
  write_bytes(folder_ / "config.json", "{\"a\":" + std::string(1000000, '[') + std::string(1000000, ']') + "}");
  EXPECT_NE(message_of([&] { read_config(folder_.path()); }).find("nested deeper"), std::string::npos);
}

TEST_F(Config, GoldenModels) {
  const auto golden = golden_models();
  if (!golden) GTEST_SKIP() << "CROSSOVER_GOLDEN names no folder with models";
  const ModelConfig dense_r3 = read_config(*golden / "dense-r3");
  EXPECT_EQ(dense_r3.value_heads / dense_r3.key_heads, 3);
  EXPECT_EQ(dense_r3.end_of_text, (std::vector<std::int32_t>{1002, 1000}));
  const ModelConfig moe_r2 = read_config(*golden / "moe-r2");
  EXPECT_EQ(moe_r2.experts, 16);
  EXPECT_EQ(moe_r2.experts_per_token, 4);
}

}  // namespace
}  // namespace crossover::test
