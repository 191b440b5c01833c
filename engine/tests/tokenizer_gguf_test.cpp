// The tokenizer inside a GGUF file is the one that the file was written from.
#include "engine/text/tokenizer_gguf.h"

#include "engine/checkpoint/write_gguf.h"
#include "engine/load/quantize_file.h"
#include "engine/tests/checkpoint_files.h"
#include "engine/tests/tokenizer_pairs.h"

namespace crossover::test {
namespace {

// A model with this tokenizer, as a GGUF file and as one made from that.
class GgufTokenizer : public testing::Test {
 protected:
  void make(const fs::path& tokenizer) {
    SynthOptions options = tiny();
    options.vocab = 1024;
    write_synth(options, folder_ / "model");
    fs::copy_file(tokenizer, folder_ / "model/tokenizer.json", fs::copy_options::overwrite_existing);
    QuantizeOptions quantize;
    quantize.type = DType::kQ8_0;
    quantize_checkpoint(folder_ / "model", first(), quantize);
    quantize_checkpoint(first(), second(), quantize);
  }
  fs::path first() const { return folder_ / "first.gguf"; }
  fs::path second() const { return folder_ / "second.gguf"; }

  TempFolder folder_;
};

void expect_same(const Tokenizer& a, const Tokenizer& b) {
  ASSERT_EQ(a.vocab_size(), b.vocab_size());
  for (std::int32_t id = 0; id < a.vocab_size(); ++id) {
    EXPECT_EQ(a.bytes(id), b.bytes(id)) << id;
    EXPECT_EQ(a.is_special(id), b.is_special(id)) << id;
    if (a.bytes(id).empty()) continue;
    EXPECT_EQ(a.find(a.bytes(id)), b.find(b.bytes(id))) << id;
  }
  ASSERT_EQ(a.added_tokens().size(), b.added_tokens().size());
  for (std::size_t i = 0; i < a.added_tokens().size(); ++i) {
    EXPECT_EQ(a.added_tokens()[i].text, b.added_tokens()[i].text);
    EXPECT_EQ(a.added_tokens()[i].normalized, b.added_tokens()[i].normalized) << a.added_tokens()[i].text;
  }
}

class GgufTokenizerOf : public GgufTokenizer, public testing::WithParamInterface<const char*> {};

TEST_P(GgufTokenizerOf, EqualsTheJsonFile) {
  const std::string name = GetParam();
  make(kData / (name + ".json"));
  const json golden = read_json(kData / (name + "_golden.json"));
  for (const fs::path& file : {first(), second()}) {
    SCOPED_TRACE(file);
    EXPECT_EQ(find_tokenizer(file), file);
    const Tokenizer tokenizer = Tokenizer::from_file(file);
    expect_same(tokenizer, Tokenizer::from_file(kData / (name + ".json")));
    check_pairs(tokenizer, golden, 200);
  }
}

INSTANTIATE_TEST_SUITE_P(Fixtures, GgufTokenizerOf, testing::Values("marks", "letters"),
                         [](const auto& test) { return std::string(test.param); });

TEST_F(GgufTokenizer, KeepsThatTextsAreNotNormalized) {
  json plain = read_json(kData / "marks.json");
  plain["normalizer"] = nullptr;
  write_bytes(folder_ / "plain.json", plain.dump());
  make(folder_ / "plain.json");
  const std::string apart = "e\u0301";
  const Ids as_it_is = Tokenizer::from_file(folder_ / "plain.json").encode(apart);
  EXPECT_NE(as_it_is, Tokenizer::from_file(kData / "marks.json").encode(apart));
  EXPECT_EQ(Tokenizer::from_file(first()).encode(apart), as_it_is);
  EXPECT_EQ(Tokenizer::from_file(second()).encode(apart), as_it_is);
}

TEST_F(GgufTokenizer, AnAddedTokenMayBeOneThatMergesMake) {
  json tokenizer = read_json(kData / "marks.json");
  std::string made;
  for (const auto& [text, id] : tokenizer["model"]["vocab"].items())
    if (text.size() == 3 && std::all_of(text.begin(), text.end(), [](char c) { return c >= 'a' && c <= 'z'; })) {
      tokenizer["added_tokens"].push_back({{"id", id}, {"content", text}, {"special", false}, {"normalized", false}});
      made = text;
      break;
    }
  ASSERT_NE(made, "");
  write_bytes(folder_ / "added.json", tokenizer.dump());
  make(folder_ / "added.json");
  for (const std::string& text : {made, made + made, "x" + made + "y " + made})
    EXPECT_EQ(Tokenizer::from_file(first()).encode(text), Tokenizer::from_file(folder_ / "added.json").encode(text)) << text;
}

TEST_F(GgufTokenizer, EqualsTheGoldenModelsPairs) {
  const auto models = golden_models();
  if (!models) GTEST_SKIP() << "CROSSOVER_GOLDEN names no folder of golden data";
  QuantizeOptions quantize;
  quantize.type = DType::kQ8_0;
  quantize_checkpoint(*models / "dense-r3", first(), quantize);
  check_pairs(Tokenizer::from_file(first()), read_json(*models / "dense-r3/golden/tokenizer.json"), 82);
}

TEST_F(GgufTokenizer, RefusesWhatItWouldReadDifferently) {
  make(kData / "marks.json");
  const std::string good = read_bytes(first());
  const auto refusal = [&](const std::string& key, std::size_t behind_key, const std::string& bytes) {
    std::string bad = good;
    const std::size_t at = bad.find(key);
    EXPECT_NE(at, std::string::npos) << key;
    bad.replace(at + key.size() + behind_key, bytes.size(), bytes);
    write_bytes(first(), bad);
    return message_of([&] { Tokenizer::from_file(first()); });
  };
  const auto expect_in = [](const std::string& message, const std::string& part) {
    EXPECT_NE(message.find(part), std::string::npos) << message;
    EXPECT_NE(message.find("first.gguf"), std::string::npos) << message;
  };
  constexpr std::size_t kText = 4 + 8, kElements = 4 + 4 + 8;  // behind the key: type and length; type, type and count
  expect_in(refusal("tokenizer.ggml.model", kText, "bert"), "only gpt2");
  expect_in(refusal("tokenizer.ggml.pre", kText, "llama3"), "'llama3', supported are qwen35 and qwen2");
  expect_in(refusal("tokenizer.ggml.add_bos_token", 4, std::string(1, '\1')), "add_bos_token is true");
  expect_in(refusal("tokenizer.ggml.token_type", kElements, little_endian(std::int32_t{6})), "token_type[0] is 6");
  expect_in(refusal("tokenizer.ggml.token_type", 4, little_endian(std::uint32_t{6})), "token_type is missing or holds other");
  expect_in(refusal("tokenizer.ggml.merges", kElements + 8, "x"), "is not in model.vocab");
  expect_in(refusal("tokenizer.ggml.merges", kElements + 8, " "), "must be two tokens");
  // Without a tokenizer inside, the one beside counts; without that there is none.
  write_bytes(first(), good);
  std::string none = good;
  const std::string gpt2 = little_endian(std::uint64_t{4}) + "gpt2";
  none.replace(none.find(gpt2), gpt2.size(), little_endian(std::uint64_t{4}) + "none");
  write_bytes(first(), none);
  EXPECT_EQ(find_tokenizer(first()), "");
  write_bytes(folder_ / "tokenizer.json", "{}");
  EXPECT_EQ(find_tokenizer(first()), folder_ / "tokenizer.json");
  EXPECT_EQ(find_tokenizer(folder_ / "model"), folder_ / "model/tokenizer.json");
}

TEST_F(GgufTokenizer, DamageNeverCrashes) {
  make(kData / "marks.json");
  const std::size_t range = read_gguf_header(first()).data_start;
  expect_survives_damage(first(), range, 400, [&] { Tokenizer::from_file(first()); });
}

}  // namespace
}  // namespace crossover::test
