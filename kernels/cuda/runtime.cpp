// With graph.cpp and device_clock.cpp the only file that calls the CUDA runtime.
#include "kernels/cuda/runtime.h"

#include <cuda_runtime_api.h>

#include <cstring>
#include <stdexcept>

namespace crossover::cuda {

void check(cudaError_t status, const char* call);
void check(cudaError_t status, const char* call) {
  if (status == cudaSuccess) return;
  throw std::runtime_error(std::string("CUDA: ") + call + ": " + cudaGetErrorString(status) + " (" + cudaGetErrorName(status) + ")");
}

namespace {

constexpr std::size_t kPiece = std::size_t{16} << 20;  // of an upload, at most
constexpr int kOldest = 80;  // sm_80: the oldest the kernels are compiled for

std::atomic<std::int64_t> held{0};

cudaStream_t stream_of(void* stream) { return static_cast<cudaStream_t>(stream); }

}  // namespace

int device_count(std::string* why) {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess) {
    (void)cudaGetLastError();  // an answer, not a failure to keep
    if (why) *why = std::string("no usable NVIDIA driver or GPU: ") + cudaGetErrorString(status);
    return 0;
  }
  if (count == 0 && why) *why = "the NVIDIA driver shows no GPU";
  return count;
}

std::int64_t held_bytes() { return held; }

Device::Device(int ordinal) : ordinal_(ordinal) {
  std::string why;
  const int count = device_count(&why);
  if (count == 0) throw std::runtime_error("backend cuda: " + why);
  if (ordinal < 0 || ordinal >= count)
    throw std::runtime_error("backend cuda: asked for GPU " + std::to_string(ordinal) + ", found " + std::to_string(count) + " (CUDA_VISIBLE_DEVICES hides others)");
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, ordinal), "cudaGetDeviceProperties");
  facts_ = {properties.name, properties.major * 10 + properties.minor, properties.multiProcessorCount, properties.sharedMemPerBlockOptin, properties.totalGlobalMem};
  if (facts_.compute_capability < kOldest)
    throw std::runtime_error("backend cuda: " + facts_.name + " has compute capability " + std::to_string(properties.major) + "." +
                             std::to_string(properties.minor) + "; the kernels need 8.0 or newer");
  open_stream();
}

Device::Device(int ordinal, const DeviceFacts& facts) : facts_(facts), ordinal_(ordinal) { open_stream(); }

std::unique_ptr<Device> Device::beside() const { return std::unique_ptr<Device>(new Device(ordinal_, facts_)); }

void Device::open_stream() {
  make_current();
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  stream_ = stream;
  cudaEvent_t event = nullptr;
  check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "cudaEventCreateWithFlags");
  copied_ = event;
  check(cudaMalloc(&arrivals_, kArrivals * sizeof(unsigned)), "cudaMalloc");
  clear(static_cast<std::byte*>(arrivals_), kArrivals * sizeof(unsigned));
}

Device::~Device() {
  // A failure here has been reported by the call that met it first.
  if (stream_) (void)cudaStreamSynchronize(stream_of(stream_)), (void)cudaStreamDestroy(stream_of(stream_));
  if (copied_) (void)cudaEventDestroy(static_cast<cudaEvent_t>(copied_));
  if (staging_) (void)cudaFreeHost(staging_);
  if (arrivals_) (void)cudaFree(arrivals_);
}

void Device::make_current() { check(cudaSetDevice(ordinal_), "cudaSetDevice"); }

void Device::raise_shared_limit(const void* kernel, const char* name) {
  cudaFuncAttributes function{};
  check(cudaFuncGetAttributes(&function, kernel), name);
  const auto most = static_cast<int>(facts_.shared_bytes - function.sharedSizeBytes);
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, most), name);
}

void Device::wait_for_upload() { check(cudaEventSynchronize(static_cast<cudaEvent_t>(copied_)), "cudaEventSynchronize"); }

void Device::reserve_staging(std::size_t bytes) {
  make_current();
  (void)staging(bytes < kPiece ? bytes : kPiece);
}

void* Device::staging(std::size_t bytes) {
  wait_for_upload();
  if (bytes > staging_bytes_) {
    if (staging_) check(cudaFreeHost(staging_), "cudaFreeHost");
    staging_ = nullptr, staging_bytes_ = 0;
    check(cudaMallocHost(&staging_, bytes), "cudaMallocHost");
    staging_bytes_ = bytes;
  }
  return staging_;
}

