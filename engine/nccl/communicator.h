// Sums between GPUs by NCCL, for ranks that are threads of this process with a GPU each. Nothing waits for ever: a rank that cannot join, a sum
// that does not end and an error that NCCL reports later abort every rank's communicator, and every rank then throws the same message.
// Blocking communicators: NCCL hands each collective of a non-blocking one to another thread, which a decoded token would pay a hundred times.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "engine/nccl/library.h"
#include "kernels/ops.h"

namespace crossover::nccl {

enum class ReduceType : std::uint8_t { kF32, kBf16 };  // of values on their way; bf16: half the bytes, each rank's part rounded
const char* name(ReduceType type);                      // "f32", "bf16"

class Communicator {
 public:
  // limit_s: how long a rank may wait for the others, to join or in one sum.
  Communicator(std::shared_ptr<const Library> library, int ranks, double limit_s);
  ~Communicator();  // when no rank is in a sum; before the ranks' devices go
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  // Called by every rank on its thread, its device current: joins, and sums ones to see that the result is the number of ranks.
  // std::runtime_error otherwise.
  void connect(Context& ctx, int rank, ReduceType type);

  // data [n] in device memory, 16-byte aligned, becomes the sum over ranks, in the order of the rank's stream; every rank calls with the same n.
  // Returns before that has happened: whoever has waited for the stream calls check() before using a result.
  void all_reduce(Context& ctx, int rank, float* data, std::int64_t n, ReduceType type);

  void check() const;                   // std::runtime_error with the first failure
  void abort(const std::string& why);   // for a rank that will not come any more: the others throw instead of waiting for it

 private:
  struct Member;

  Comm join(cuda::Device& device, int rank);
  void sum(Member& member, const void* from, void* to, std::int64_t n, DataType type);
  void fail(const std::string& why);  // the first one holds
  [[noreturn]] void fail_and_throw(const std::string& why);
  void throw_if_failed() const;  // mutex_ is held
  std::string said(Comm comm, Result result) const;
  std::string trouble(Member& member, double now_s) const;
  void watch();

  const std::shared_ptr<const Library> library_;
  const int ranks_;
  const double limit_s_;
  UniqueId id_{};
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::unique_ptr<Member>> members_;
  std::string failure_;  // empty: none
  bool stopping_ = false;
  std::thread watchdog_;  // last: it uses everything above
};

}  // namespace crossover::nccl
