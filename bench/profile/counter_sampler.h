// Bytes between a GPU's memory and its chip while something runs, by counters that the GPU reads itself at a fixed interval.
//
// CUPTI offers two ways. Its range profiler counts between two calls of the host: every phase would have to begin and end with an idle device, and
// kernels that run beside each other would run one after another - a slower program with other overlaps than the one that was asked about. Sampling of
// the performance monitors leaves the kernels alone and needs one pass; its samples are told in the times of the records of kernels ("CPU based",
// CUPTI's documentation of PM sampling), so phases get their bytes by time (bench/profile/traffic.h). Both read reports of the whole device:
// what other processes do there is counted too.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "bench/profile/cupti_library.h"

namespace crossover::cupti {

inline constexpr std::uint64_t kSampleNs = 20'000;  // some samples in a phase of a decoded token; tens of thousands a second to decode

struct CounterSample {
  std::uint64_t start_ns, end_ns;  // of CUPTI's clock
  double read_bytes, written_bytes;
  double peak_bytes;  // that the memory could have moved meanwhile at its clock; 0 where CUPTI does not tell
};

struct CounterSamples {
  int device = 0;
  std::string chip;                    // "GH100"
  std::vector<CounterSample> samples;  // one after the other
  std::int64_t malformed = 0;          // that were not what they said, or too many; left out
  bool overflow = false;               // the hardware's buffer was full: samples are missing
  std::string trouble;                 // one line: why they end early or cannot be placed in time; empty where they do and can
};

std::vector<std::string> counter_metrics();  // as CUPTI and Nsight Compute call them

// Why counters of this device cannot be had, in one line; empty where they can. Takes a moment, and the device's counters while it lasts.
std::string why_no_counters(const Library& library, int device);

// Samples from its making to stop(). One at a time for a device.
class CounterSampler {
 public:
  CounterSampler(const Library& library, int device);  // of one that was found; std::runtime_error in CUPTI's words where the driver refuses
  ~CounterSampler();
  CounterSampler(const CounterSampler&) = delete;
  CounterSampler& operator=(const CounterSampler&) = delete;

  CounterSamples stop();  // the device has been waited for; call it once

 private:
  using Handle = std::unique_ptr<void, std::function<void(void*)>>;

  Handle begin_host(std::size_t metrics);
  void configure(const char* chip, const std::vector<std::uint8_t>& availability);
  void begin_sampling();
  void clear_image();
  void drain(const std::stop_token& ended);
  std::int32_t decode();  // why it stopped; samples go to the end of samples_
  void take(std::size_t sample);
  void place();

  const Library& library_;
  const CounterApi& api_;
  std::uint64_t begin_ns_ = 0;
  std::vector<const char*> metrics_;
  std::vector<std::uint8_t> config_, image_;
  CounterSamples samples_;
  Handle host_, sampler_;
  std::mutex mutex_;
  std::condition_variable_any wake_;
  bool sampling_ = false;
  std::jthread drains_;  // last: it uses all of the above
};

struct CounterSamplers {
  std::vector<std::unique_ptr<CounterSampler>> of_devices;
  std::string why;  // one line: why the first device that has none has none; empty where all have one
};

CounterSamplers sample_counters(const Library& library, const std::vector<int>& devices);  // of a library that was found

}  // namespace crossover::cupti
