// A tensor as a file names it, before it gets its GGUF name: what the safetensors and the GGUF reader both produce.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "kernels/tensor.h"

namespace crossover {

struct StoredTensor {
  std::string name;
  std::optional<DType> dtype;           // empty: a type the engine does not compute with (dtype_name says which)
  std::string dtype_name;               // as the file spells it: "BF16", "q4_k"
  std::vector<std::int64_t> shape;      // row-major, the last contiguous
  std::int32_t file = 0;                // index into StoredTensors::files
  std::uint64_t offset = 0, bytes = 0;  // from the start of the file
};

struct StoredTensors {
  std::vector<std::filesystem::path> files;
  std::vector<std::uint64_t> file_bytes;
  std::map<std::string, StoredTensor, std::less<>> tensors;
};

std::string describe(const StoredTensor& tensor);                // "BF16 [1024, 256]", for messages
std::string shape_text(const std::vector<std::int64_t>& shape);  // "[1024, 256]"

// Whole content of a small text file; std::runtime_error when it cannot be read or is larger than max_bytes.
std::string read_text_file(const std::filesystem::path& path, std::uint64_t max_bytes);

// std::runtime_error when brackets nest deeper than `limit`: JSON trees are built and walked by recursion.
void check_json_nesting(std::string_view text, int limit, const std::filesystem::path& path);

}  // namespace crossover
