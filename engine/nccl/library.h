// NCCL's shared library, loaded when it is wanted.
#pragma once

#include <string>

#include "engine/nccl/nccl_api.h"

namespace crossover::nccl {

class Library {
 public:
  // file: a name that the loader looks for, or a path. std::runtime_error when it is not there, lacks a function or is older than 2.16
  // (the first for CUDA 12). Once loaded it stays: NCCL has threads of its own.
  explicit Library(const std::string& file = kLibraryFile);

  const Api& api() const { return api_; }
  const std::string& path() const { return path_; }        // where the loader found it
  const std::string& version() const { return version_; }  // "2.27.3"

 private:
  Api api_{};
  std::string path_, version_;
};

// "2.27.3" of NCCL's number for it: 22703, and 2804 for 2.8.4 and older.
std::string version_text(int code);

}  // namespace crossover::nccl
