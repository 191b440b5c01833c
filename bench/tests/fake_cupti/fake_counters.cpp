#include <cmath>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <utility>

#include "bench/profile/counters_api.h"
#include "bench/tests/fake_cupti/fake_cupti.h"

namespace crossover::test {
namespace {

using namespace cupti;

constexpr Result kInvalidParameter = 1;

struct Counted {
  std::uint64_t start_ns, end_ns;
  double values[3];
};

struct Sampler {
  std::size_t device;
  std::uint32_t most_samples = 0;
  bool runs = false;
};

// An image is the number of its samples, and these.
struct Fake : FakeCounters {
  mutable std::mutex mutex;
  std::map<std::string, int> results;
  std::map<std::size_t, std::deque<Counted>> waiting;
  std::map<void*, Sampler> samplers;
  std::map<void*, std::size_t> hosts;  // and the metrics they were given
  std::size_t passes = 1, passes_without_peak = 1;
  std::string chip = "GH100";
  bool overflows = false, initialized = false;
  int last_trigger = -1;
  std::uintptr_t handles = 0;

  void answer(const std::string& function, int result) override { const std::lock_guard lock(mutex); results[function] = result; }
  void count_in(std::size_t with, std::size_t without) override { const std::lock_guard lock(mutex); passes = with, passes_without_peak = without; }
  void be(const std::string& name) override { const std::lock_guard lock(mutex); chip = name; }
  void overflow() override { const std::lock_guard lock(mutex); overflows = true; }
  void sample(std::size_t device, std::uint64_t start_ns, std::uint64_t end_ns, double read_bytes, double written_bytes, double peak_bytes) override {
    const std::lock_guard lock(mutex);
    waiting[device].push_back({start_ns, end_ns, {read_bytes, written_bytes, peak_bytes}});
  }
  std::size_t held() const override { const std::lock_guard lock(mutex); return samplers.size() + hosts.size(); }
  int trigger() const override { const std::lock_guard lock(mutex); return last_trigger; }
  void reset() override {
    const std::lock_guard lock(mutex);
    results.clear(), waiting.clear(), samplers.clear(), hosts.clear();
    passes = passes_without_peak = 1, chip = "GH100", overflows = initialized = false, last_trigger = -1;
  }

  void* handle() { return reinterpret_cast<void*>(++handles); }
  Sampler* sampler(void* of) {
    const auto found = samplers.find(of);
    return found == samplers.end() ? nullptr : &found->second;
  }
};

Fake& fake() {
  static Fake one;
  return one;
}

// What the test wants, else what the call itself says; of parameters that are too short nothing is read.
template <class Parameters, class Call>
Result call(const char* function, Parameters* parameters, const Call& made) {
  const std::lock_guard lock(fake().mutex);
  if (parameters->size != Parameters{}.size || parameters->reserved) return kInvalidParameter;
  if (const auto wanted = fake().results.find(function); wanted != fake().results.end() && wanted->second != kSuccess) return wanted->second;
  return made(fake(), *parameters) ? kSuccess : kInvalidOperation;
}

std::size_t samples_of(const std::uint8_t* image) {
  std::size_t count = 0;
  std::memcpy(&count, image, sizeof(count));
  return count;
}

Counted sample_of(const std::uint8_t* image, std::size_t index) {
  Counted counted{};
  std::memcpy(&counted, image + sizeof(std::size_t) + index * sizeof(Counted), sizeof(Counted));
  return counted;
}

}  // namespace
}  // namespace crossover::test

using namespace crossover::cupti;
using crossover::test::call, crossover::test::fake, crossover::test::Fake, crossover::test::Sampler, crossover::test::Counted;

