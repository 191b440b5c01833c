#include "kernels/cuda/tests/fake_driver/fake_driver.h"

#include <cstring>

#include "kernels/cuda/driver_api.h"

using namespace crossover::cuda::driver;

namespace {

constexpr Result kInvalid = 1;

FakeDriver& fake() {
  static FakeDriver one;
  return one;
}
const FakeGpu& gpu_of(Gpu gpu) { return fake().gpus[static_cast<std::size_t>(gpu - 100)]; }  // a handle is no ordinal

}  // namespace

extern "C" {

FakeDriver* crossover_fake_driver() { return &fake(); }

Result cuInit(unsigned) { return fake().on_init; }
Result cuDriverGetVersion(int* version) { return *version = 13000, kSuccess; }
Result cuDeviceGetCount(int* count) { return *count = static_cast<int>(fake().gpus.size()), kSuccess; }
Result cuDeviceGet(Gpu* gpu, int ordinal) { return *gpu = 100 + ordinal, kSuccess; }
Result cuDeviceGetName(char* name, int bytes, Gpu gpu) {
  std::strncpy(name, gpu_of(gpu).name, static_cast<std::size_t>(bytes));
  return fake().on_name;
}
Result cuDeviceTotalMem_v2(std::size_t* bytes, Gpu gpu) { return *bytes = gpu_of(gpu).memory_bytes, kSuccess; }
Result cuDeviceGetAttribute(int* value, int attribute, Gpu gpu) {
  const FakeGpu& of = gpu_of(gpu);
  if (attribute != kCapabilityMajor && attribute != kCapabilityMinor && attribute != kMultiprocessors) return kInvalid;
  *value = attribute == kCapabilityMajor ? of.major : attribute == kCapabilityMinor ? of.minor : of.multiprocessors;
  return kSuccess;
}
Result cuGetErrorString(Result result, const char** text) {
  *text = result == 100 ? "no CUDA-capable device is detected" : nullptr;
  return *text ? kSuccess : kInvalid;
}

Result nvmlInit_v2() {
  if (fake().on_management == kSuccess) ++fake().management_open;
  return fake().on_management;
}
Result nvmlSystemGetDriverVersion(char* release, unsigned bytes) {
  std::strncpy(release, "580.65.06", bytes);
  return kSuccess;
}
Result nvmlShutdown() { return --fake().management_open, kSuccess; }

}  // extern "C"
