#include "engine/nccl/communicator.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <stdexcept>
#include <utility>

#include "kernels/cuda/bf16_copy.h"
#include "kernels/cuda/runtime.h"
#include "kernels/trace.h"

namespace crossover::nccl {
namespace {

constexpr const char* kRemedy = "NCCL_DEBUG=INFO makes NCCL say more; CROSSOVER_COMM=local sums by way of the host";

// A sum that was asked for and is not known to be over.
struct Sum {
  std::int64_t number = 0, values = 0;  // 1 = the rank's first, that of the ones
  bool in_stream = false;               // NCCL has returned; reached tells when the GPU has done it
  cuda::Mark reached;
};

// A rank on its way in. Shared with the thread that joins, which may outlive everyone who waits for it.
struct Joining {
  std::mutex mutex;
  std::condition_variable changed;
  bool entered = false, done = false;  // entered: what belongs to the rank is not used any more
  Comm comm = nullptr;
  std::string trouble;
};

}  // namespace

const char* name(ReduceType type) { return type == ReduceType::kBf16 ? "bf16" : "f32"; }

struct Communicator::Member {
  static constexpr std::size_t kSums = 256;  // two passes of 64 layers; what is more stands together as one

  int rank = 0;
  cuda::Device* device = nullptr;
  Comm comm = nullptr;  // null once aborted
  std::int64_t begun = 0;
  double since_s = 0;  // the oldest sum has been the oldest since then
  std::size_t first = 0, count = 0;
  std::array<Sum, kSums> sums;

  Sum& oldest() { return sums[first]; }
  Sum& newest() { return sums[(first + count - 1) % kSums]; }

  void forget_what_is_over(double now_s) {
    for (; count > 0 && oldest().in_stream && oldest().reached.reached(); --count) first = (first + 1) % kSums, since_s = now_s;
  }
  Sum& begin(std::int64_t values, double now_s) {
    if (count == kSums) forget_what_is_over(now_s);
    if (count == 0) since_s = now_s;
    if (count < kSums) ++count;
    Sum& sum = newest();
    sum.number = ++begun, sum.values = values, sum.in_stream = false;
    return sum;
  }
};

Communicator::Communicator(std::shared_ptr<const Library> library, int ranks, double limit_s)
    : library_(std::move(library)), ranks_(ranks), limit_s_(limit_s), members_(static_cast<std::size_t>(ranks)) {
  if (const Result result = library_->api().get_unique_id(&id_); result != Result::kSuccess)
    throw std::runtime_error(fmt::format("NCCL {}: no name for a communicator: {}; {}", library_->version(), said(nullptr, result), kRemedy));
  watchdog_ = std::thread([this] { watch(); });
}

Communicator::~Communicator() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  watchdog_.join();
  for (const auto& member : members_)
    if (member && member->comm) (void)library_->api().comm_destroy(member->comm);  // what it could report has been by check()
}

std::string Communicator::said(Comm comm, Result result) const {
  const char* const kind = library_->api().get_error_string(result);
  const char* const last = library_->api().get_last_error(comm);
  return fmt::format("{}{}", kind ? kind : "unknown error", last && *last ? fmt::format(" ({})", last) : "");
}

void Communicator::throw_if_failed() const {
  if (!failure_.empty()) throw std::runtime_error(failure_);
}

void Communicator::check() const {
  const std::lock_guard lock(mutex_);
  throw_if_failed();
}

void Communicator::fail(const std::string& why) {
  std::vector<Comm> comms;
  {
    const std::lock_guard lock(mutex_);
    if (!failure_.empty()) return;
    failure_ = why;
    for (const auto& member : members_)
      if (member && member->comm) comms.push_back(std::exchange(member->comm, nullptr));
  }
  changed_.notify_all();
  for (Comm comm : comms) (void)library_->api().comm_abort(comm);  // frees the ranks that wait inside NCCL or for their stream
}

void Communicator::fail_and_throw(const std::string& why) {
  fail(why);
  const std::lock_guard lock(mutex_);
  throw std::runtime_error(failure_);
}

void Communicator::abort(const std::string& why) { fail(fmt::format("NCCL: the communicator was aborted: {}; load the model again", why)); }

// In a thread of its own: a rank that does not come leaves ncclCommInitRank waiting, and there is nothing to abort yet. Such a thread is left behind.
Comm Communicator::join(cuda::Device& device, int rank) {
  const auto joining = std::make_shared<Joining>();
  std::thread thread([joining, library = library_, id = id_, ranks = ranks_, rank, &device] {
    Comm comm = nullptr;
    Result result = Result::kInternalError;
    std::string trouble;
    try {
      device.make_current();
      {
        const std::lock_guard lock(joining->mutex);
        joining->entered = true;
      }
      result = library->api().comm_init_rank(&comm, ranks, id, rank);
    } catch (const std::exception& error) {
      trouble = error.what();
    }
    if (trouble.empty() && result != Result::kSuccess) {
      const char* const last = library->api().get_last_error(nullptr);
      trouble = fmt::format("{}{}", library->api().get_error_string(result), last && *last ? fmt::format(" ({})", last) : "");
    }
    const std::lock_guard lock(joining->mutex);
    joining->comm = comm, joining->trouble = trouble, joining->done = true;
    joining->changed.notify_all();
  });
  const double begin_s = monotonic_s();
  bool entered = false, done = false, failed = false, late = false;
  while (!done && !(entered && (failed || late))) {
    {
      std::unique_lock lock(joining->mutex);
      joining->changed.wait_for(lock, std::chrono::milliseconds(10), [&] { return joining->done; });
      done = joining->done, entered = joining->entered;
    }
    const std::lock_guard lock(mutex_);
    failed = !failure_.empty(), late = monotonic_s() - begin_s > limit_s_;
  }
  if (!done) {
    thread.detach();
    if (!failed)
      fail_and_throw(fmt::format("NCCL {}: rank {} of {} has waited {:.1f} s for the others to join; {}", library_->version(), rank, ranks_,
                                 monotonic_s() - begin_s, kRemedy));
    check();
  }
  thread.join();
  if (!joining->trouble.empty())
    fail_and_throw(fmt::format("NCCL {}: rank {} of {} could not join: {}; {}", library_->version(), rank, ranks_, joining->trouble, kRemedy));
  return joining->comm;
}

