// cuBLASLt's shared library, opened when it is wanted.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "kernels/cuda/cublaslt_api.h"

namespace crossover::cuda::lt {

std::vector<std::string> usual_names();  // of the library, as dlopen takes them

class Library {
 public:
  // What is wrong with a library that opened; empty: nothing.
  using Trial = std::function<std::string(const Library&)>;

  // The first of `names` that opens, has every function, is of CUDA 12 or newer and passes the trial. std::runtime_error otherwise, which says
  // what was wrong with the first that opened. Once opened it stays: the driver knows its kernels.
  explicit Library(const std::vector<std::string>& names = usual_names(), const Trial& trial = {});

  const Api& api() const { return api_; }
  const std::string& path() const { return path_; }        // where the loader found it
  const std::string& version() const { return version_; }  // "13.1.0"
  std::string describe(const char* call, Status status) const;  // "cuBLASLt 13.1.0, cublasLtCreate: the library was not initialized (1)"

 private:
  std::string open(const std::string& name);  // what is wrong, as above

  Api api_{};
  std::string path_, version_;
};

std::string opens_handle(const Library& library);  // a trial: on the current GPU

}  // namespace crossover::cuda::lt
