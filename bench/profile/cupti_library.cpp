#include "bench/profile/cupti_library.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include "kernels/library_function.h"

namespace crossover::cupti {
namespace {

constexpr std::uint32_t kOldest = 18;  // CUDA 12.0

// The first function that is not there; empty when all are.
std::string get_all(void* library, Api& api) {
  std::string missing;
  find_function(library, "cuptiGetVersion", api.get_version, missing);
  find_function(library, "cuptiGetResultString", api.get_result_string, missing);
  find_function(library, "cuptiGetTimestamp", api.get_timestamp, missing);
  find_function(library, "cuptiActivityEnable", api.activity_enable, missing);
  find_function(library, "cuptiActivityDisable", api.activity_disable, missing);
  find_function(library, "cuptiActivityRegisterCallbacks", api.register_callbacks, missing);
  find_function(library, "cuptiActivityGetNextRecord", api.get_next_record, missing);
  find_function(library, "cuptiActivityFlushAll", api.flush_all, missing);
  find_function(library, "cuptiActivityGetNumDroppedRecords", api.get_dropped, missing);
  find_function(library, "cuptiActivityPushExternalCorrelationId", api.push_id, missing);
  find_function(library, "cuptiActivityPopExternalCorrelationId", api.pop_id, missing);
  return missing;
}

std::string get_all(void* library, CounterApi& api) {
  std::string missing;
  find_function(library, "cuptiProfilerInitialize", api.initialize, missing);
  find_function(library, "cuptiDeviceGetChipName", api.get_chip_name, missing);
  find_function(library, "cuptiPmSamplingGetCounterAvailability", api.get_availability, missing);
  find_function(library, "cuptiProfilerHostInitialize", api.begin_host, missing);
  find_function(library, "cuptiProfilerHostDeinitialize", api.end_host, missing);
  find_function(library, "cuptiProfilerHostConfigAddMetrics", api.add_metrics, missing);
  find_function(library, "cuptiProfilerHostGetConfigImageSize", api.get_config_bytes, missing);
  find_function(library, "cuptiProfilerHostGetConfigImage", api.get_config, missing);
  find_function(library, "cuptiProfilerHostGetNumOfPasses", api.get_passes, missing);
  find_function(library, "cuptiProfilerHostEvaluateToGpuValues", api.evaluate, missing);
  find_function(library, "cuptiPmSamplingEnable", api.enable, missing);
  find_function(library, "cuptiPmSamplingDisable", api.disable, missing);
  find_function(library, "cuptiPmSamplingSetConfig", api.set_config, missing);
  find_function(library, "cuptiPmSamplingStart", api.start, missing);
  find_function(library, "cuptiPmSamplingStop", api.stop, missing);
  find_function(library, "cuptiPmSamplingDecodeData", api.decode, missing);
  find_function(library, "cuptiPmSamplingGetCounterDataSize", api.get_image_bytes, missing);
  find_function(library, "cuptiPmSamplingCounterDataImageInitialize", api.clear_image, missing);
  find_function(library, "cuptiPmSamplingGetCounterDataInfo", api.get_image_info, missing);
  find_function(library, "cuptiPmSamplingCounterDataGetSampleInfo", api.get_sample_info, missing);
  return missing;
}

}  // namespace

std::vector<std::string> usual_names() {
  return {"libcupti.so.13", "libcupti.so.12", "libcupti.so", "/usr/local/cuda/lib64/libcupti.so", "/usr/local/cuda/extras/CUPTI/lib64/libcupti.so"};
}

std::string describe(const Api& api, const char* call, Result result) {
  const char* text = nullptr;
  if (api.get_result_string(result, &text) != kSuccess || !text) text = "an error without a name";
  std::string line = fmt::format("{}: {} ({})", call, text, result);
  if (result == kInsufficientPrivileges)
    line += "; the driver lets only administrators profile: run as root, or load the kernel module with NVreg_RestrictProfilingToAdminUsers=0";
  return line;
}

Library::Library(const std::vector<std::string>& names) {
  std::string first;
  for (const std::string& name : names) {
    if (open(name)) return;
    if (first.empty() || (first.starts_with("no ") && !why_.starts_with("no "))) first = why_;
  }
  why_ = first.starts_with("no ") || first.empty() ? "no libcupti was found; it comes with the CUDA toolkit: add its folder to LD_LIBRARY_PATH" : first;
}

bool Library::open(const std::string& name) {
  void* const library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    why_ = "no " + name;
    return false;
  }
  path_ = name, why_.clear();
  if (const std::string missing = get_all(library, api_); !missing.empty()) why_ = fmt::format("{} has no function {}; CUPTI of CUDA 12 or newer is needed", name, missing);
  else if (const Result result = api_.get_version(&version_); result != kSuccess) why_ = fmt::format("{}: {}", name, describe(api_, "cuptiGetVersion", result));
  else if (version_ < kOldest) why_ = fmt::format("{} is of version {}; {} or newer (CUDA 12) is needed", name, version_, kOldest);
  if (!why_.empty()) return dlclose(library), false;
  const std::string missing = get_all(library, counters_);
  why_no_counters_ = missing.empty() ? "" : fmt::format("{} has no function {}; counters need CUPTI of CUDA 12.6 or newer", name, missing);
  return true;
}

std::string Library::refusal() const {
  if (!found()) return why_;
  for (const std::int32_t kind : {kConcurrentKernel, kMemcpy}) {
    if (const Result result = api_.activity_enable(kind); result != kSuccess) return describe(api_, "cuptiActivityEnable", result);
    if (const Result result = api_.activity_disable(kind); result != kSuccess) return describe(api_, "cuptiActivityDisable", result);
  }
  return "";
}

}  // namespace crossover::cupti
