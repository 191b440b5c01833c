// Collectives between the ranks of one process (ranks are threads). f32 partial sums are added in rank order, so a result does not
// depend on which rank comes first. A rank that fails calls abort(): every other one waiting here throws instead of hanging.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

namespace crossover {

class LocalComm {
 public:
  explicit LocalComm(int ranks);
  int ranks() const { return ranks_; }

  void reserve(std::size_t values);  // largest n of an all_reduce to come; call while no rank is inside

  // data [n] of every rank becomes the sum over ranks. All ranks call with the same n <= reserved.
  void all_reduce(int rank, std::span<float> data);
  std::vector<float>& staging(int rank) { return staging_[static_cast<std::size_t>(rank)]; }  // of a rank whose values lie on a device
  void rehearse(bool rehearses) { rehearses_ = rehearses; }  // from now on all_reduce does nothing; call while no rank is inside
  void barrier();
  void abort();  // every barrier, also later ones, throws std::runtime_error until reset()
  void reset();

 private:
  const int ranks_;
  bool rehearses_ = false;
  std::atomic<int> arrived_{0};
  std::atomic<std::uint32_t> generation_{0};
  std::atomic<bool> aborted_{false};
  std::vector<float*> parts_;
  std::vector<float> sum_;
  std::vector<std::vector<float>> staging_;
};

}  // namespace crossover
