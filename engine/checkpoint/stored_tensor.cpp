#include "engine/checkpoint/stored_tensor.h"

#include <fmt/format.h>

#include <fstream>
#include <stdexcept>
#include <system_error>

namespace crossover {

std::string shape_text(const std::vector<std::int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape.begin(), shape.end(), ", "));
}

std::string describe(const StoredTensor& tensor) { return tensor.dtype_name + " " + shape_text(tensor.shape); }

std::string read_text_file(const std::filesystem::path& path, std::uint64_t max_bytes) {
  std::error_code error;
  const std::uint64_t bytes = std::filesystem::file_size(path, error);
  if (error) throw std::runtime_error(fmt::format("cannot read {}: {}", path.string(), error.message()));
  if (bytes > max_bytes)
    throw std::runtime_error(
        fmt::format("{} has {} bytes; a file of this kind has at most {}", path.string(), bytes, max_bytes));
  std::string text(bytes, '\0');
  std::ifstream in(path, std::ios::binary);
  if (!in.read(text.data(), static_cast<std::streamsize>(bytes)))
    throw std::runtime_error(fmt::format("cannot read {}: the read stopped before its {} bytes", path.string(), bytes));
  return text;
}

void check_json_nesting(std::string_view text, int limit, const std::filesystem::path& path) {
  int depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      if (++depth > limit)
        throw std::runtime_error(fmt::format("{}: JSON nested deeper than {} levels", path.string(), limit));
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
}

}  // namespace crossover
