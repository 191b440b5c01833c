#include "engine/tokenizer.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "engine/tests/tokenizer_pairs.h"
#include "engine/text/normalize.h"
#include "engine/text/splitter.h"
#include "engine/text/unicode_ranges.h"
#include "engine/text/utf8.h"

namespace crossover {
namespace {

TEST(Tokenizer, EqualsTheReferenceOnTheFixtures) {
  for (const std::string name : {"marks", "letters"}) {
    SCOPED_TRACE(name);
    check_pairs(Tokenizer::from_file(kData / (name + ".json")), read_json(kData / (name + "_golden.json")), 200);
  }
}

TEST(Tokenizer, FixturesTellTheTwoPatternsApart) {
  const json golden = read_json(kData / "letters_golden.json");
  const Tokenizer marks = Tokenizer::from_file(kData / "marks.json");
  int different = 0;
  for (const json& pair : golden["pairs"])
    different += marks.encode(pair["text"].get<std::string>()) != pair["ids"].get<Ids>();
  EXPECT_GT(different, 5);
}

TEST(Tokenizer, EqualsTheGoldenModelsPairs) {
  const char* golden = std::getenv("CROSSOVER_GOLDEN");
  if (!golden) GTEST_SKIP() << "CROSSOVER_GOLDEN names no folder of golden data";
  const std::filesystem::path model = std::filesystem::path(golden) / "models" / "dense-r3";
  check_pairs(Tokenizer::from_file(model / "tokenizer.json"), read_json(model / "golden" / "tokenizer.json"), 82);
}

TEST(Tokenizer, KnowsItsTokens) {
  const Tokenizer tokenizer = Tokenizer::from_file(kData / "marks.json");
  const auto end = tokenizer.find("<|end|>"), think = tokenizer.find("<think>");
  ASSERT_TRUE(end && think);
  EXPECT_TRUE(tokenizer.is_special(*end));
  EXPECT_FALSE(tokenizer.is_special(*think));
  EXPECT_FALSE(tokenizer.find("<|no such token|>"));
  EXPECT_EQ(tokenizer.bytes(*tokenizer.find(" a")), " a");
  ASSERT_EQ(tokenizer.added_tokens().size(), 7u);
  EXPECT_EQ(tokenizer.added_tokens().back().id + 1, tokenizer.vocab_size());
  EXPECT_EQ(tokenizer.bytes(tokenizer.vocab_size()), "");
  EXPECT_EQ(tokenizer.bytes(-1), "");
  EXPECT_EQ(tokenizer.decode(Ids{*tokenizer.find("a"), tokenizer.vocab_size(), -7, *tokenizer.find("e")}, false), "ae");
}

TEST(Tokenizer, ReadsBytesThatAreNotUtf8AsReplacements) {
  const Tokenizer tokenizer = Tokenizer::from_file(kData / "marks.json");
  const std::string bad = "a\xFF\xC3(\xE2\x82\xF0\x9F\x98z\xED\xA0\x80\xC0\xAF\xE4\xB8";
  const std::string repaired = "a\uFFFD\uFFFD(\uFFFD\uFFFDz\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD";
  EXPECT_EQ(repair_utf8(bad), repaired);
  EXPECT_EQ(tokenizer.encode(bad), tokenizer.encode(repaired));
  EXPECT_EQ(tokenizer.decode(tokenizer.encode(bad), false), repaired);
}

TEST(Tokenizer, StreamHoldsBackOnlyWhatMayStillBecomeACharacter) {
  const Tokenizer tokenizer = Tokenizer::from_file(kData / "marks.json");
  const auto byte = [&](char value) { return *tokenizer.find(std::string(1, value)); };
  StreamDecoder stream(tokenizer, true);
  EXPECT_EQ(stream.push(byte('\xF0')), "");
  EXPECT_EQ(stream.push(byte('\x9F')), "");
  EXPECT_EQ(stream.push(byte('\x98')), "");
  EXPECT_EQ(stream.push(byte('\x80')), "😀");
  EXPECT_EQ(stream.push(byte('\xE4')), "");
  EXPECT_EQ(stream.push(byte('a')), "\uFFFDa");
  EXPECT_EQ(stream.push(byte('\xE4')), "");
  EXPECT_EQ(stream.push(*tokenizer.find("<|end|>")), "");
  EXPECT_EQ(stream.finish(), "\uFFFD");
  EXPECT_EQ(stream.finish(), "");
}

std::string repeated(const std::string& unit, std::size_t bytes) {
  std::string text;
  while (text.size() < bytes) text += unit;
  return text;
}

// Quadratic work on a megabyte is hours; the limit is generous because sanitizers and busy machines are slow.
TEST(Tokenizer, LongTextsTakeLinearTime) {
  const Tokenizer tokenizer = Tokenizer::from_file(kData / "marks.json");
  for (const std::string unit :
       {"a", " ", "\n", " \n", "1", "!", "'", "\u0301", "\u0301\u0316", "中", "<", "<|end|>", "😀", "\xFF", "a\u0301"}) {
    const std::string text = repeated(unit, std::size_t{1} << 20);
    const auto start = std::chrono::steady_clock::now();
    const Ids ids = tokenizer.encode(text);
    const std::string back = tokenizer.decode(ids, false);
    EXPECT_LT(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(), 30)
        << json(repair_utf8(unit));
    EXPECT_EQ(back, normalize_nfc(repair_utf8(text))) << json(repair_utf8(unit));
  }
}

TEST(Normalize, OrdersAndComposes) {
  EXPECT_EQ(normalize_nfc("e\u0301"), "é");
  EXPECT_EQ(normalize_nfc("d\u0307\u0323"), "\u1E0D\u0307");
  EXPECT_EQ(normalize_nfc("\u212B"), "\u00C5");
  EXPECT_EQ(normalize_nfc("\u1100\u1161\u11A8"), "\uAC01");
  EXPECT_EQ(normalize_nfc("\u0958"), "\u0915\u093C");
  EXPECT_EQ(normalize_nfc("\uFB01"), "\uFB01");
  EXPECT_EQ(normalize_nfc("a\u1ABF\u0323\u0301e\u0301"), "a\u1ABF\u0323\u0301\u00E9") << "U+1ABF came with Unicode 13";
  EXPECT_EQ(normalize_nfc("\U00011935\U00011930\U00011938"), "\U00011935\U00011930\U00011938");
  EXPECT_EQ(normalize_nfc(std::string("a\0e\u0301", 5)), std::string("a\0é", 4));
}

TEST(UnicodeRanges, HaveTheSizesOfVersion16) {
  const auto size = [](std::span<const CodeRange> ranges) {
    std::size_t count = 0;
    for (std::size_t i = 0; i < ranges.size(); ++i) {
      EXPECT_LE(ranges[i].first, ranges[i].last);
      EXPECT_TRUE(i == 0 || ranges[i].first > ranges[i - 1].last + 1);
      count += ranges[i].last - ranges[i].first + 1;
    }
    return count;
  };
  EXPECT_EQ(size(letter_ranges()), 141028u);
  EXPECT_EQ(size(mark_ranges()), 2501u);
  EXPECT_EQ(size(number_ranges()), 1911u);
}

// The message of the error, empty when there is none.
std::string refusal(const std::string& text) {
  try {
    Tokenizer::from_json(text);
    return "";
  } catch (const std::runtime_error& error) {
    return error.what();
  }
}

TEST(TokenizerJson, RefusesWhatIsWrongAndSaysWhere) {
  const json good = read_json(kData / "marks.json");
  ASSERT_EQ(refusal(good.dump()), "");
  const auto broken = [&](const char* pointer, const json& value) {
    json copy = good;
    copy[json::json_pointer(pointer)] = value;
    return refusal(copy.dump());
  };
  const struct {
    const char* pointer;
    json value;
    const char* expected;
  } cases[] = {
      {"/model", 3, "model must be an object"},
      {"/model/type", "Unigram", "model.type is Unigram"},
      {"/model/vocab", json::array(), "model.vocab must be an object"},
      {"/model/vocab", json::object(), "no token for the byte"},
      {"/model/vocab/a", "7", "must be a whole number"},
      {"/model/vocab/a", 7.5, "must be a whole number"},
      {"/model/vocab/a", -1, "ids go from 0"},
      {"/model/vocab/a", 1ull << 63, "ids go from 0"},
      {"/model/vocab/a", 16000000, "there are only"},
      {"/model/vocab/a", 5, "given to two tokens"},
      {"/model/vocab/", 900, "is empty"},
      {"/model/merges", "a b", "model.merges must be an array"},
      {"/model/merges/0", {"a", "b", "c"}, "model.merges[0] must be two tokens"},
      {"/model/merges/0", "ab", "must be two tokens"},
      {"/model/merges/0", {"a", 1}, "must be two tokens"},
      {"/model/merges/3", {"zq", "a"}, "is not in model.vocab"},
      {"/model/merges/1", good["model"]["merges"][0], "repeats an earlier merge"},
      {"/model/dropout", 0.1, "model.dropout"},
      {"/model/ignore_merges", true, "model.ignore_merges"},
      {"/model/byte_fallback", true, "model.byte_fallback"},
      {"/normalizer", {{"type", "NFKC"}}, "normalizer.type is NFKC"},
      {"/pre_tokenizer", nullptr, "pre_tokenizer must be an object"},
      {"/pre_tokenizer/pretokenizers", json::array(), "must be Split and ByteLevel"},
      {"/pre_tokenizer/pretokenizers/0/pattern/Regex", "\\w+|\\s", "unknown split pattern \\w+|\\s"},
      {"/pre_tokenizer/pretokenizers/0/behavior", "Removed", "only Isolated"},
      {"/pre_tokenizer/pretokenizers/0/invert", true, "invert"},
      {"/pre_tokenizer/pretokenizers/1/use_regex", true, "use_regex must be false"},
      {"/decoder", nullptr, "decoder must be an object"},
      {"/decoder/type", "Metaspace", "decoder.type is Metaspace"},
      {"/post_processor",
       {{"type", "TemplateProcessing"}, {"single", {{{"SpecialToken", {{"id", "<s>"}}}}}}},
       "single adds"},
      {"/added_tokens", json::object(), "added_tokens must be an array"},
      {"/added_tokens/0/id", 3, "conflicts with another token"},
      {"/added_tokens/0/id", -3, "ids go from 0"},
      {"/added_tokens/0/content", "", "content is empty"},
      {"/added_tokens/0/content", 5, "must be a string"},
      {"/added_tokens/0/special", "yes", "must be true or false"},
      {"/added_tokens/0/lstrip", true, "lstrip"},
      {"/added_tokens/1", good["added_tokens"][0], "is there twice"},
  };
  for (const auto& [pointer, value, expected] : cases)
    EXPECT_NE(broken(pointer, value).find(expected), std::string::npos) << pointer << ": " << broken(pointer, value);
  for (const char* key : {"model", "pre_tokenizer", "decoder"}) {
    json copy = good;
    copy.erase(key);
    EXPECT_NE(refusal(copy.dump()).find(std::string(key) + " is missing"), std::string::npos) << refusal(copy.dump());
  }
}

TEST(TokenizerJson, RefusesTextsThatAreNoSuchFile) {
  EXPECT_NE(refusal(""), "");
  EXPECT_NE(refusal("null"), "");
  EXPECT_NE(refusal("[1,2"), "");
  EXPECT_NE(refusal("{\"model\":\xFF}"), "");
  EXPECT_NE(refusal(repeated("[", 1 << 20)).find("nested deeper"), std::string::npos);
  EXPECT_NE(refusal(repeated("{\"a\":", 1 << 20)).find("nested deeper"), std::string::npos);
  EXPECT_NE(refusal(R"({"model":{"vocab":{"a":0,"a":1},"merges":[]}})").find("twice"), std::string::npos);
  EXPECT_THROW(Tokenizer::from_file(kData / "no_such_file.json"), std::runtime_error);
  EXPECT_THROW(Tokenizer::from_file(kData), std::runtime_error);
}

TEST(TokenizerJson, EveryCutOfAFileIsRefused) {
  std::ifstream file(kData / "marks.json");
  std::stringstream buffer;
  buffer << file.rdbuf();
  std::string text = buffer.str();
  text.erase(text.find_last_of('}') + 1);
  for (std::size_t size = 0; size < text.size(); size += 97) EXPECT_NE(refusal(text.substr(0, size)), "") << size;
}

}  // namespace
}  // namespace crossover
