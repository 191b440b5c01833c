#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <stdexcept>

#include "engine/checkpoint/gguf_metadata.h"

namespace crossover {
namespace {

using nlohmann::json;

constexpr std::uint64_t kMaxTokenizerBytes = 256u << 20;
enum TokenKind : std::int32_t {
  kNormal = 1,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5
};  // numbers of tokenizer.ggml.token_type

[[noreturn]] void fail(const Source& source, const std::string& what) {
  throw std::runtime_error(fmt::format("{}: {}", source.tokenizer.string(), what));
}

std::size_t token_id(const Source& source, const json& id) {
  if (!id.is_number_integer() || id < 0 || id >= source.config.vocab)
    fail(source,
         fmt::format("token id {} is outside the vocabulary of {}", id.dump().substr(0, 40), source.config.vocab));
  return id.get<std::size_t>();
}

// "a b" for both spellings of a merge.
std::string merge_text(const Source& source, const json& merge) {
  if (merge.is_string()) return merge.get<std::string>();
  if (!merge.is_array() || merge.size() != 2 || !merge[0].is_string() || !merge[1].is_string())
    fail(source, "a merge is not a pair of tokens");
  return merge[0].get<std::string>() + " " + merge[1].get<std::string>();
}

// llama.cpp's name of the splitting rule: Qwen3.5 joins combining marks to words (\p{M}), Qwen2 does not.
const char* pre_tokenizer(const json& tokenizer) {
  const auto pre = tokenizer.find("pre_tokenizer");
  return pre != tokenizer.end() && pre->dump().find("\\\\p{M}") != std::string::npos ? "qwen35" : "qwen2";
}

void add_chat_template(GgufMetadata& metadata, const Source& source) {
  const std::filesystem::path path = source.tokenizer.parent_path() / "chat_template.jinja";
  if (std::filesystem::is_regular_file(path))
    metadata.add_string("tokenizer.chat_template", read_text_file(path, 1u << 20));
}

}  // namespace

void add_tokenizer(GgufMetadata& metadata, const Source& source) {
  const std::string content = read_text_file(source.tokenizer, kMaxTokenizerBytes);
  check_json_nesting(content, 64, source.tokenizer);
  const json tokenizer = json::parse(content, nullptr, false);
  if (!tokenizer.is_object() || !tokenizer.contains("model") || !tokenizer["model"].is_object())
    fail(source, "it holds no tokenizer model");
  const json& model = tokenizer["model"];
  if (model.value("type", json("BPE")) != "BPE" || !model.contains("vocab") || !model["vocab"].is_object() ||
      !model.contains("merges") || !model["merges"].is_array())
    fail(source, "its model is not BPE with vocab and merges");

  const auto vocab = static_cast<std::size_t>(source.config.vocab);
  std::vector<std::string> tokens(vocab);
  std::vector<std::int32_t> kinds(vocab, kUnused), normalized;
  for (const auto& [text, id] : model["vocab"].items()) {
    const std::size_t at = token_id(source, id);
    tokens[at] = text;
    kinds[at] = kNormal;
  }
  for (const json& added : tokenizer.value("added_tokens", json::array())) {
    if (!added.is_object() || !added.contains("id") || !added.contains("content") || !added["content"].is_string())
      fail(source, "an added token has no id or content");
    const std::size_t at = token_id(source, added["id"]);
    tokens[at] = added["content"].get<std::string>();
    kinds[at] = added.value("special", json(false)) == true ? kControl : kUserDefined;
    if (added.value("normalized", json(false)) == true) normalized.push_back(static_cast<std::int32_t>(at));
  }
  for (std::size_t i = 0; i < vocab; ++i)
    if (kinds[i] == kUnused) tokens[i] = fmt::format("[PAD{}]", i);
  std::vector<std::string> merges;
  for (const json& merge : model["merges"]) merges.push_back(merge_text(source, merge));

  // What tokenizer.ggml.* has no word for, so that this engine splits texts from the file as from tokenizer.json.
  metadata.add_bool("crossover.tokenizer.nfc", tokenizer.contains("normalizer") && !tokenizer["normalizer"].is_null());
  if (!normalized.empty()) metadata.add_i32s("crossover.tokenizer.normalized", normalized);
  metadata.add_string("tokenizer.ggml.model", "gpt2");
  metadata.add_string("tokenizer.ggml.pre", pre_tokenizer(tokenizer));
  metadata.add_strings("tokenizer.ggml.tokens", tokens);
  metadata.add_i32s("tokenizer.ggml.token_type", kinds);
  metadata.add_strings("tokenizer.ggml.merges", merges);
  metadata.add_bool("tokenizer.ggml.add_bos_token", false);
  if (!source.config.end_of_text.empty())
    metadata.add_u32("tokenizer.ggml.eos_token_id", source.config.end_of_text.front());
  add_chat_template(metadata, source);
}

}  // namespace crossover
