// Text to token ids and back: byte-level BPE as in the tokenizer.json of Qwen3.5/3.6 and Qwen3-Next.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace crossover {

struct AddedToken {
  std::int32_t id;
  std::string text;
  bool special;     // left out when decoding with skip_special
  bool normalized;  // looked for after normalization instead of in the raw text
};

// Immutable after construction; copies share the tables, and any number of threads may use one.
class Tokenizer {
 public:
  // A tokenizer.json, or a .gguf file with a tokenizer inside. std::runtime_error names the file and what is wrong with it.
  static Tokenizer from_file(const std::filesystem::path& path);
  static Tokenizer from_json(std::string_view text);

  // Added tokens are cut out first, the longest at each position. Bytes that are not UTF-8 are read as U+FFFD, one for
  // each maximal invalid part, so such a text does not come back. At most 1 GiB (std::invalid_argument).
  std::vector<std::int32_t> encode(std::string_view utf8) const;

  // Valid UTF-8: each maximal invalid part of the joined bytes is one U+FFFD. Ids without a token (a model's vocabulary
  // is padded beyond its tokenizer's) add nothing.
  std::string decode(std::span<const std::int32_t> ids, bool skip_special) const;

  std::int32_t vocab_size() const;                   // one more than the highest id
  std::span<const AddedToken> added_tokens() const;  // by id
  bool is_special(std::int32_t id) const;

  // The id of a token by its text as people write it ("<|im_end|>", " the"), not in the byte-to-character alphabet.
  std::optional<std::int32_t> find(std::string_view text) const;

  // The bytes a token stands for, which may be a part of a character; empty for an id without a token.
  std::string_view bytes(std::int32_t id) const;

 private:
  struct Tables;
  explicit Tokenizer(std::shared_ptr<const Tables> tables);
  std::shared_ptr<const Tables> tables_;
};

// Where the tokenizer of a model is: tokenizer.json of a checkpoint directory; a .gguf file itself, or tokenizer.json beside it when
// there is none inside. Empty when there is none. std::runtime_error when a .gguf file cannot be read.
std::filesystem::path find_tokenizer(const std::filesystem::path& model);

// Decodes one token at a time. What the calls return, joined, equals decode() of all the ids; a character that lies in
// several tokens comes out whole, with the last of them.
class StreamDecoder {
 public:
  StreamDecoder(Tokenizer tokenizer, bool skip_special)
      : tokenizer_(std::move(tokenizer)), skip_special_(skip_special) {}

  std::string push(std::int32_t id);
  std::string finish();  // what was held back, repaired; the decoder can be used again

 private:
  Tokenizer tokenizer_;
  bool skip_special_;
  std::string pending_;  // at most three bytes between calls
};

}  // namespace crossover
