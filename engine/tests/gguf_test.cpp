// GGUF files: hostile headers are refused, and what the writer writes the reader reads.
#include "engine/checkpoint/gguf.h"

#include <thread>

#include "engine/checkpoint/config.h"
#include "engine/checkpoint/write_gguf.h"
#include "engine/tests/checkpoint_files.h"
#include "kernels/formats/formats.h"

namespace crossover::test {
namespace {

std::string text(const std::string& value) { return little_endian(static_cast<std::uint64_t>(value.size())) + value; }
std::string u32(std::uint32_t value) { return little_endian(value); }
std::string u64(std::uint64_t value) { return little_endian(value); }

std::string header(std::uint64_t tensors, std::uint64_t keys, std::uint32_t version = 3) {
  return "GGUF" + u32(version) + u64(tensors) + u64(keys);
}
std::string tensor(const std::string& name, std::vector<std::uint64_t> dims, std::uint32_t type, std::uint64_t offset) {
  std::string bytes = text(name) + u32(static_cast<std::uint32_t>(dims.size()));
  for (std::uint64_t dim : dims) bytes += u64(dim);
  return bytes + u32(type) + u64(offset);
}
// Pads to 32 and adds data.
std::string with_data(std::string bytes, std::size_t data_bytes) {
  bytes.resize((bytes.size() + 31) / 32 * 32, '\0');
  return bytes + std::string(data_bytes, '\0');
}

TEST(Gguf, ReadsMetadataAndTensors) {
  const TempFolder folder;
  const std::string bytes = header(2, 5) + text("name") + u32(8) + text("x") + text("i") + u32(5) +
                            u32(static_cast<std::uint32_t>(-7)) + text("f") + u32(6) + little_endian(0.5f) +
                            text("list") + u32(9) + u32(4) + u64(2) + u32(3) + u32(4) + text("words") + u32(9) +
                            u32(8) + u64(2) + text("a") + text("") + tensor("t", {4, 3}, 0, 0) +
                            tensor("q", {256}, 14, 64);
  write_bytes(folder / "x.gguf", with_data(bytes, 64 + 210));
  const GgufHeader read = read_gguf_header(folder / "x.gguf");
  EXPECT_EQ(read.text("name"), "x");
  EXPECT_EQ(read.integer("i"), -7);
  EXPECT_EQ(read.number("f"), 0.5);
  EXPECT_EQ(read.array("list")->integers, (std::vector<std::int64_t>{3, 4}));
  EXPECT_EQ(read.array("words")->count, 2u);
  EXPECT_EQ(read.integer("absent"), std::nullopt);
  EXPECT_THROW(read.integer("name"), std::runtime_error);
  EXPECT_EQ(read.stored.tensors.at("t").shape, (std::vector<std::int64_t>{3, 4}));
  EXPECT_EQ(read.stored.tensors.at("q").dtype, DType::kQ6_K);
  EXPECT_EQ(read.stored.tensors.at("q").offset, with_data(bytes, 0).size() + 64);
}

struct BadFile {
  const char* label;
  std::string bytes;
  const char* message;
};

class BadGguf : public testing::TestWithParam<BadFile> {};

TEST_P(BadGguf, IsRefused) {
  const TempFolder folder;
  const fs::path path = folder / "bad.gguf";
  write_bytes(path, GetParam().bytes);
  const std::string message = message_of([&] { read_gguf_header(path); });
  EXPECT_NE(message.find(GetParam().message), std::string::npos) << message;
  EXPECT_NE(message.find(path.string()), std::string::npos) << message;
}

std::string nested_arrays(int depth) {
  std::string bytes = header(0, 1) + text("deep") + u32(9);
  for (int i = 0; i < depth; ++i) bytes += u32(9) + u64(1);
  return bytes + u32(4) + u64(0);
}

std::vector<BadFile> bad_files() {
  const std::uint64_t huge = ~std::uint64_t{0};
  const std::string room(64, '\0');
  const std::string key = text("k");
  return {
      {"empty", "", "the magic number"},
      {"magic", "GGML" + header(0, 0).substr(4), "does not start with GGUF"},
      {"old_version", header(0, 0, 2), "version 2"},
      {"big_endian", header(0, 0, 0x03000000), "version 50331648"},
      {"cut_counts", header(0, 0).substr(0, 20), "count"},
      {"tensor_count", header(huge, 0) + room, "claims 18446744073709551615 tensors"},
      {"key_count", header(0, huge) + room, "claims 18446744073709551615 metadata"},
      {"count_beyond_file", header(1000, 0) + room, "claims 1000 tensors"},
      {"key_length", header(0, 1) + u64(huge) + room, "claims a string of 18446744073709551615"},
      {"value_length", header(0, 1) + key + u32(8) + u64(1 << 30) + room, "claims a string of 1073741824"},
      {"value_type", header(0, 1) + key + u32(13) + room, "unknown type 13"},
      {"array_type", header(0, 1) + key + u32(9) + u32(77) + u64(1) + room, "unknown type 77"},
      {"array_count", header(0, 1) + key + u32(9) + u32(4) + u64(huge) + room, "claims an array of"},
      {"array_count_overflow", header(0, 1) + key + u32(9) + u32(10) + u64(huge / 8 + 1) + room, "claims an array of"},
      {"string_array_count", header(0, 1) + key + u32(9) + u32(8) + u64(100) + room, "claims an array of 100"},
      {"string_in_array", header(0, 1) + key + u32(9) + u32(8) + u64(1) + u64(huge) + room, "claims a string of"},
      {"array_depth", nested_arrays(5), "nests arrays deeper"},
      {"array_depth_hostile", nested_arrays(100000), "nests arrays deeper"},
      {"key_twice", header(0, 2) + key + u32(4) + u32(1) + key + u32(4) + u32(1) + room, "k appears twice"},
      {"alignment_zero", header(0, 1) + text("general.alignment") + u32(4) + u32(0) + room, "general.alignment is 0"},
      {"alignment_odd", header(0, 1) + text("general.alignment") + u32(4) + u32(48) + room, "general.alignment is 48"},
      {"alignment_text", header(0, 1) + text("general.alignment") + u32(8) + text("32") + room, "not a whole number"},
      {"rank_zero", with_data(header(1, 0) + tensor("t", {}, 0, 0), 64), "has 0 dimensions"},
      {"rank_five", with_data(header(1, 0) + tensor("t", {1, 1, 1, 1, 1}, 0, 0), 64), "has 5 dimensions"},
      {"dimension_zero", with_data(header(1, 0) + tensor("t", {4, 0}, 0, 0), 64), "impossible dimension 0"},
      {"dimension_overflow", with_data(header(1, 0) + tensor("t", {1ull << 40, 1ull << 40}, 0, 0), 64),
       "impossible dimension"},
      {"half_block", with_data(header(1, 0) + tensor("t", {100}, 14, 0), 1000), "not whole blocks"},
      {"misaligned", with_data(header(1, 0) + tensor("t", {4}, 0, 4), 64), "starts at 4, not at a multiple of 32"},
      {"offset_beyond", with_data(header(1, 0) + tensor("t", {4}, 0, 1ull << 40), 64), "tensor t needs bytes"},
      {"offset_wraps", with_data(header(1, 0) + tensor("t", {4}, 0, huge - 31), 64), "tensor t needs bytes"},
      {"truncated_data", with_data(header(1, 0) + tensor("t", {64}, 0, 0), 255),
       "tensor t needs bytes 0 to 0+256 of 255"},
      {"overlap", with_data(header(2, 0) + tensor("s", {16}, 0, 0) + tensor("t", {16}, 0, 32), 128),
       "tensors s and t overlap"},
      {"same_place", with_data(header(2, 0) + tensor("s", {4}, 0, 0) + tensor("t", {4}, 0, 0), 128), "overlap"},
      {"tensor_twice", with_data(header(2, 0) + tensor("t", {4}, 0, 0) + tensor("t", {4}, 0, 32), 128),
       "t appears twice"},
      {"name_length", header(1, 0) + u64(1 << 20) + std::string(1 << 21, 'x'), "claims a string of 1048576"},
  };
}

INSTANTIATE_TEST_SUITE_P(Gguf, BadGguf, testing::ValuesIn(bad_files()),
                         [](const auto& test) { return std::string(test.param.label); });

// Writes `source` as `weights`, tensors in reverse order and in pieces of 7 rows, by two threads.
void write_all(const Source& source, DType weights, const fs::path& path) {
  const std::vector<GgufTensorPlan> plan = plan_gguf(source, weights);
  GgufWriter writer(path, source, plan);
  const auto work = [&](std::size_t parity) {
    for (std::size_t i = plan.size(); i-- > 0;) {
      if (i % 2 != parity) continue;
      const std::vector<float> values = values_of(source, source.tensors[i]);
      const std::int64_t rows = plan[i].shape[0] * plan[i].shape[1], cols = plan[i].shape[2];
      std::vector<std::byte> bytes(static_cast<std::size_t>(row_bytes(plan[i].dtype, rows * cols)));
      quantize_fn(plan[i].dtype)(values.data(), bytes.data(), rows * cols);
      for (std::int64_t row = 0; row < rows; row += 7)
        writer.write(i, row, bytes.data() + row * row_bytes(plan[i].dtype, cols),
                     std::min<std::int64_t>(7, rows - row));
    }
  };
  std::thread other(work, 1);
  work(0);
  other.join();
  writer.finish();
}

SynthOptions small_moe() {
  SynthOptions options = tiny("tiny-moe");
  options.experts = 4;
  options.mtp = true;
  return options;
}

void expect_same_model(const Source& a, const Source& b) {
  EXPECT_EQ(a.config.arch, b.config.arch);
  EXPECT_EQ(a.config.hidden, b.config.hidden);
  EXPECT_EQ(a.config.layers, b.config.layers);
  EXPECT_EQ(a.config.vocab, b.config.vocab);
  EXPECT_EQ(a.config.full_attention, b.config.full_attention);
  EXPECT_EQ(a.config.heads, b.config.heads);
  EXPECT_EQ(a.config.kv_heads, b.config.kv_heads);
  EXPECT_EQ(a.config.rotary_dim, b.config.rotary_dim);
  EXPECT_EQ(a.config.key_heads, b.config.key_heads);
  EXPECT_EQ(a.config.value_heads, b.config.value_heads);
  EXPECT_EQ(a.config.intermediate, b.config.intermediate);
  EXPECT_EQ(a.config.experts, b.config.experts);
  EXPECT_EQ(a.config.experts_per_token, b.config.experts_per_token);
  EXPECT_EQ(a.config.expert_width, b.config.expert_width);
  EXPECT_EQ(a.config.shared_width, b.config.shared_width);
  EXPECT_EQ(a.config.tied_embeddings, b.config.tied_embeddings);
  EXPECT_EQ(a.config.mtp_layers, b.config.mtp_layers);
  EXPECT_EQ(a.config.rope_theta, b.config.rope_theta);
  EXPECT_EQ(a.config.rms_eps, b.config.rms_eps);
  EXPECT_EQ(a.config.max_positions, b.config.max_positions);
  EXPECT_EQ(a.config.end_of_text, b.config.end_of_text);
  ASSERT_EQ(a.tensors.size(), b.tensors.size());
  for (std::size_t i = 0; i < a.tensors.size(); ++i) {
    EXPECT_EQ(a.tensors[i].name, b.tensors[i].name);
    EXPECT_EQ(a.tensors[i].shape, b.tensors[i].shape) << a.tensors[i].name;
  }
}

class GgufRoundTrip : public testing::TestWithParam<const char*> {
 protected:
  static SynthOptions options() {
    const std::string variant = GetParam();
    SynthOptions o = variant.starts_with("dense") ? tiny() : small_moe();
    if (variant == "dense_tied") o.tied = true;
    if (variant == "next") o.qwen3_next = o.per_expert_names = true;
    if (variant == "next_r4") {
      o.qwen3_next = o.f32_decay = true;
      o.value_heads = 8;
    }
    return o;
  }
};

TEST_P(GgufRoundTrip, KeepsConfigShapesAndValues) {
  const TempFolder folder;
  write_synth(options(), folder / "hf");
  const Source source = open_checkpoint(folder / "hf");
  write_all(source, DType::kF32, folder / "f32.gguf");
  const Source read = open_checkpoint(folder / "f32.gguf");
  expect_same_model(source, read);
  for (std::size_t i = 0; i < source.tensors.size(); ++i) {
    EXPECT_EQ(read.tensors[i].transform, Transform::kNone);
    EXPECT_EQ(values_of(source, source.tensors[i]), values_of(read, read.tensors[i])) << source.tensors[i].name;
  }
}

TEST_P(GgufRoundTrip, BothRoutesGiveTheSameQuantizedBytes) {
  const TempFolder folder;
  write_synth(options(), folder / "hf");
  const Source source = open_checkpoint(folder / "hf");
  write_all(source, DType::kF32, folder / "f32.gguf");
  write_all(source, DType::kQ6_K, folder / "direct.gguf");
  write_all(open_checkpoint(folder / "f32.gguf"), DType::kQ6_K, folder / "twice.gguf");
  const Source direct = open_checkpoint(folder / "direct.gguf"), twice = open_checkpoint(folder / "twice.gguf");
  expect_same_model(direct, twice);
  for (std::size_t i = 0; i < direct.tensors.size(); ++i) {
    EXPECT_EQ(direct.tensors[i].dtype, target_type(source.tensors[i], DType::kQ6_K));
    EXPECT_EQ(values_of(direct, direct.tensors[i]), values_of(twice, twice.tensors[i])) << direct.tensors[i].name;
  }
}

INSTANTIATE_TEST_SUITE_P(Gguf, GgufRoundTrip, testing::Values("dense", "dense_tied", "moe", "next", "next_r4"),
                         [](const auto& test) { return std::string(test.param); });

TEST(GgufWriter, TypeMap) {
  const auto type = [](const std::string& name, std::array<std::int64_t, 3> shape, DType weights) {
    SourceTensor tensor;
    tensor.name = name;
    tensor.shape = shape;
    return target_type(tensor, weights);
  };
  EXPECT_EQ(type("token_embd.weight", {1, 64, 256}, DType::kQ6_K), DType::kQ6_K);
  EXPECT_EQ(type("output.weight", {1, 64, 256}, DType::kQ6_K), DType::kQ6_K);
  EXPECT_EQ(type("blk.0.ffn_gate_exps.weight", {8, 64, 256}, DType::kQ6_K), DType::kQ6_K);
  EXPECT_EQ(type("blk.0.ffn_down_shexp.weight", {1, 64, 256}, DType::kQ6_K), DType::kQ6_K);
  EXPECT_EQ(type("blk.0.ffn_down.weight", {1, 64, 288}, DType::kQ6_K), DType::kQ8_0);
  EXPECT_EQ(type("blk.0.ffn_down.weight", {1, 64, 100}, DType::kQ6_K), DType::kF32);
  EXPECT_EQ(type("blk.0.ffn_down.weight", {1, 64, 100}, DType::kBF16), DType::kBF16);
  for (const char* name :
       {"blk.0.ssm_conv1d.weight", "blk.0.ffn_gate_inp.weight", "blk.0.ssm_alpha.weight", "blk.0.ssm_beta.weight"})
    EXPECT_EQ(type(name, {1, 64, 256}, DType::kQ6_K), DType::kF32) << name;
  for (const char* name : {"blk.0.ffn_gate_inp_shexp.weight", "blk.0.attn_norm.weight", "blk.0.ssm_a"})
    EXPECT_EQ(type(name, {1, 1, 256}, DType::kBF16), DType::kF32) << name;
}

TEST(GgufWriter, LeavesNothingBehindUnlessFinished) {
  const TempFolder folder;
  write_synth(tiny(), folder / "hf");
  const Source source = open_checkpoint(folder / "hf");
  {
    GgufWriter writer(folder / "x.gguf", source, plan_gguf(source, DType::kBF16));
    EXPECT_THROW(writer.finish(), std::invalid_argument);
    EXPECT_THROW(writer.write(0, 31, nullptr, 2), std::invalid_argument);
    EXPECT_FALSE(fs::exists(folder / "x.gguf"));
  }
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()), 1);  // hf
  const std::string message =
      message_of([&] { GgufWriter(folder / "no/such/x.gguf", source, plan_gguf(source, DType::kBF16)); });
  EXPECT_NE(message.find("no/such/x.gguf"), std::string::npos) << message;
}

