#include "engine/nccl/library.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <stdexcept>

namespace crossover::nccl {
namespace {

constexpr int kOldest = 21600;
constexpr const char* kRemedy =
    "install NCCL 2.16 or newer for this CUDA (Debian and Ubuntu: libnccl2, from NVIDIA's repository; or the wheel nvidia-nccl-cu13, its lib folder in "
    "LD_LIBRARY_PATH), or set CROSSOVER_COMM=local";

template <class Function>
void look_up(void* library, const std::string& path, const char* symbol, Function*& function) {
  function = reinterpret_cast<Function*>(::dlsym(library, symbol));
  if (!function) throw std::runtime_error(fmt::format("NCCL: {} has no function {}; {}", path, symbol, kRemedy));
}

}  // namespace

std::string version_text(int code) {
  const int major = code >= 10'000 ? code / 10'000 : code / 1'000;
  return fmt::format("{}.{}.{}", major, code >= 10'000 ? code / 100 % 100 : code / 100 % 10, code % 100);
}

Library::Library(const std::string& file) {
  void* const library = ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (!library) {
    const char* const why = ::dlerror();  // NOLINT(concurrency-mt-unsafe): glibc's is the thread's own
    throw std::runtime_error(fmt::format("NCCL: {} could not be loaded ({}); {}", file, why ? why : "no reason given", kRemedy));
  }
  look_up(library, file, "ncclGetVersion", api_.get_version);
  Dl_info info{};
  path_ = ::dladdr(reinterpret_cast<const void*>(api_.get_version), &info) != 0 && info.dli_fname ? info.dli_fname : file;
  int code = 0;
  if (api_.get_version(&code) != Result::kSuccess) throw std::runtime_error(fmt::format("NCCL: {} does not say its version; {}", path_, kRemedy));
  version_ = version_text(code);
  if (code < kOldest) throw std::runtime_error(fmt::format("NCCL: {} is version {}, older than 2.16; {}", path_, version_, kRemedy));
  look_up(library, path_, "ncclGetUniqueId", api_.get_unique_id);
  look_up(library, path_, "ncclCommInitRank", api_.comm_init_rank);
  look_up(library, path_, "ncclCommDestroy", api_.comm_destroy);
  look_up(library, path_, "ncclCommAbort", api_.comm_abort);
  look_up(library, path_, "ncclCommGetAsyncError", api_.comm_get_async_error);
  look_up(library, path_, "ncclAllReduce", api_.all_reduce);
  look_up(library, path_, "ncclGetErrorString", api_.get_error_string);
  look_up(library, path_, "ncclGetLastError", api_.get_last_error);
}

}  // namespace crossover::nccl
