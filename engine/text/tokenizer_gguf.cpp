#include "engine/text/tokenizer_gguf.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "engine/text/splitter.h"

namespace crossover {
namespace {

constexpr const char* kModel = "tokenizer.ggml.model";
constexpr const char* kPre = "tokenizer.ggml.pre";
constexpr const char* kTokens = "tokenizer.ggml.tokens";
constexpr const char* kTypes = "tokenizer.ggml.token_type";
constexpr const char* kMerges = "tokenizer.ggml.merges";
enum Kind : std::int32_t { kNormal = 1, kControl = 3, kUserDefined = 4, kUnused = 5 };

[[noreturn]] void refuse(const std::string& what) { throw std::runtime_error(what); }

std::string pattern_of(const GgufHeader& header) {
  const std::string pre = header.text(kPre).value_or("");
  if (pre == "qwen35") return std::string(split_pattern(true));
  if (pre == "qwen2") return std::string(split_pattern(false));
  refuse(fmt::format("{} is '{:.60}', supported are qwen35 and qwen2", kPre, pre));
}

std::pair<std::string, std::string> split_merge(const std::string& merge, std::size_t rank) {
  const std::size_t space = merge.find(' ');
  if (space == 0 || space == std::string::npos || space + 1 == merge.size() || space != merge.rfind(' '))
    refuse(fmt::format("{}[{}] must be two tokens with a space between, found '{:.60}'", kMerges, rank, merge));
  return {merge.substr(0, space), merge.substr(space + 1)};
}

void take_tokens(const GgufHeader& header, TokenizerData& data) {
  std::vector<std::string> tokens = read_strings(header, kTokens);
  const std::vector<std::int32_t> kinds = read_i32s(header, kTypes);
  if (kinds.size() != tokens.size()) refuse(fmt::format("{} has {} entries for {} tokens", kTypes, kinds.size(), tokens.size()));
  std::vector<std::int32_t> normalized;
  if (header.find("crossover.tokenizer.normalized")) normalized = read_i32s(header, "crossover.tokenizer.normalized");
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const auto id = static_cast<std::int32_t>(i);
    if (kinds[i] == kUnused) continue;
    if (kinds[i] != kNormal && kinds[i] != kControl && kinds[i] != kUserDefined)
      refuse(fmt::format("{}[{}] is {}, which byte-level BPE has no use for", kTypes, i, kinds[i]));
    if (tokens[i].empty()) refuse(fmt::format("{}[{}] is empty", kTokens, i));
    if (kinds[i] != kNormal)
      data.added.push_back({id, tokens[i], kinds[i] == kControl,
                            std::find(normalized.begin(), normalized.end(), id) != normalized.end()});
    // An added token may also be one that merges make.
    data.vocab.emplace_back(std::move(tokens[i]), id);
  }
}

}  // namespace

bool has_tokenizer(const GgufHeader& header) {
  const auto* model = header.find(kModel);
  return model && (!std::holds_alternative<std::string>(*model) || std::get<std::string>(*model) != "none");
}

TokenizerData read_gguf_tokenizer(const GgufHeader& header) {
  const std::string model = header.text(kModel).value_or("none");
  if (model != "gpt2") refuse(fmt::format("{} is '{:.60}', only gpt2 (byte-level BPE) is supported", kModel, model));
  if (header.boolean("tokenizer.ggml.add_bos_token").value_or(false))
    refuse("tokenizer.ggml.add_bos_token is true, which is not supported");
  TokenizerData data;
  data.split_pattern = pattern_of(header);
  data.nfc = header.boolean("crossover.tokenizer.nfc").value_or(true);
  take_tokens(header, data);
  for (const std::string& merge : read_strings(header, kMerges)) data.merges.push_back(split_merge(merge, data.merges.size()));
  return data;
}

}  // namespace crossover
