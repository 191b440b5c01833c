// How the launches of a pass of one token reach a GPU: as CUDA graphs or one by one (CROSSOVER_CUDA_GRAPH). Of one rank, used by its thread.
#pragma once

#include <string>

#include "engine/knobs.h"
#include "kernels/counters.h"
#include "kernels/cuda/launch_graphs.h"
#include "kernels/cuda/runtime.h"
#include "kernels/trace.h"

namespace crossover {

class DecodeGraphs {
 public:
  DecodeGraphs(cuda::Device& device, const Knobs& knobs) : graphs_(device), wanted_(knobs.get("CROSSOVER_CUDA_GRAPH")), ends_(device) {}

  // pass(), whose launches may wait and are in the stream when this returns; times_ranges: by the device's clock. The counters' path `decode`
  // becomes "graph" or "launches", with why as `decode.refused` where CUDA would not; launches.graph counts what was started.
  template <class Body>
  void run(Counters& counters, bool times_ranges, const Body& pass) {
    if (!wanted(times_ranges)) {
      counters.path("decode", "launches");
      note(counters, 0);  // a refusal may be of an earlier run's, whose counters are gone
      return pass();
    }
    const std::int64_t started = graphs_.started();
    graphs_.run(wanted_ == "on", pass);
    note(counters, graphs_.started() - started);
  }

  // Who hears of ranges in place of `listener`: work that waits goes to the stream inside its own range.
  RangeListener* listener(RangeListener* listener);

 private:
  class Ends : public RangeListener {
   public:
    explicit Ends(cuda::Device& device) : device_(device) {}
    void tell(RangeListener* listener) { listener_ = listener; }
    bool tells() const { return listener_ != nullptr; }
    void opened(const char* name) override;
    void closed() override;

   private:
    cuda::Device& device_;
    RangeListener* listener_ = nullptr;
  };

  bool wanted(bool times_ranges) const;
  void note(Counters& counters, std::int64_t started) const;

  cuda::LaunchGraphs graphs_;
  const std::string wanted_;
  Ends ends_;
};

}  // namespace crossover
