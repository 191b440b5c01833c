// Compiled where CMake finds cuda.h, and holds driver_api.h against it. No code.
#include <cuda.h>

#include <type_traits>

#include "kernels/cuda/driver_api.h"

namespace crossover::cuda::driver {
namespace {

// Our word for a type of the real header; an enumeration is an int.
template <class T> struct Ours { using Type = T; };
template <class T> struct Ours<T*> { using Type = typename Ours<T>::Type*; };
template <> struct Ours<CUresult> { using Type = Result; };
template <> struct Ours<CUdevice_attribute> { using Type = int; };
template <class R, class... A> struct Ours<R(A...)> { using Type = typename Ours<R>::Type(typename Ours<A>::Type...); };

static_assert(sizeof(CUresult) == sizeof(Result) && sizeof(CUdevice_attribute) == sizeof(int) && std::is_same_v<CUdevice, Gpu> && CUDA_SUCCESS == kSuccess);
static_assert(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT == kMultiprocessors && CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR == kCapabilityMajor &&
              CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR == kCapabilityMinor);

template <class Real, class Own>
constexpr bool same_function = std::is_same_v<typename Ours<Real>::Type*, Own>;
static_assert(same_function<decltype(::cuInit), decltype(Api::init)>);
static_assert(same_function<decltype(::cuDriverGetVersion), decltype(Api::get_version)>);
static_assert(same_function<decltype(::cuDeviceGetCount), decltype(Api::get_count)>);
static_assert(same_function<decltype(::cuDeviceGet), decltype(Api::get)>);
static_assert(same_function<decltype(::cuDeviceGetName), decltype(Api::get_name)>);
static_assert(same_function<decltype(::cuDeviceTotalMem_v2), decltype(Api::get_memory)>);
static_assert(same_function<decltype(::cuDeviceGetAttribute), decltype(Api::get_attribute)>);
static_assert(same_function<decltype(::cuGetErrorString), decltype(Api::get_error_string)>);

}  // namespace
}  // namespace crossover::cuda::driver
