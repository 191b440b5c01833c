#include "kernels/cuda/driver_facts.h"

#include <dlfcn.h>

#include <array>

#include "kernels/cuda/driver_api.h"
#include "kernels/library_function.h"

namespace crossover::cuda {
namespace {

using namespace driver;

// They stay open: a driver has threads and handlers of its own.
void* open(const std::string& name) { return ::dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE); }

std::string get_all(void* library, Api& api) {
  std::string missing;
  find_function(library, "cuInit", api.init, missing);
  find_function(library, "cuDriverGetVersion", api.get_version, missing);
  find_function(library, "cuDeviceGetCount", api.get_count, missing);
  find_function(library, "cuDeviceGet", api.get, missing);
  find_function(library, "cuDeviceGetName", api.get_name, missing);
  find_function(library, "cuDeviceTotalMem_v2", api.get_memory, missing);
  find_function(library, "cuDeviceGetAttribute", api.get_attribute, missing);
  find_function(library, "cuGetErrorString", api.get_error_string, missing);
  return missing;
}

std::string describe(const Api& api, const char* call, Result result) {
  const char* text = nullptr;
  if (api.get_error_string(result, &text) != kSuccess || !text) text = "an error without a name";
  return std::string(call) + ": " + text + " (" + std::to_string(result) + ")";
}

// The call that failed; empty: none.
std::string ask_gpu(const Api& api, int ordinal, GpuFacts& facts) {
  Gpu gpu = 0;
  std::array<char, 256> name{};
  std::size_t bytes = 0;
  int major = 0, minor = 0;
  Result result = kSuccess;
  if ((result = api.get(&gpu, ordinal)) != kSuccess) return describe(api, "cuDeviceGet", result);
  if ((result = api.get_name(name.data(), static_cast<int>(name.size()) - 1, gpu)) != kSuccess) return describe(api, "cuDeviceGetName", result);
  if ((result = api.get_memory(&bytes, gpu)) != kSuccess) return describe(api, "cuDeviceTotalMem", result);
  if ((result = api.get_attribute(&major, kCapabilityMajor, gpu)) != kSuccess) return describe(api, "cuDeviceGetAttribute", result);
  if ((result = api.get_attribute(&minor, kCapabilityMinor, gpu)) != kSuccess) return describe(api, "cuDeviceGetAttribute", result);
  if ((result = api.get_attribute(&facts.multiprocessors, kMultiprocessors, gpu)) != kSuccess) return describe(api, "cuDeviceGetAttribute", result);
  facts.name = name.data(), facts.memory_bytes = static_cast<std::int64_t>(bytes), facts.compute_capability = 10 * major + minor;
  return "";
}

std::string ask_gpus(const Api& api, DriverFacts& facts) {
  Result result = api.init(0);
  if (result != kSuccess) return describe(api, "cuInit", result);
  int version = 0, count = 0;
  if ((result = api.get_version(&version)) != kSuccess) return describe(api, "cuDriverGetVersion", result);
  facts.cuda = std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
  if ((result = api.get_count(&count)) != kSuccess) return describe(api, "cuDeviceGetCount", result);
  for (int i = 0; i < count; ++i) {
    GpuFacts gpu;
    if (const std::string failed = ask_gpu(api, i, gpu); !failed.empty()) return failed;
    facts.gpus.push_back(gpu);
  }
  return count > 0 ? "" : "the NVIDIA driver shows no GPU";
}

std::string ask_release(const std::string& name) {
  void* const library = open(name);
  Management api{};
  std::string missing;
  if (!library) return "";
  find_function(library, "nvmlInit_v2", api.init, missing);
  find_function(library, "nvmlSystemGetDriverVersion", api.get_driver_release, missing);
  find_function(library, "nvmlShutdown", api.shutdown, missing);
  if (!missing.empty() || api.init() != kSuccess) return "";
  std::array<char, 96> release{};
  const Result result = api.get_driver_release(release.data(), static_cast<unsigned>(release.size()) - 1);
  (void)api.shutdown();  // nothing hangs on it
  return result == kSuccess ? release.data() : "";
}

}  // namespace

DriverFacts ask_driver(const DriverLibraries& libraries) {
  DriverFacts facts;
  Api api{};
  void* const library = open(libraries.driver);
  if (!library) {
    facts.why = "no NVIDIA driver: " + libraries.driver + " was not found";
    return facts;
  }
  if (const std::string missing = get_all(library, api); !missing.empty()) facts.why = libraries.driver + " has no function " + missing;
  else facts.why = ask_gpus(api, facts);
  if (!facts.why.empty()) facts.gpus.clear();
  facts.release = ask_release(libraries.management);
  return facts;
}

}  // namespace crossover::cuda
