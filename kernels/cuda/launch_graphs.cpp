#include "kernels/cuda/launch_graphs.h"

#include <utility>

#include "kernels/cuda/runtime.h"

namespace crossover::cuda {

void Device::hand_over() {
  if (queue_) queue_->hand_over();
}
bool Device::hand_over_quietly() noexcept { return !queue_ || queue_->hand_over_quietly(); }

void LaunchGraphs::begin(bool must) {
  next_ = 0, must_ = must, failure_ = nullptr;
  waiting_.clear();
  device_.set_queue(this);
}

void LaunchGraphs::end() {
  hand_over();
  device_.set_queue(nullptr);
}

void LaunchGraphs::abandon() noexcept {
  waiting_.clear();
  device_.set_queue(nullptr);
}

void LaunchGraphs::hand_over() {
  if (failure_) std::rethrow_exception(failure_);
  if (waiting_.size() == 0) return;
  std::swap(waiting_, leaving_);  // the stream may be asked for while they leave
  waiting_.clear();
  try {
    start(leaving_);
  } catch (...) {
    failure_ = std::current_exception();
    throw;
  }
}

bool LaunchGraphs::hand_over_quietly() noexcept {
  try {
    hand_over();
    return true;
  } catch (...) {
    return false;  // kept as failure_
  }
}

void LaunchGraphs::start(LaunchList& launches) {
  if (refusal_.empty()) {
    if (next_ == kept_.size()) kept_.emplace_back();
    Kept& kept = kept_[next_++];
    try {
      return start_graph(kept, launches);
    } catch (const GraphRefused& refused) {
      kept_.clear();
      if (must_) throw;
      refusal_ = refused.what();
    }
  }
  for (std::size_t i = 0; i < launches.size(); ++i) start_alone(device_, launches[i], launches.arguments(i));
}

void LaunchGraphs::start_graph(Kept& kept, LaunchList& launches) {
  if (kept.graph && kept.launches.size() == launches.size()) {
    for (std::size_t i = 0; i < launches.size(); ++i) {
      if (launches.same(i, kept.launches)) continue;
      kept.graph->change(i, launches);
      ++changed_;
    }
  } else {
    kept.graph.reset();
    kept.graph = make_graph(device_, launches);
    ++made_;
  }
  kept.graph->start();
  ++started_;
  std::swap(kept.launches, launches);
}

}  // namespace crossover::cuda
