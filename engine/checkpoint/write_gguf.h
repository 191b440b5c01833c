// Writes a model as a GGUF file that llama.cpp and this engine run: the header at once, tensor rows in any order from
// any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <vector>

#include "engine/checkpoint/gguf_layout.h"

namespace crossover {

class GgufWriter {
 public:
  // Creates a temporary file beside `path` with metadata, tensor table and room for all rows. std::runtime_error when
  // the folder cannot be written or the disk has no room. qwen3next's ssm_beta and ssm_alpha go into llama.cpp's fused
  // ssm_ba.
  GgufWriter(const std::filesystem::path& path, const Source& source, std::vector<GgufTensorPlan> tensors);
  ~GgufWriter();  // removes the temporary file unless finish() returned
  GgufWriter(const GgufWriter&) = delete;
  GgufWriter& operator=(const GgufWriter&) = delete;

  // Rows first_row .. first_row+row_count-1 (expert-major) of tensor `tensor_index` of the plan, in its type,
  // contiguous. Each row is written once. Safe to call from several threads.
  void write(std::size_t tensor_index, std::int64_t first_row, const std::byte* rows, std::int64_t row_count);

  // Flushes the file to disk and gives it its name. std::invalid_argument when rows are missing.
  void finish();

  std::uint64_t file_bytes() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace crossover
