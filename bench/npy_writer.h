// A two-dimensional float32 NPY file (NumPy format 1.0) written row by row.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>

#include "kernels/tensor.h"

namespace crossover {

class NpyWriter {
 public:
  NpyWriter(const std::filesystem::path& path, std::int64_t columns);
  void append(ConstRows rows);
  void finish();  // std::runtime_error when anything could not be written

 private:
  void write_header();

  std::filesystem::path path_;
  std::ofstream file_;
  std::int64_t rows_ = 0, columns_;
};

}  // namespace crossover
