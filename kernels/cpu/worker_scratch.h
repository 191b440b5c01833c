// A part of the workspace for every worker, asked for before an operation goes parallel.
#pragma once

#include <algorithm>

#include "kernels/ops.h"

namespace crossover::cpu {

class WorkerScratch {
 public:
  WorkerScratch(Context& context, std::string_view name, std::int64_t floats)
      : workers_(context.pool.threads()),
        stride_((floats + 15) / 16 * 16),
        data_(context.workspace.floats(name, static_cast<std::size_t>(stride_ * workers_))) {}

  // A pool of one thread runs on its caller, whose index may belong to another pool.
  float* mine() const { return data_ + std::min(ThreadPool::worker(), workers_ - 1) * stride_; }

 private:
  int workers_;
  std::int64_t stride_;
  float* data_;
};

}  // namespace crossover::cpu
