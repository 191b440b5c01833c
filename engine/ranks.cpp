#include "engine/ranks.h"

#include <utility>

namespace crossover {

RankGroup::RankGroup(int ranks) : comm_(ranks) {
  for (int rank = 1; rank < ranks; ++rank) threads_.emplace_back([this, rank] { serve(rank); });
}

RankGroup::~RankGroup() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  asked_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void RankGroup::call(int rank, const std::function<void(int)>& body) {
  try {
    body(rank);
  } catch (...) {
    {
      const std::lock_guard lock(mutex_);
      if (!failure_) failure_ = std::current_exception();
    }
    comm_.abort();
    if (on_failure_) on_failure_();
  }
}

void RankGroup::serve(int rank) {
  for (std::uint64_t seen = 0;;) {
    const std::function<void(int)>* body = nullptr;
    {
      std::unique_lock lock(mutex_);
      asked_.wait(lock, [&] { return stopping_ || round_ != seen; });
      if (stopping_) return;
      seen = round_;
      body = body_;
    }
    call(rank, *body);
    {
      const std::lock_guard lock(mutex_);
      if (--running_ == 0) done_.notify_one();
    }
  }
}

void RankGroup::run(const std::function<void(int)>& body) {
  if (threads_.empty()) return body(0);
  {
    const std::lock_guard lock(mutex_);
    body_ = &body;
    running_ = static_cast<int>(threads_.size());
    ++round_;
  }
  asked_.notify_all();
  call(0, body);
  std::unique_lock lock(mutex_);
  done_.wait(lock, [&] { return running_ == 0; });
  if (!failure_) return;
  comm_.reset();
  std::rethrow_exception(std::exchange(failure_, nullptr));
}

}  // namespace crossover