void Device::upload(std::byte* to, const std::byte* from_host, std::size_t bytes) {
  make_current();
  ++copies_;
  for (std::size_t at = 0; at < bytes; at += kPiece) {
    const std::size_t n = bytes - at < kPiece ? bytes - at : kPiece;
    void* const pinned = staging(n);
    std::memcpy(pinned, from_host + at, n);
    check(cudaMemcpyAsync(to + at, pinned, n, cudaMemcpyHostToDevice, stream_of(stream())), "cudaMemcpyAsync to the device");
    check(cudaEventRecord(static_cast<cudaEvent_t>(copied_), stream_of(stream())), "cudaEventRecord");
  }
}

void Device::download(std::byte* to_host, const std::byte* from, std::size_t bytes) {
  if (bytes == 0) return;
  make_current();
  ++copies_;
  check(cudaMemcpyAsync(to_host, from, bytes, cudaMemcpyDeviceToHost, stream_of(stream())), "cudaMemcpyAsync to the host");
  synchronize();
}

void Device::download_rows(Rows to_host, ConstRows from) {
  if (from.rows == 0 || from.dim == 0) return;
  make_current();
  ++copies_;
  const auto bytes = [](std::int64_t floats) { return static_cast<std::size_t>(floats) * sizeof(float); };
  check(cudaMemcpy2DAsync(to_host.data, bytes(to_host.stride), from.data, bytes(from.stride), bytes(from.dim), static_cast<std::size_t>(from.rows),
                          cudaMemcpyDeviceToHost, stream_of(stream())), "cudaMemcpy2DAsync to the host");
  synchronize();
}

void Device::clear(std::byte* memory, std::size_t bytes) {
  if (bytes == 0) return;
  make_current();  // a sequence is reset by a thread that works for every rank in turn
  ++copies_;
  check(cudaMemsetAsync(memory, 0, bytes, stream_of(stream())), "cudaMemsetAsync");
}

void Device::synchronize() { check(cudaStreamSynchronize(stream_of(stream())), "cudaStreamSynchronize"); }

Mark::Mark() {
  cudaEvent_t event = nullptr;
  check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "cudaEventCreateWithFlags");
  event_ = event;
}
Mark::~Mark() { (void)cudaEventDestroy(static_cast<cudaEvent_t>(event_)); }
void Mark::set(Device& device) { check(cudaEventRecord(static_cast<cudaEvent_t>(event_), stream_of(device.stream())), "cudaEventRecord"); }
bool Mark::reached() const {
  const cudaError_t status = cudaEventQuery(static_cast<cudaEvent_t>(event_));
  if (status == cudaErrorNotReady) {
    (void)cudaGetLastError();  // an answer, not a failure to keep
    return false;
  }
  check(status, "cudaEventQuery");
  return true;
}

std::byte* allocate(std::size_t bytes) {
  void* memory = nullptr;
  if (const cudaError_t status = cudaMalloc(&memory, bytes); status != cudaSuccess) {
    std::size_t free_bytes = 0, total_bytes = 0;
    (void)cudaMemGetInfo(&free_bytes, &total_bytes);
    throw std::runtime_error("GPU memory: asked for " + std::to_string(bytes) + " bytes, " + std::to_string(free_bytes) + " of " + std::to_string(total_bytes) +
                             " are free (" + cudaGetErrorString(status) + "); use fewer layers, a smaller kv_capacity_tokens or more ranks");
  }
  held += static_cast<std::int64_t>(bytes);
  return static_cast<std::byte*>(memory);
}

std::byte* allocate_pinned(std::size_t bytes) {
  void* memory = nullptr;
  check(cudaMallocHost(&memory, bytes), "cudaMallocHost");
  return static_cast<std::byte*>(memory);
}

void release_pinned(std::byte* memory, std::size_t) { (void)cudaFreeHost(memory); }  // as below

void release(std::byte* memory, std::size_t bytes) {
  if (!memory) return;
  (void)cudaFree(memory);  // from destructors; a failure has been reported by the call that met it first
  held -= static_cast<std::int64_t>(bytes);
}

}  // namespace crossover::cuda
