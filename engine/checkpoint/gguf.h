// Headers of GGUF files (version 3, little-endian): metadata and tensor table, every count, length, type and offset
// checked against the file before anything is allocated. Format: ggml/docs/gguf.md.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "engine/checkpoint/stored_tensor.h"

namespace crossover {

enum class GgufType : std::uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64
};

// The type number of an element format in a GGUF file, and back; empty when the engine does not compute with it.
std::uint32_t gguf_dtype(DType dtype);
std::optional<DType> parse_gguf_dtype(std::uint32_t type);

struct GgufArray {
  GgufType type = GgufType::kU8;
  std::uint64_t count = 0;
  std::vector<std::int64_t> integers;  // of integer and boolean arrays of at most kKeptValues
  static constexpr std::uint64_t kKeptValues = 65536;
};
using GgufValue = std::variant<std::int64_t, double, bool, std::string, GgufArray>;

struct GgufHeader {
  struct Range {
    std::uint64_t offset, bytes;
  };
  std::map<std::string, GgufValue, std::less<>> metadata;
  std::map<std::string, Range, std::less<>> entries;  // where key, type and value of an entry lie in the file
  std::uint64_t alignment = 32;
  std::uint64_t data_start = 0;  // where the data begin in the file, behind the padding of the tensor table
  StoredTensors stored;  // shapes row-major, without leading ones that the file leaves out

  // nullptr when there is none.
  const GgufValue* find(std::string_view key) const;
  // The value, or nothing when the key is absent; std::runtime_error when it has another type.
  std::optional<std::int64_t> integer(std::string_view key) const;
  std::optional<double> number(std::string_view key) const;
  std::optional<bool> boolean(std::string_view key) const;
  std::optional<std::string> text(std::string_view key) const;
  const GgufArray* array(std::string_view key) const;
};

GgufHeader read_gguf_header(const std::filesystem::path& path);

// All elements of an array, read from the file again: the header keeps none of the strings and no long array.
// std::runtime_error when there is no such array or it cannot be read.
std::vector<std::string> read_strings(const GgufHeader& header, std::string_view key);
std::vector<std::int32_t> read_i32s(const GgufHeader& header, std::string_view key);

}  // namespace crossover
