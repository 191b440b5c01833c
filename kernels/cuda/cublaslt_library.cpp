#include "kernels/cuda/cublaslt_library.h"

#include <dlfcn.h>

#include <stdexcept>

#include "kernels/library_function.h"

namespace crossover::cuda::lt {
namespace {

constexpr std::size_t kOldest = 120'000;
constexpr const char* kRemedy =
    "it comes with the CUDA toolkit and with the wheels nvidia-cublas and nvidia-cublas-cu12: add its folder to LD_LIBRARY_PATH, or set CROSSOVER_CUDA_GEMM=own";

// The first function that is not there; empty when all are.
std::string get_all(void* library, Api& api) {
  std::string missing;
  find_function(library, "cublasLtGetVersion", api.get_version, missing);
  find_function(library, "cublasLtGetStatusString", api.get_status_string, missing);
  find_function(library, "cublasLtCreate", api.create, missing);
  find_function(library, "cublasLtDestroy", api.destroy, missing);
  find_function(library, "cublasLtMatmulDescCreate", api.product_create, missing);
  find_function(library, "cublasLtMatmulDescDestroy", api.product_destroy, missing);
  find_function(library, "cublasLtMatmulDescSetAttribute", api.product_set, missing);
  find_function(library, "cublasLtMatrixLayoutCreate", api.layout_create, missing);
  find_function(library, "cublasLtMatrixLayoutDestroy", api.layout_destroy, missing);
  find_function(library, "cublasLtMatmulPreferenceCreate", api.wishes_create, missing);
  find_function(library, "cublasLtMatmulPreferenceDestroy", api.wishes_destroy, missing);
  find_function(library, "cublasLtMatmulPreferenceSetAttribute", api.wishes_set, missing);
  find_function(library, "cublasLtMatmulAlgoGetHeuristic", api.get_heuristic, missing);
  find_function(library, "cublasLtMatmul", api.multiply, missing);
  return missing;
}

std::string version_text(std::size_t code) { return std::to_string(code / 10'000) + "." + std::to_string(code / 100 % 100) + "." + std::to_string(code % 100); }

}  // namespace

std::vector<std::string> usual_names() {
  return {"libcublasLt.so.13", "libcublasLt.so.12", "/usr/local/cuda/lib64/libcublasLt.so.13", "/usr/local/cuda/lib64/libcublasLt.so.12"};
}

Library::Library(const std::vector<std::string>& names, const Trial& trial) {
  std::string why;
  bool opened = false;
  for (const std::string& name : names) {
    path_.clear();
    std::string wrong = open(name);
    if (wrong.empty() && trial) wrong = trial(*this);
    if (wrong.empty()) return;
    if (why.empty() || (!opened && !path_.empty())) why = wrong;
    opened = opened || !path_.empty();
  }
  throw std::runtime_error(opened ? why + "; another one, of CUDA 12 or newer and for this driver: " + kRemedy : "cuBLASLt: no libcublasLt was found; " + std::string(kRemedy));
}

std::string Library::open(const std::string& name) {
  void* const library = ::dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (!library) return "no " + name;
  path_ = name;
  if (const std::string missing = get_all(library, api_); !missing.empty()) return "cuBLASLt: " + name + " has no function " + missing;
  Dl_info info{};
  if (::dladdr(reinterpret_cast<const void*>(api_.get_version), &info) != 0 && info.dli_fname) path_ = info.dli_fname;
  const std::size_t version = api_.get_version();
  version_ = version_text(version);
  return version < kOldest ? "cuBLASLt: " + path_ + " is version " + version_ + ", older than 12.0" : "";
}

std::string Library::describe(const char* call, Status status) const {
  const char* const text = api_.get_status_string(status);
  return "cuBLASLt " + version_ + ", " + call + ": " + (text ? text : "a status without a name") + " (" + std::to_string(static_cast<int>(status)) + ")";
}

std::string opens_handle(const Library& library) {
  Handle handle = nullptr;
  if (const Status status = library.api().create(&handle); status != Status::kSuccess) return library.describe("cublasLtCreate", status);
  (void)library.api().destroy(handle);
  return "";
}

}  // namespace crossover::cuda::lt
