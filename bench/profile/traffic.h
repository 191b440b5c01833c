// Which phase of a GPU moved how many bytes between its memory and its chip: counters that were sampled over time, beside the times of kernels and copies.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "bench/profile/activity.h"
#include "bench/profile/counter_sampler.h"

namespace crossover::cupti {

// Bytes that passed while kernels and copies of the phase ran. What they found in the L2 cache is not among them, and a line they wrote may leave it
// during a later phase.
struct PhaseTraffic {
  std::string name;
  std::int64_t launches = 0;    // of kernels
  double busy_s = 0;            // a kernel or a copy of the phase ran
  double sampled_s = 0;         // of these, while counters were sampled: bytes and peak are of these
  double read_bytes = 0, written_bytes = 0;
  double divided_bytes = 0;     // of both: from samples that other phases ran in too
  double peak_bytes = 0;        // that the memory could have moved; 0 where CUPTI does not tell
};

struct DeviceTraffic {
  int device = 0;
  std::string chip;
  std::size_t samples = 0;
  double sampled_s = 0, read_bytes = 0, written_bytes = 0, peak_bytes = 0;
  double idle_bytes = 0;  // of both: from samples in which nothing of this process ran
  std::optional<double> lag_s;  // from when the first kernel or copy ran to the first sample with bytes to speak of; below 0: that was earlier
  std::vector<PhaseTraffic> phases;  // by name
  bool overflow = false;
  std::int64_t malformed = 0;
  std::string trouble;
};

// The bytes of a sample belong to what ran meanwhile, by the time it ran; where two phases ran at once, each has half of that time's. An
// idle device moves nothing: bytes of a sample that is in part idle all belong to the rest of it.
DeviceTraffic traffic_of(const Activity& activity, const CounterSamples& samples);

// `why`: there are no counters, or of some devices none; empty where there are.
nlohmann::json counters_json(const std::vector<DeviceTraffic>& devices, const std::string& why);

// What a reader of the numbers should know: lost samples, much of the time unseen, bytes that nothing accounts for.
std::vector<std::string> counter_flags(const std::vector<DeviceTraffic>& devices);

}  // namespace crossover::cupti
