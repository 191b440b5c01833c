// Where logits land on the host. A GPU writes them by itself into pinned memory; all rows of a long prompt (248320 values each) would take the
// driver longer to pin than they take to come, and lie in ordinary memory, through which the driver brings them piece by piece.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/buffer.h"
#include "kernels/cuda/runtime.h"
#include "kernels/tensor.h"

namespace crossover {

class LogitsRoom {
 public:
  static constexpr std::size_t kMostPinnedBytes = std::size_t{64} << 20;

  explicit LogitsRoom(bool of_gpus) : of_gpus_(of_gpus) {}

  // What was given before goes when more is asked for.
  Rows rows(std::int64_t count, std::int64_t vocab) {
    const auto wanted = static_cast<std::size_t>(count * vocab) * sizeof(float);
    if (memory_.size() < wanted) {
      memory_ = Buffer();
      memory_ = Buffer(wanted, of_gpus_ && wanted <= kMostPinnedBytes ? MemorySource{cuda::allocate_pinned, cuda::release_pinned} : host::kMemory);
      std::memset(memory_.data(), 0, wanted);  // so that the system has given its pages before a pass writes there
    }
    return Rows(reinterpret_cast<float*>(memory_.data()), count, vocab);
  }

 private:
  const bool of_gpus_;
  Buffer memory_;
};

}  // namespace crossover
