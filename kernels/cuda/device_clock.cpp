#include "kernels/cuda/device_clock.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <vector>

namespace crossover::cuda {

void check(cudaError_t status, const char* call);

namespace {

class EventClock : public DeviceClock {
 public:
  explicit EventClock(Device& device) : device_(device) {
    device_.make_current();
    check(cudaEventCreate(&now_), "cudaEventCreate");
  }
  ~EventClock() override {
    // A failure here has been reported by the call that met it first.
    for (const cudaEvent_t event : events_) (void)cudaEventDestroy(event);
    (void)cudaEventDestroy(now_);
  }
  EventClock(const EventClock&) = delete;
  EventClock& operator=(const EventClock&) = delete;

  std::size_t mark() noexcept override {
    if (marks_ > 0 && device_.work() == work_at_mark_) return marks_ - 1;
    if (!device_.hand_over_quietly()) return marks_ > 0 ? marks_ - 1 : 0;
    if (marks_ == events_.size()) {
      cudaEvent_t event = nullptr;
      if (cudaEventCreate(&event) != cudaSuccess) return marks_ > 0 ? marks_ - 1 : 0;
      events_.push_back(event);
    }
    (void)cudaEventRecord(events_[marks_], stream());  // resolve() finds one that was not recorded
    work_at_mark_ = device_.work();
    return marks_++;
  }

  std::span<const double> resolve() override {
    device_.synchronize();
    const double before_s = monotonic_s();
    check(cudaEventRecord(now_, stream()), "cudaEventRecord");
    check(cudaEventSynchronize(now_), "cudaEventSynchronize");
    const double now_s = (before_s + monotonic_s()) / 2;
    times_s_.clear();
    for (std::size_t i = 0; i < marks_; ++i) {
      float before_now_ms = 0;
      check(cudaEventElapsedTime(&before_now_ms, events_[i], now_), "cudaEventElapsedTime");
      const double at_s = now_s - static_cast<double>(before_now_ms) * 1e-3;
      times_s_.push_back(times_s_.empty() ? at_s : std::max(at_s, times_s_.back()));
    }
    marks_ = 0;
    return times_s_;
  }

 private:
  cudaStream_t stream() { return static_cast<cudaStream_t>(device_.stream()); }

  Device& device_;
  cudaEvent_t now_ = nullptr;
  std::vector<cudaEvent_t> events_;  // kept; the first marks_ are recorded
  std::size_t marks_ = 0;
  std::int64_t work_at_mark_ = 0;
  std::vector<double> times_s_;
};

}  // namespace

std::unique_ptr<DeviceClock> make_clock(Device& device) { return std::make_unique<EventClock>(device); }

}  // namespace crossover::cuda
