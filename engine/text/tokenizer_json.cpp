#include "engine/text/tokenizer_json.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <stdexcept>
#include <unordered_set>

namespace crossover {
namespace {

using nlohmann::json;

constexpr int kDeepest = 32;  // released files nest five deep
constexpr std::int64_t kMostIds = std::int64_t{1} << 24;

[[noreturn]] void refuse(const std::string& what) { throw std::runtime_error(what); }

std::string shown(const json& value) {
  return fmt::format("{:.120}", value.dump(-1, ' ', true, json::error_handler_t::replace));
}

// Parses with a bound on depth, and refuses keys that are there twice, of which the library would keep the last.
json parse(std::string_view text) {
  std::vector<std::unordered_set<std::string>> keys(1);
  const auto check = [&keys](int depth, json::parse_event_t event, json& value) {
    if (depth > kDeepest) refuse(fmt::format("nested deeper than {} levels", kDeepest));
    if (event == json::parse_event_t::object_start) keys.emplace_back();
    if (event == json::parse_event_t::object_end) keys.pop_back();
    if (event == json::parse_event_t::key && !keys.back().insert(value.get<std::string>()).second)
      refuse(fmt::format("key {} is there twice in one object", shown(value)));
    return true;
  };
  try {
    return json::parse(text, check);
  } catch (const json::exception& error) {
    refuse(fmt::format("not JSON: {:.200}", error.what()));
  }
}

const json& member(const json& object, const std::string& where, const char* key) {
  if (!object.is_object())
    refuse(fmt::format("{} must be an object, found {}", where.empty() ? "the file" : where, shown(object)));
  const auto it = object.find(key);
  if (it == object.end()) refuse(fmt::format("{}{}{} is missing", where, where.empty() ? "" : ".", key));
  return *it;
}

std::string string_of(const json& value, const std::string& where) {
  if (!value.is_string()) refuse(fmt::format("{} must be a string, found {}", where, shown(value)));
  return value.get<std::string>();
}

bool flag(const json& object, const std::string& where, const char* key, bool missing) {
  if (!object.contains(key) || object[key].is_null()) return missing;
  if (!object[key].is_boolean())
    refuse(fmt::format("{}.{} must be true or false, found {}", where, key, shown(object[key])));
  return object[key].get<bool>();
}

// `where` is a function, because names of a quarter of a million tokens are only needed when one is wrong.
template <class Where>
std::int32_t id_of(const json& value, const Where& where) {
  if (!value.is_number_integer()) refuse(fmt::format("{} must be a whole number, found {}", where(), shown(value)));
  const bool fits = value.is_number_unsigned() && value.get<std::uint64_t>() < kMostIds;
  if (!fits) refuse(fmt::format("{} is {}, ids go from 0 to {}", where(), shown(value), kMostIds - 1));
  return value.get<std::int32_t>();
}

void check_type(const json& object, const std::string& where, const char* type) {
  const std::string found = string_of(member(object, where, "type"), where + ".type");
  if (found != type) refuse(fmt::format("{}.type is {:.100}, only {} is supported", where, found, type));
}

void refuse_set(const json& object, const std::string& where, std::initializer_list<const char*> keys) {
  for (const char* key : keys) {
    if (!object.contains(key)) continue;
    const json& value = object[key];
    const bool unset = value.is_null() || value == json(false) || value == json("") || value == json(0);
    if (!unset) refuse(fmt::format("{}.{} is {}, which is not supported", where, key, shown(value)));
  }
}

std::string read_pattern(const json& root) {
  const json& sequence = member(root, "", "pre_tokenizer");
  check_type(sequence, "pre_tokenizer", "Sequence");
  const json& steps = member(sequence, "pre_tokenizer", "pretokenizers");
  if (!steps.is_array() || steps.size() != 2)
    refuse(fmt::format("pre_tokenizer.pretokenizers must be Split and ByteLevel, found {}", shown(steps)));
  const std::string split = "pre_tokenizer.pretokenizers[0]", bytes = "pre_tokenizer.pretokenizers[1]";
  check_type(steps[0], split, "Split");
  check_type(steps[1], bytes, "ByteLevel");
  const std::string behavior = string_of(member(steps[0], split, "behavior"), split + ".behavior");
  if (behavior != "Isolated")
    refuse(fmt::format("{}.behavior is {:.100}, only Isolated is supported", split, behavior));
  refuse_set(steps[0], split, {"invert"});
  if (flag(steps[1], bytes, "add_prefix_space", true)) refuse(bytes + ".add_prefix_space must be false");
  if (flag(steps[1], bytes, "use_regex", true)) refuse(bytes + ".use_regex must be false");
  const json& pattern = member(steps[0], split, "pattern");
  return string_of(member(pattern, split + ".pattern", "Regex"), split + ".pattern.Regex");
}

// Whether texts are put into normalization form C.
bool read_normalizer(const json& root) {
  if (!root.contains("normalizer") || root["normalizer"].is_null()) return false;
  check_type(root["normalizer"], "normalizer", "NFC");
  return true;
}

// A template that adds tokens of its own (a begin-of-text, say) would change every prompt.
void check_post_processor(const json& root) {
  if (!root.contains("post_processor") || root["post_processor"].is_null()) return;
  const json& processor = root["post_processor"];
  const std::string type = string_of(member(processor, "post_processor", "type"), "post_processor.type");
  if (type == "ByteLevel") return;
  check_type(processor, "post_processor", "TemplateProcessing");
  const json& parts = member(processor, "post_processor", "single");
  if (!parts.is_array()) refuse(fmt::format("post_processor.single must be an array, found {}", shown(parts)));
  for (const json& part : parts)
    if (!part.is_object() || !part.contains("Sequence"))
      refuse(fmt::format("post_processor.single adds {}, which is not supported", shown(part)));
}

std::pair<std::string, std::string> read_merge(const json& merge, std::size_t rank) {
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string())
    return {merge[0].get<std::string>(), merge[1].get<std::string>()};
  const std::string text = merge.is_string() ? merge.get<std::string>() : "";
  const std::size_t space = text.find(' ');
  if (space == 0 || space == std::string::npos || space + 1 == text.size() || space != text.rfind(' '))
    refuse(fmt::format("model.merges[{}] must be two tokens, [\"a\",\"b\"] or \"a b\", found {}", rank, shown(merge)));
  return {text.substr(0, space), text.substr(space + 1)};
}

void read_model(const json& model, TokenizerData& data) {
  if (!model.is_object()) refuse(fmt::format("model must be an object, found {}", shown(model)));
  if (model.contains("type")) check_type(model, "model", "BPE");
  refuse_set(
      model, "model",
      {"dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback", "ignore_merges"});
  const json& vocab = member(model, "model", "vocab");
  if (!vocab.is_object()) refuse(fmt::format("model.vocab must be an object of token: id, found {}", shown(vocab)));
  data.vocab.reserve(vocab.size());
  for (const auto& [token, id] : vocab.items())
    data.vocab.emplace_back(token, id_of(id, [&token = token] { return fmt::format("model.vocab[\"{:.60}\"]", token); }));

  const json& merges = member(model, "model", "merges");
  if (!merges.is_array()) refuse(fmt::format("model.merges must be an array, found {}", shown(merges)));
  data.merges.reserve(merges.size());
  for (const json& merge : merges) data.merges.push_back(read_merge(merge, data.merges.size()));
}

void read_added(const json& root, TokenizerData& data) {
  if (!root.contains("added_tokens") || root["added_tokens"].is_null()) return;
  const json& tokens = root["added_tokens"];
  if (!tokens.is_array()) refuse(fmt::format("added_tokens must be an array, found {}", shown(tokens)));
  for (const json& token : tokens) {
    const std::string where = fmt::format("added_tokens[{}]", data.added.size());
    AddedToken added{id_of(member(token, where, "id"), [&where] { return where + ".id"; }),
                     string_of(member(token, where, "content"), where + ".content"),
                     flag(token, where, "special", false), flag(token, where, "normalized", false)};
    if (added.text.empty()) refuse(where + ".content is empty");
    refuse_set(token, where, {"single_word", "lstrip", "rstrip"});
    data.added.push_back(std::move(added));
  }
}

}  // namespace

TokenizerData parse_tokenizer_json(std::string_view text) {
  const json root = parse(text);
  TokenizerData data;
  read_model(member(root, "", "model"), data);
  read_added(root, data);
  data.nfc = read_normalizer(root);
  data.split_pattern = read_pattern(root);
  check_type(member(root, "", "decoder"), "decoder", "ByteLevel");
  check_post_processor(root);
  return data;
}

}  // namespace crossover
