#include "engine/tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <stdexcept>
#include <unordered_map>

#include "engine/checkpoint/gguf.h"
#include "engine/text/added_tokens.h"
#include "engine/text/bpe.h"
#include "engine/text/byte_alphabet.h"
#include "engine/text/normalize.h"
#include "engine/text/splitter.h"
#include "engine/text/tokenizer_gguf.h"
#include "engine/text/tokenizer_json.h"
#include "engine/text/utf8.h"

namespace crossover {
namespace {

constexpr std::uintmax_t kLargestFileBytes = std::uintmax_t{256} << 20;  // released files have about 20 MB
constexpr std::size_t kLongestTextBytes = std::size_t{1} << 30;          // places in a piece are 32-bit
constexpr std::size_t kMostGaps = 65536;                                 // ids without a token

using Ids = std::unordered_map<std::string, std::int32_t>;

}  // namespace

struct Tokenizer::Tables {
  bool nfc;
  Splitter splitter;
  Bpe bpe;
  AddedTokenFinder raw, normalized;  // added tokens by where they are looked for
  std::vector<AddedToken> added;     // by id
  std::vector<std::string> bytes;    // [vocab_size]
  std::vector<bool> special;         // [vocab_size]
  Ids id_by_bytes;

  explicit Tables(const TokenizerData& data) : nfc(data.nfc), splitter(data.split_pattern), added(data.added) {
    Ids ids(data.vocab.begin(), data.vocab.end());
    place_tokens(data);
    add_added_tokens(ids);
    add_merges(data, ids);
  }

