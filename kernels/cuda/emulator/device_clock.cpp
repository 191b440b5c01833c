// device_clock.h for the emulation: whatever was asked of the device took it 2^-24 s (60 ns), less than it took the host, and now is when the
// last of it was done. So a range lasts as long as there are launches and copies in it.
#include "kernels/cuda/device_clock.h"

#include <vector>

namespace crossover::cuda {
namespace {

constexpr double kOperation_s = 0x1p-24;

class CountingClock : public DeviceClock {
 public:
  explicit CountingClock(Device& device) : device_(device) {}

  std::size_t mark() noexcept override {
    (void)device_.hand_over_quietly();
    if (work_at_.empty() || device_.work() != work_at_.back()) work_at_.push_back(device_.work());
    return work_at_.size() - 1;
  }

  std::span<const double> resolve() override {
    const double now_s = monotonic_s();
    times_s_.clear();
    for (const std::int64_t work : work_at_) times_s_.push_back(now_s - static_cast<double>(device_.work() - work) * kOperation_s);
    work_at_.clear();
    return times_s_;
  }

 private:
  Device& device_;
  std::vector<std::int64_t> work_at_;
  std::vector<double> times_s_;
};

}  // namespace

std::unique_ptr<DeviceClock> make_clock(Device& device) { return std::make_unique<CountingClock>(device); }

}  // namespace crossover::cuda
