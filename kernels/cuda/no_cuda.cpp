// A build without the CUDA toolkit (CMake: CROSSOVER_CUDA).
#include <stdexcept>

#include "kernels/cuda/bf16_copy.h"
#include "kernels/cuda/device_clock.h"
#include "kernels/cuda/launch_graphs.h"
#include "kernels/cuda/quantize.h"
#include "kernels/cuda/runtime.h"
#include "kernels/ops.h"

namespace crossover {
namespace {

constexpr const char* kWhy = "this crossover was built without CUDA; build it where nvcc is found, or with -DCROSSOVER_CUDA=ON to see why it is not";

[[noreturn]] void refuse() { throw std::runtime_error(std::string("backend cuda: ") + kWhy); }

}  // namespace

const Ops& cuda_ops() { refuse(); }

namespace cuda {

int device_count(std::string* why) {
  if (why) *why = kWhy;
  return 0;
}
std::int64_t held_bytes() { return 0; }

Device::Device(int) { refuse(); }
Device::~Device() = default;
void Device::make_current() { refuse(); }
void Device::upload(std::byte*, const std::byte*, std::size_t) { refuse(); }
void Device::download(std::byte*, const std::byte*, std::size_t) { refuse(); }
void Device::download_rows(Rows, ConstRows) { refuse(); }
void Device::clear(std::byte*, std::size_t) { refuse(); }
void Device::synchronize() { refuse(); }
std::unique_ptr<Device> Device::beside() const { refuse(); }
void Device::wait_for_upload() { refuse(); }
void Device::reserve_staging(std::size_t) { refuse(); }
Mark::Mark() { refuse(); }
Mark::~Mark() = default;
void Mark::set(Device&) { refuse(); }
bool Mark::reached() const { refuse(); }
void to_bf16(Context&, const float*, std::uint16_t*, std::int64_t) { refuse(); }
void from_bf16(Context&, const std::uint16_t*, float*, std::int64_t) { refuse(); }
void quantize_q6_k(Device&, DType, const std::byte*, std::int64_t, std::byte*, std::uint64_t*) { refuse(); }
std::byte* allocate(std::size_t) { refuse(); }
void release(std::byte*, std::size_t) {}
std::byte* allocate_pinned(std::size_t) { refuse(); }
void release_pinned(std::byte*, std::size_t) {}
std::unique_ptr<DeviceClock> make_clock(Device&) { refuse(); }
std::unique_ptr<Graph> make_graph(Device&, LaunchList&) { refuse(); }
void start_alone(Device&, const Launch&, void* const*) { refuse(); }

}  // namespace cuda
}  // namespace crossover