 private:
  void place_tokens(const TokenizerData& data);
  void add_added_tokens(const Ids& ids);
  void add_merges(const TokenizerData& data, const Ids& ids);
};

void Tokenizer::Tables::place_tokens(const TokenizerData& data) {
  std::int32_t highest = -1;
  for (const auto& [text, id] : data.vocab) highest = std::max(highest, id);
  for (const AddedToken& token : added) highest = std::max(highest, token.id);
  const auto size = static_cast<std::size_t>(highest + 1);
  if (size > data.vocab.size() + added.size() + kMostGaps)
    throw std::runtime_error(
        fmt::format("the highest id is {}, but there are only {} tokens", highest, data.vocab.size() + added.size()));
  bytes.resize(size), special.resize(size);
  for (const auto& [text, id] : data.vocab) {
    if (text.empty()) throw std::runtime_error(fmt::format("the token of id {} is empty", id));
    if (!bytes[id].empty()) throw std::runtime_error(fmt::format("id {} is given to two tokens of model.vocab", id));
    bytes[id] = token_bytes(text);
    id_by_bytes.emplace(bytes[id], id);
  }
}

void Tokenizer::Tables::add_added_tokens(const Ids& ids) {
  std::sort(added.begin(), added.end(), [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
  Ids seen;
  for (const AddedToken& token : added) {
    if (!seen.emplace(token.text, token.id).second)
      throw std::runtime_error(fmt::format("added token {:.60} is there twice", token.text));
    const auto in_vocab = ids.find(token.text);
    const bool known = in_vocab != ids.end() && in_vocab->second == token.id;
    if (!known && (in_vocab != ids.end() || !bytes[token.id].empty()))
      throw std::runtime_error(
          fmt::format("added token {:.60} has id {}, which conflicts with another token", token.text, token.id));
    bytes[token.id] = token_bytes(token.text);
    special[token.id] = token.special;
    id_by_bytes[bytes[token.id]] = token.id;
    (token.normalized ? normalized : raw)
        .add(token.normalized && nfc ? normalize_nfc(token.text) : token.text, token.id);
  }
}

void Tokenizer::Tables::add_merges(const TokenizerData& data, const Ids& ids) {
  const auto id_of = [&ids](const std::string& text, std::size_t rank) {
    const auto it = ids.find(text);
    if (it == ids.end())
      throw std::runtime_error(fmt::format("model.merges[{}]: token {:.60} is not in model.vocab", rank, text));
    return it->second;
  };
  const std::array<std::string, 256> alphabet = byte_alphabet();
  Bpe::ByteTokens byte_tokens{};
  for (std::size_t byte = 0; byte < 256; ++byte) {
    const auto it = ids.find(alphabet[byte]);
    if (it == ids.end()) throw std::runtime_error(fmt::format("model.vocab has no token for the byte 0x{:02x}", byte));
    byte_tokens[byte] = it->second;
  }
  bpe = Bpe(byte_tokens);
  for (std::size_t rank = 0; rank < data.merges.size(); ++rank) {
    const auto& [left, right] = data.merges[rank];
    const Bpe::Merge merge{static_cast<std::int32_t>(rank), id_of(left + right, rank)};
    if (!bpe.add(id_of(left, rank), id_of(right, rank), merge))
      throw std::runtime_error(fmt::format("model.merges[{}] repeats an earlier merge", rank));
  }
}

Tokenizer::Tokenizer(std::shared_ptr<const Tables> tables) : tables_(std::move(tables)) {}

Tokenizer Tokenizer::from_json(std::string_view text) {
  return Tokenizer(std::make_shared<const Tables>(parse_tokenizer_json(text)));
}

Tokenizer Tokenizer::from_file(const std::filesystem::path& path) {
  if (path.extension() == ".gguf") {
    const GgufHeader header = read_gguf_header(path);
    try {
      return Tokenizer(std::make_shared<const Tables>(read_gguf_tokenizer(header)));
    } catch (const std::runtime_error& wrong) {
      throw std::runtime_error(fmt::format("{}: {}", path.string(), wrong.what()));
    }
  }
  std::error_code error;
  const std::uintmax_t size = std::filesystem::file_size(path, error);
  if (error) throw std::runtime_error(fmt::format("cannot read the tokenizer {}: {}", path.string(), error.message()));
  if (size > kLargestFileBytes)
    throw std::runtime_error(fmt::format("the tokenizer {} has {} bytes, more than the {} that are read", path.string(),
                                         size, kLargestFileBytes));
  std::string text(size, '\0');
  std::ifstream file(path, std::ios::binary);
  if (!file.read(text.data(), static_cast<std::streamsize>(size)))
    throw std::runtime_error(
        fmt::format("cannot read the tokenizer {}: it ends early or is not readable", path.string()));
  try {
    return from_json(text);
  } catch (const std::runtime_error& wrong) {
    throw std::runtime_error(fmt::format("{}: {}", path.string(), wrong.what()));
  }
}

std::vector<std::int32_t> Tokenizer::encode(std::string_view utf8) const {
  if (utf8.size() > kLongestTextBytes)
    throw std::invalid_argument(
        fmt::format("a text of {} bytes is too long to tokenize, at most {}", utf8.size(), kLongestTextBytes));
  const std::string valid = repair_utf8(utf8);
  std::vector<std::int32_t> ids;
  for (const auto& outer : tables_->raw.cut(valid)) {
    if (outer.id >= 0) {
      ids.push_back(outer.id);
      continue;
    }
    const std::string text = tables_->nfc ? normalize_nfc(outer.text) : std::string(outer.text);
    for (const auto& inner : tables_->normalized.cut(text)) {
      if (inner.id >= 0) {
        ids.push_back(inner.id);
        continue;
      }
      for (const std::string_view piece : tables_->splitter.split(inner.text)) tables_->bpe.encode(piece, ids);
    }
  }
  return ids;
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids, bool skip_special) const {
  std::string joined;
  for (const std::int32_t id : ids)
    if (!skip_special || !is_special(id)) joined += bytes(id);
  return repair_utf8(joined);
}

std::int32_t Tokenizer::vocab_size() const { return static_cast<std::int32_t>(tables_->bytes.size()); }

std::span<const AddedToken> Tokenizer::added_tokens() const { return tables_->added; }

bool Tokenizer::is_special(std::int32_t id) const { return id >= 0 && id < vocab_size() && tables_->special[id]; }

std::optional<std::int32_t> Tokenizer::find(std::string_view text) const {
  const auto it = tables_->id_by_bytes.find(std::string(text));
  return it == tables_->id_by_bytes.end() ? std::nullopt : std::optional(it->second);
}

std::string_view Tokenizer::bytes(std::int32_t id) const {
  return id >= 0 && id < vocab_size() ? std::string_view(tables_->bytes[id]) : std::string_view();
}

std::filesystem::path find_tokenizer(const std::filesystem::path& model) {
  namespace fs = std::filesystem;
  const bool directory = fs::is_directory(model);
  if (!directory && model.extension() == ".gguf" && fs::exists(model) && has_tokenizer(read_gguf_header(model))) return model;
  const fs::path json = (directory ? model : model.parent_path()) / "tokenizer.json";
  return fs::exists(json) ? json : fs::path();
}

std::string StreamDecoder::push(std::int32_t id) {
  if (!skip_special_ || !tokenizer_.is_special(id)) pending_ += tokenizer_.bytes(id);
  return take_complete_utf8(pending_);
}

std::string StreamDecoder::finish() {
  const std::string text = repair_utf8(pending_);
  pending_.clear();
  return text;
}

}  // namespace crossover