void Communicator::connect(Context& ctx, int rank, ReduceType type) {
  check();
  auto member = std::make_unique<Member>();
  member->rank = rank, member->device = ctx.device, member->comm = join(*ctx.device, rank);
  {
    const std::lock_guard lock(mutex_);
    members_[static_cast<std::size_t>(rank)] = std::move(member);
  }
  constexpr std::size_t kOnes = 1024;
  std::vector<float> values(kOnes, 1.0f);
  float* const on_device = ctx.workspace.floats("reduce.ones", kOnes);
  ctx.ops.upload(ctx, reinterpret_cast<std::byte*>(on_device), reinterpret_cast<const std::byte*>(values.data()), kOnes * sizeof(float));
  all_reduce(ctx, rank, on_device, kOnes, type);
  ctx.ops.download(ctx, reinterpret_cast<std::byte*>(values.data()), reinterpret_cast<const std::byte*>(on_device), kOnes * sizeof(float));
  check();
  for (const float value : values)
    if (value != static_cast<float>(ranks_))
      fail_and_throw(fmt::format("NCCL {}: rank {} of {} got {} as the sum of a one from every rank, {} is right; the links between the GPUs cannot be "
                                 "trusted (NCCL_P2P_DISABLE=1 goes round them); {}",
                                 library_->version(), rank, ranks_, value, ranks_, kRemedy));
}

void Communicator::all_reduce(Context& ctx, int rank, float* data, std::int64_t n, ReduceType type) {
  Member& member = *members_[static_cast<std::size_t>(rank)];
  ctx.counters.add("launches.all_reduce", 1);
  ctx.counters.add("bytes.all_reduce", n * (type == ReduceType::kBf16 ? 2 : 4));
  if (type == ReduceType::kF32) return sum(member, data, data, n, DataType::kFloat32);
  auto* const packed = reinterpret_cast<std::uint16_t*>(ctx.workspace.bytes("reduce.bf16", static_cast<std::size_t>(n) * sizeof(std::uint16_t)));
  cuda::to_bf16(ctx, data, packed, n);
  sum(member, packed, packed, n, DataType::kBfloat16);
  cuda::from_bf16(ctx, packed, data, n);
}

void Communicator::sum(Member& member, const void* from, void* to, std::int64_t n, DataType type) {
  void* const stream = member.device->stream();  // what goes to it before the sum may fail
  Sum* sum = nullptr;
  Comm comm = nullptr;
  {
    const std::lock_guard lock(mutex_);
    throw_if_failed();
    sum = &member.begin(n, monotonic_s()), comm = member.comm;
  }
  const Result result = library_->api().all_reduce(from, to, static_cast<std::size_t>(n), type, Operation::kSum, comm, stream);
  {
    const std::lock_guard lock(mutex_);
    throw_if_failed();
    if (result == Result::kSuccess) {
      sum->reached.set(*member.device);
      sum->in_stream = true;
      return;
    }
  }
  fail_and_throw(fmt::format("NCCL {}: rank {} of {}, all-reduce {} of {} values: {}; {}", library_->version(), member.rank, ranks_, sum->number, n,
                             said(comm, result), kRemedy));
}

// What is wrong with the rank's oldest sum; empty: nothing. mutex_ is held.
std::string Communicator::trouble(Member& member, double now_s) const {
  member.forget_what_is_over(now_s);
  if (member.count == 0) return "";
  const Sum& sum = member.oldest();
  const auto where = [&] {
    return fmt::format("NCCL {}: rank {} of {}, all-reduce {} of {} values", library_->version(), member.rank, ranks_, sum.number, sum.values);
  };
  Result reported = Result::kSuccess;
  if (const Result asked = library_->api().comm_get_async_error(member.comm, &reported); asked != Result::kSuccess) reported = asked;
  if (reported != Result::kSuccess && reported != Result::kInProgress) return fmt::format("{}: {}; {}", where(), said(member.comm, reported), kRemedy);
  if (now_s - member.since_s <= limit_s_) return "";
  std::string others;
  for (const auto& other : members_)
    if (other && other->rank != member.rank) others += fmt::format(", rank {} has begun {}", other->rank, other->begun);
  return fmt::format("{}: has waited {:.1f} s, {:g} s are allowed (CROSSOVER_COMM_LIMIT_S){}; the communicator was aborted; {}", where(), now_s - member.since_s,
                     limit_s_, others, kRemedy);
}

void Communicator::watch() {
  const auto period = std::chrono::duration<double>(std::clamp(limit_s_ / 10, 0.001, 0.2));
  for (std::unique_lock lock(mutex_); !stopping_;) {
    changed_.wait_for(lock, period, [&] { return stopping_; });
    if (stopping_ || !failure_.empty()) continue;
    std::string why;
    for (const auto& member : members_) {
      if (!member || !why.empty()) continue;
      try {
        why = trouble(*member, monotonic_s());
      } catch (const std::exception& error) {  // the GPU itself has failed
        why = fmt::format("NCCL {}: rank {} of {}: {}", library_->version(), member->rank, ranks_, error.what());
      }
    }
    if (why.empty()) continue;
    lock.unlock();
    fail(why);
    lock.lock();
  }
}

}  // namespace crossover::nccl
