// The metadata section of a GGUF file: everything llama.cpp needs to run the model, and what this engine needs beyond
// it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/checkpoint/gguf.h"
#include "engine/checkpoint/source.h"

namespace crossover {

// Bytes of metadata entries, in the order added.
class GgufMetadata {
 public:
  void add_u32(std::string_view key, std::int64_t value);  // std::invalid_argument when it does not fit
  void add_f32(std::string_view key, float value);
  void add_bool(std::string_view key, bool value);
  void add_string(std::string_view key, std::string_view value);
  void add_i32s(std::string_view key, std::span<const std::int32_t> values);
  void add_bools(std::string_view key, const std::vector<bool>& values);
  void add_strings(std::string_view key, std::span<const std::string> values);
  void add_entry(std::string_view bytes);  // a whole entry as another file holds it
  // Both return where the value begins in bytes().
  std::size_t add_i64(std::string_view key, std::int64_t value);
  std::size_t add_i64s(std::string_view key, std::span<const std::int64_t> values);

  std::uint64_t count() const { return count_; }
  const std::string& bytes() const { return bytes_; }

 private:
  template <class T>
  void raw(T value);
  void text(std::string_view value);
  void start(std::string_view key, GgufType type);
  void start_array(std::string_view key, GgufType type, std::uint64_t count);

  std::string bytes_;
  std::uint64_t count_ = 0;
};

// general.*, the architecture's keys and the tokenizer of `source`; `main_type` is what most of its bytes are written
// as.
GgufMetadata gguf_metadata(const Source& source, DType main_type);

// tokenizer.ggml.* from a tokenizer.json with byte-level BPE; padded with unused tokens to `vocab`.
void add_tokenizer(GgufMetadata& metadata, const Source& source);

}  // namespace crossover