extern "C" {
crossover::test::FakeCounters* fake_counters();
int cuptiProfilerInitialize(InitializeParameters*);
int cuptiDeviceGetChipName(ChipNameParameters*);
int cuptiPmSamplingGetCounterAvailability(AvailabilityParameters*);
int cuptiProfilerHostInitialize(HostParameters*);
int cuptiProfilerHostDeinitialize(EndHostParameters*);
int cuptiProfilerHostConfigAddMetrics(AddMetricsParameters*);
int cuptiProfilerHostGetConfigImageSize(ConfigBytesParameters*);
int cuptiProfilerHostGetConfigImage(ConfigParameters*);
int cuptiProfilerHostGetNumOfPasses(PassesParameters*);
int cuptiProfilerHostEvaluateToGpuValues(EvaluateParameters*);
int cuptiPmSamplingEnable(EnableParameters*);
int cuptiPmSamplingDisable(SamplerParameters*);
int cuptiPmSamplingSetConfig(SetConfigParameters*);
int cuptiPmSamplingStart(SamplerParameters*);
int cuptiPmSamplingStop(SamplerParameters*);
int cuptiPmSamplingDecodeData(DecodeParameters*);
int cuptiPmSamplingGetCounterDataSize(ImageBytesParameters*);
int cuptiPmSamplingCounterDataImageInitialize(ClearImageParameters*);
int cuptiPmSamplingGetCounterDataInfo(ImageInfoParameters*);
int cuptiPmSamplingCounterDataGetSampleInfo(SampleInfoParameters*);

crossover::test::FakeCounters* fake_counters() { return &fake(); }

int cuptiProfilerInitialize(InitializeParameters* p) {
  return call("cuptiProfilerInitialize", p, [](Fake& f, auto&) { return !std::exchange(f.initialized, true); });
}
int cuptiDeviceGetChipName(ChipNameParameters* p) {
  return call("cuptiDeviceGetChipName", p, [](Fake& f, ChipNameParameters& c) { return c.chip = f.chip.c_str(), f.initialized; });
}
int cuptiPmSamplingGetCounterAvailability(AvailabilityParameters* p) {
  return call("cuptiPmSamplingGetCounterAvailability", p, [](Fake& f, AvailabilityParameters& c) {
    if (c.image) std::memset(c.image, 0x5a, c.bytes);
    else c.bytes = 100;
    return f.initialized;
  });
}
int cuptiProfilerHostInitialize(HostParameters* p) {
  return call("cuptiProfilerHostInitialize", p, [](Fake& f, HostParameters& c) {
    if (c.profiler != kProfilesBySampling || f.chip != c.chip || !c.availability || c.availability[99] != 0x5a) return false;
    return f.hosts[c.host = f.handle()] = 0, true;
  });
}
int cuptiProfilerHostDeinitialize(EndHostParameters* p) {
  return call("cuptiProfilerHostDeinitialize", p, [](Fake& f, EndHostParameters& c) { return f.hosts.erase(c.host) == 1; });
}
int cuptiProfilerHostConfigAddMetrics(AddMetricsParameters* p) {
  return call("cuptiProfilerHostConfigAddMetrics", p, [](Fake& f, AddMetricsParameters& c) {
    for (std::size_t i = 0; i < c.count; ++i)
      if (std::string(c.metrics[i]).find("dram__bytes") != 0) return false;
    return f.hosts.contains(c.host) && (f.hosts[c.host] = c.count) > 0;
  });
}
int cuptiProfilerHostGetConfigImageSize(ConfigBytesParameters* p) {
  return call("cuptiProfilerHostGetConfigImageSize", p, [](Fake& f, ConfigBytesParameters& c) { return c.bytes = 40, f.hosts.contains(c.host); });
}
int cuptiProfilerHostGetConfigImage(ConfigParameters* p) {
  return call("cuptiProfilerHostGetConfigImage", p, [](Fake& f, ConfigParameters& c) {
    std::memset(c.config, static_cast<int>(f.hosts[c.host]), c.bytes);
    return c.bytes == 40;
  });
}
int cuptiProfilerHostGetNumOfPasses(PassesParameters* p) {
  return call("cuptiProfilerHostGetNumOfPasses", p, [](Fake& f, PassesParameters& c) {
    return c.passes = c.config[39] == 3 ? f.passes : f.passes_without_peak, c.bytes == 40;
  });
}
int cuptiProfilerHostEvaluateToGpuValues(EvaluateParameters* p) {
  return call("cuptiProfilerHostEvaluateToGpuValues", p, [](Fake& f, EvaluateParameters& c) {
    if (c.sample >= crossover::test::samples_of(c.image) || c.count != f.hosts[c.host]) return false;
    const Counted counted = crossover::test::sample_of(c.image, c.sample);
    std::memcpy(c.values, counted.values, c.count * sizeof(double));
    return true;
  });
}
int cuptiPmSamplingEnable(EnableParameters* p) {
  return call("cuptiPmSamplingEnable", p, [](Fake& f, EnableParameters& c) {
    for (const auto& [handle, sampler] : f.samplers)
      if (sampler.device == c.device) return false;
    return f.samplers[c.sampler = f.handle()] = {c.device}, f.initialized;
  });
}
int cuptiPmSamplingDisable(SamplerParameters* p) {
  return call("cuptiPmSamplingDisable", p, [](Fake& f, SamplerParameters& c) { return f.samplers.erase(c.sampler) == 1; });
}
int cuptiPmSamplingSetConfig(SetConfigParameters* p) {
  return call("cuptiPmSamplingSetConfig", p, [](Fake& f, SetConfigParameters& c) {
    f.last_trigger = c.trigger;
    return f.sampler(c.sampler) && c.config_bytes == 40 && c.hardware_bytes > 0 && c.interval > 0 && (c.trigger == kEveryClocks || f.chip != "GA100");
  });
}
int cuptiPmSamplingStart(SamplerParameters* p) {
  return call("cuptiPmSamplingStart", p, [](Fake& f, SamplerParameters& c) {
    Sampler* const sampler = f.sampler(c.sampler);
    return sampler && !sampler->runs && f.last_trigger >= 0 && (sampler->runs = true);
  });
}
int cuptiPmSamplingStop(SamplerParameters* p) {
  return call("cuptiPmSamplingStop", p, [](Fake& f, SamplerParameters& c) {
    Sampler* const sampler = f.sampler(c.sampler);
    return sampler && sampler->runs && !(sampler->runs = false);
  });
}
int cuptiPmSamplingDecodeData(DecodeParameters* p) {
  return call("cuptiPmSamplingDecodeData", p, [](Fake& f, DecodeParameters& c) {
    const Sampler* const sampler = f.sampler(c.sampler);
    if (!sampler || crossover::test::samples_of(c.image) != 0) return false;
    std::deque<Counted>& waiting = f.waiting[sampler->device];
    std::size_t count = 0;
    for (; count < sampler->most_samples && !waiting.empty(); ++count, waiting.pop_front())
      std::memcpy(c.image + sizeof(count) + count * sizeof(Counted), &waiting.front(), sizeof(Counted));
    std::memcpy(c.image, &count, sizeof(count));
    c.stopped = waiting.empty() ? kEndOfRecords : 1;
    c.overflow = std::exchange(f.overflows, false);
    return true;
  });
}
int cuptiPmSamplingGetCounterDataSize(ImageBytesParameters* p) {
  return call("cuptiPmSamplingGetCounterDataSize", p, [](Fake& f, ImageBytesParameters& c) {
    Sampler* const sampler = f.sampler(c.sampler);
    c.bytes = sizeof(std::size_t) + c.most_samples * sizeof(Counted);
    return sampler && (sampler->most_samples = c.most_samples) > 0;
  });
}
int cuptiPmSamplingCounterDataImageInitialize(ClearImageParameters* p) {
  return call("cuptiPmSamplingCounterDataImageInitialize", p, [](Fake& f, ClearImageParameters& c) {
    std::memset(c.image, 0, sizeof(std::size_t));
    return f.sampler(c.sampler) != nullptr;
  });
}
int cuptiPmSamplingGetCounterDataInfo(ImageInfoParameters* p) {
  return call("cuptiPmSamplingGetCounterDataInfo", p, [](Fake&, ImageInfoParameters& c) {
    c.total = (c.bytes - sizeof(std::size_t)) / sizeof(Counted);
    return c.populated = c.completed = crossover::test::samples_of(c.image), true;
  });
}
int cuptiPmSamplingCounterDataGetSampleInfo(SampleInfoParameters* p) {
  return call("cuptiPmSamplingCounterDataGetSampleInfo", p, [](Fake&, SampleInfoParameters& c) {
    if (c.sample >= crossover::test::samples_of(c.image)) return false;
    const Counted counted = crossover::test::sample_of(c.image, c.sample);
    return c.start = counted.start_ns, c.end = counted.end_ns, true;
  });
}
}
