// What a stream of the emulated device was asked for. The one that a Device begins with does everything at once; one beside it does nothing
// before somebody waits, so that whoever does not sees old bytes, and memory that is used again too early goes where it should not.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <vector>

namespace crossover::cuda {
class Device;
}

namespace crossover::cuda::emulated {

class Stream {
 public:
  void ask(std::function<void()> work, bool uploads) { asked_.push_back({std::move(work), uploads}), uploads_ += uploads ? 1 : 0; }
  void run_uploads() { while (uploads_ > 0) run_one(); }
  void run_all() { while (!asked_.empty()) run_one(); }

  std::vector<std::byte> staging;

 private:
  struct Asked {
    std::function<void()> work;
    bool uploads;
  };
  void run_one() {
    const Asked one = std::move(asked_.front());
    asked_.pop_front(), uploads_ -= one.uploads ? 1 : 0;
    one.work();
  }

  std::deque<Asked> asked_;
  int uploads_ = 0;
};

void in_order(Device& device, std::function<void()> kernel);  // a launch

}  // namespace crossover::cuda::emulated