TEST(GgufWriter, CarriesTheTokenizer) {
  const TempFolder folder;
  SynthOptions options = tiny();
  options.vocab = 300;
  write_synth(options, folder / "hf");
  std::string json = read_bytes(folder / "hf/tokenizer.json");
  const std::string none = "\"added_tokens\":[]", merges = "\"merges\":[]";
  json.replace(json.find(none), none.size(),
               R"("added_tokens":[{"id":298,"content":"<|end|>","special":true},{"id":299,"content":"<x>"}])");
  json.replace(json.find(merges), merges.size(), R"("merges":["a b",["ab","c"]])");
  write_bytes(folder / "hf/tokenizer.json", json);
  write_bytes(folder / "hf/generation_config.json", R"({"eos_token_id":[298,3]})");
  write_all(open_checkpoint(folder / "hf"), DType::kBF16, folder / "hf/x.gguf");
  write_all(open_checkpoint(folder / "hf/x.gguf"), DType::kBF16, folder / "again.gguf");
  for (const char* file : {"hf/x.gguf", "again.gguf"}) {
    const GgufHeader read = read_gguf_header(folder / file);
    EXPECT_EQ(read.text("tokenizer.ggml.model"), "gpt2");
    EXPECT_EQ(read.text("tokenizer.ggml.pre"), "qwen35");
    EXPECT_EQ(read.array("tokenizer.ggml.tokens")->count, 300u);
    EXPECT_EQ(read.array("tokenizer.ggml.merges")->count, 2u);
    const std::vector<std::int64_t>& kinds = read.array("tokenizer.ggml.token_type")->integers;
    EXPECT_EQ(kinds.at(297), 1);
    EXPECT_EQ(kinds.at(298), 3);
    EXPECT_EQ(kinds.at(299), 4);
    EXPECT_EQ(read.integer("tokenizer.ggml.eos_token_id"), 298);
    EXPECT_EQ(read_config(read).end_of_text, (std::vector<std::int32_t>{298, 3}));
  }
  write_bytes(folder / "hf/tokenizer.json", R"({"model":{"type":"BPE","vocab":{"a":300},"merges":[]}})");
  const Source source = open_checkpoint(folder / "hf");
  const std::string message =
      message_of([&] { GgufWriter(folder / "no.gguf", source, plan_gguf(source, DType::kF32)); });
  EXPECT_NE(message.find("token id 300 is outside the vocabulary of 300"), std::string::npos) << message;
}

TEST(Gguf, DamageNeverCrashes) {
  const TempFolder folder;
  write_synth(tiny(), folder / "hf");
  write_all(open_checkpoint(folder / "hf"), DType::kQ6_K, folder / "x.gguf");
  expect_survives_damage(folder / "x.gguf", 5000, 2000, [&] { open_checkpoint(folder / "x.gguf"); });
}

TEST(Gguf, UnsupportedTypeIsNamed) {
  const TempFolder folder;
  write_synth(tiny(), folder / "hf");
  write_all(open_checkpoint(folder / "hf"), DType::kQ6_K, folder / "x.gguf");
  std::string bytes = read_bytes(folder / "x.gguf");
  const std::string name = "blk.0.ffn_up.weight";
  bytes[bytes.find(name) + name.size() + 4 + 16] = 12;  // behind rank and two dimensions: q4_k, of fewer bytes
  write_bytes(folder / "x.gguf", bytes);
  const std::string message = message_of([&] { open_checkpoint(folder / "x.gguf"); });
  EXPECT_NE(message.find("tensor blk.0.ffn_up.weight has type q4_k"), std::string::npos) << message;
}

}  // namespace
}  // namespace crossover::test
