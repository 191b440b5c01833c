// One traced sample: what the GPU did in its passes. Never a timed one: CUPTI slows what it watches.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bench/profile/activity.h"
#include "bench/profile/counter_sampler.h"
#include "bench/sample.h"
#include "engine/engine.h"

namespace crossover {

class GpuTrace {
 public:
  explicit GpuTrace(const std::vector<std::string>& libraries = cupti::usual_names()) : library_(libraries) {}

  void begin(Engine& engine, bool counters);  // watches from here on, with CUPTI where it is found and allowed
  // Ends it and puts what was seen into sample.trace, names of kernels into sample.path["kernels"]. `source` is "cupti", or "events" with
  // `why`: then the rows of phases by the device's events are all there is. "counters" has the bytes of every phase, or says why there are none.
  void end(Engine& engine, Sample& sample);

 private:
  cupti::Library library_;
  std::optional<cupti::Recorder> recorder_;
  cupti::CounterSamplers counters_;
  std::string why_;  // CUPTI does not watch
  std::int64_t launches_ = 0;
  double begin_s_ = 0;
};

}  // namespace crossover
