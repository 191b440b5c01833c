// Synthetic checkpoints: the same bytes everywhere, realistic values, and options that cannot be refused by name.
#include "engine/checkpoint/synth.h"

#include <cmath>
#include <map>

#include "engine/checkpoint/synth_values.h"
#include "engine/tests/checkpoint_files.h"
#include "engine/tokenizer.h"

namespace crossover::test {
namespace {

std::uint64_t fnv1a(const std::string& bytes, std::uint64_t hash = 0xcbf29ce484222325ull) {
  for (char c : bytes) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
  return hash;
}

std::map<std::string, std::uint64_t> hashes(const fs::path& folder) {
  std::map<std::string, std::uint64_t> all;
  for (const auto& entry : fs::directory_iterator(folder))
    all[entry.path().filename()] = fnv1a(read_bytes(entry.path()));
  return all;
}

TEST(SynthValues, AreTheSameOnEveryMachine) {
  std::string bytes(3 * 1000 * 4, '\0');
  auto* out = reinterpret_cast<std::byte*>(bytes.data());
  fill_synth(synth_normal(synth_key(7, "a.weight"), 0.0, 1.0 / std::sqrt(5120.0)), DType::kF32, 0, 1000, out);
  fill_synth(synth_normal(synth_key(7, "norm"), 1.0, 0.125), DType::kBF16, 123456789012, 2000, out + 4000);
  fill_synth(synth_uniform(synth_key(8, "norm"), -6.0, -2.0), DType::kF32, 5, 1000, out + 8000);
  EXPECT_EQ(fnv1a(bytes), 3832991833980340833ull);
}

TEST(SynthValues, PartsEqualTheWhole) {
  const SynthValues values = synth_normal(synth_key(1, "x"), 0.0, 0.02);
  std::vector<std::byte> whole(2000), parts(2000);
  fill_synth(values, DType::kBF16, 50, 1000, whole.data());
  for (std::int64_t i = 0; i < 1000; i += 100) fill_synth(values, DType::kBF16, 50 + i, 100, parts.data() + 2 * i);
  EXPECT_EQ(whole, parts);
}

TEST(SynthValues, HaveTheAskedMeanAndDeviation) {
  std::vector<float> values(200000);
  auto* out = reinterpret_cast<std::byte*>(values.data());
  const auto moments = [&] {
    double sum = 0, squares = 0;
    for (float value : values) {
      sum += value;
      squares += static_cast<double>(value) * value;
    }
    const double mean = sum / static_cast<double>(values.size());
    return std::pair{mean, std::sqrt(squares / static_cast<double>(values.size()) - mean * mean)};
  };
  fill_synth(synth_normal(synth_key(1, "x"), 1.0, 0.125), DType::kF32, 0, 200000, out);
  EXPECT_NEAR(moments().first, 1.0, 0.002);
  EXPECT_NEAR(moments().second, 0.125, 0.001);
  fill_synth(synth_uniform(synth_key(1, "x"), -6.0, -2.0), DType::kF32, 0, 200000, out);
  EXPECT_NEAR(moments().first, -4.0, 0.02);
  EXPECT_NEAR(moments().second, 4.0 / std::sqrt(12.0), 0.01);
  for (float value : values) ASSERT_TRUE(value >= -6.0f && value <= -2.0f);
}

TEST(Synth, SameBytesForAnyNumberOfThreads) {
  const TempFolder folder;
  SynthOptions options = tiny("tiny-moe");
  options.experts = 4;
  options.threads = 1;
  write_synth(options, folder / "one");
  options.threads = 3;
  write_synth(options, folder / "three");
  EXPECT_EQ(hashes(folder / "one"), hashes(folder / "three"));
  options.seed += 1;
  write_synth(options, folder / "other");
  EXPECT_NE(hashes(folder / "one").at("model.safetensors"), hashes(folder / "other").at("model.safetensors"));
}

TEST(Synth, ShardsHoldTheSameWeights) {
  const TempFolder folder;
  write_synth(tiny(), folder / "one");
  SynthOptions options = tiny();
  options.max_shard_bytes = 1'000'000;
  write_synth(options, folder / "many");
  const Source one = open_checkpoint(folder / "one"), many = open_checkpoint(folder / "many");
  EXPECT_GT(many.files.size(), 5u);
  for (std::size_t i = 0; i < one.tensors.size(); ++i)
    EXPECT_EQ(values_of(one, one.tensors[i]), values_of(many, many.tensors[i])) << one.tensors[i].name;
}

TEST(Synth, RealShapes) {
  SynthOptions options;
  options.preset = "qwen3.6-27b";
  options.layers = 8;
  options.vocab = 8192;
  const ModelConfig dense = synth_config(options);
  EXPECT_EQ(dense.hidden, 5120);
  EXPECT_EQ(dense.layers, 8);
  EXPECT_EQ(dense.vocab, 8192);
  EXPECT_EQ(dense.conv_channels(), 10240);
  EXPECT_EQ(dense.intermediate, 17408);
  EXPECT_TRUE(dense.end_of_text.empty());  // the ids lie in the part of the vocabulary that was cut off
  options = {};
  options.preset = "qwen3.6-35b-a3b";
  const ModelConfig moe = synth_config(options);
  EXPECT_EQ(moe.arch, Arch::kQwen35Moe);
  EXPECT_EQ(moe.experts, 256);
  EXPECT_EQ(moe.experts_per_token, 8);
  EXPECT_EQ(moe.end_of_text, (std::vector<std::int32_t>{248046, 248044}));
  options.preset = "qwen3.5-0.8b";
  EXPECT_TRUE(synth_config(options).tied_embeddings);
}

TEST(Synth, ImpossibleOptionsAreRefused) {
  const auto refusal = [](const std::function<void(SynthOptions&)>& change) {
    SynthOptions options;
    options.preset = "tiny-moe";
    change(options);
    EXPECT_THROW(synth_config(options), std::invalid_argument);
    return message_of([&] { synth_config(options); });
  };
  EXPECT_NE(refusal([](SynthOptions& o) { o.preset = "qwen3.6-27"; }).find("did you mean qwen3.6-27b?"),
            std::string::npos);
  EXPECT_NE(refusal([](SynthOptions& o) { o.preset = ""; }).find("presets are tiny-dense, tiny-moe"),
            std::string::npos);
  EXPECT_NE(refusal([](SynthOptions& o) { o.layers = 6; }).find("6 layers are not whole groups of 4"),
            std::string::npos);
  EXPECT_NE(refusal([](SynthOptions& o) { o.layers = 0; }).find("number of layers is 0"), std::string::npos);
  EXPECT_NE(refusal([](SynthOptions& o) { o.layers = -4; }).find("number of layers is -4"), std::string::npos);
  EXPECT_NE(refusal([](SynthOptions& o) { o.vocab = 0; }).find("vocabulary is 0"), std::string::npos);
  EXPECT_NE(refusal([](SynthOptions& o) { o.experts = 3; }).find("number of experts is 3; it must be 4"),
            std::string::npos);
  EXPECT_NE(refusal([](SynthOptions& o) { o.dtype = DType::kQ8_0; }).find("bf16 or f32, not q8_0"), std::string::npos);
  EXPECT_NE(refusal([](SynthOptions& o) { o.value_heads = 5; }).find("not a multiple"), std::string::npos);
  EXPECT_NE(refusal([](SynthOptions& o) { o.preset = "tiny-dense", o.experts = 8; }).find("is dense"),
            std::string::npos);
}

TEST(Synth, NeverTouchesWhatIsThere) {
  const TempFolder folder;
  fs::create_directories(folder / "full");
  write_bytes(folder / "full/keep", "x");
  EXPECT_THROW(write_synth(tiny(), folder / "full"), std::invalid_argument);
  EXPECT_EQ(read_bytes(folder / "full/keep"), "x");
  fs::create_directories(folder / "empty");
  write_synth(tiny(), folder / "empty");
  EXPECT_EQ(open_checkpoint(folder / "empty").config.vocab, 32);
  write_bytes(folder / "file", "");
  EXPECT_THROW(write_synth(tiny(), folder / "file"), std::invalid_argument);
  EXPECT_THROW(write_synth(tiny(), folder / "file/below"), std::exception);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()),
            3);  // no temporary folder is left
}

TEST(Synth, HasATokenizerForAnyText) {
  const TempFolder folder;
  SynthOptions options = tiny();
  options.vocab = 300;
  write_synth(options, folder / "m");
  const Source source = open_checkpoint(folder / "m");
  const Tokenizer tokenizer = Tokenizer::from_file(source.tokenizer);
  const std::string text = "Caf\xc3\xa9 \xe4\xbd\xa0\n\t'tis 42!";
  EXPECT_EQ(tokenizer.decode(tokenizer.encode(text), false), text);
  EXPECT_EQ(tokenizer.vocab_size(), 300);
  const std::vector<std::int32_t> high{299, 256};
  EXPECT_EQ(tokenizer.decode(high, false), " t299 t256");
}

TEST(Synth, TellsProgress) {
  const TempFolder folder;
  SynthOptions options = tiny();
  options.threads = 1;
  std::uint64_t last = 0, total = 0;
  write_synth(options, folder / "m", [&](std::uint64_t done, std::uint64_t all) {
    EXPECT_GT(done, last);
    last = done;
    total = all;
  });
  EXPECT_EQ(last, total);
  EXPECT_GT(total, 1'000'000u);
}

}  // namespace
}  // namespace crossover::test
