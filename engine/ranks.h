// The threads of a tensor-parallel group: rank 0 is the calling thread, the others are standing threads.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "engine/comm.h"

namespace crossover {

class RankGroup {
 public:
  explicit RankGroup(int ranks);
  ~RankGroup();
  RankGroup(const RankGroup&) = delete;
  RankGroup& operator=(const RankGroup&) = delete;

  // Called by a rank that has failed, on its thread, when the others cannot meet it any more in comm().
  void on_failure(std::function<void()> call) { on_failure_ = std::move(call); }

  int ranks() const { return comm_.ranks(); }
  LocalComm& comm() { return comm_; }

  // body(rank) on every rank; returns when all are done. The first failure aborts the collectives of the others and is rethrown
  // with its rank's own message.
  void run(const std::function<void(int)>& body);

 private:
  void serve(int rank);
  void call(int rank, const std::function<void(int)>& body);

  LocalComm comm_;
  std::function<void()> on_failure_;
  std::mutex mutex_;
  std::condition_variable asked_, done_;
  const std::function<void(int)>* body_ = nullptr;
  std::uint64_t round_ = 0;
  int running_ = 0;
  bool stopping_ = false;
  std::exception_ptr failure_;
  std::vector<std::thread> threads_;  // last: they use everything above
};

}  // namespace crossover
