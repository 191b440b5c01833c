// The suite's operands in pinned host memory, which a GPU reads and writes at the same addresses. Without a GPU every test is skipped.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <memory_resource>
#include <new>
#include <optional>

#include "kernels/cuda/runtime.h"

namespace {

class PinnedMemory : public std::pmr::memory_resource {
  void* do_allocate(std::size_t bytes, std::size_t) override {  // page-aligned, which is enough for everyone
    void* memory = nullptr;
    if (cudaHostAlloc(&memory, bytes, cudaHostAllocPortable | cudaHostAllocMapped) != cudaSuccess) throw std::bad_alloc();
    return memory;
  }
  void do_deallocate(void* memory, std::size_t, std::size_t) override { (void)cudaFreeHost(memory); }
  bool do_is_equal(const memory_resource& other) const noexcept override { return this == &other; }
};

}  // namespace

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  PinnedMemory pinned;
  std::optional<std::pmr::synchronized_pool_resource> pool;
  if (crossover::cuda::device_count() > 0) {
    std::pmr::pool_options large{};
    large.largest_required_pool_block = std::size_t{64} << 20;  // the driver takes long for each request
    std::pmr::set_default_resource(&pool.emplace(large, &pinned));
  }
  const int code = RUN_ALL_TESTS();
  std::pmr::set_default_resource(nullptr);
  return code;
}
