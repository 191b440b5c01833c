// Counters of a GPU's memory without a GPU: a library that delivers samples of ours as a driver's would (bench/tests/fake_cupti).
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "bench/profile/activity.h"
#include "bench/profile/counter_sampler.h"
#include "bench/profile/traffic.h"
#include "bench/tests/fake_cupti/fake_cupti.h"

namespace crossover::cupti {
namespace {

using nlohmann::json;

constexpr std::uint64_t kBegin = 5'000'000'000;
constexpr double kNotANumber = std::numeric_limits<double>::quiet_NaN();

struct Counters : testing::Test {
  void SetUp() override {
    void* const opened = dlopen(CROSSOVER_FAKE_CUPTI, RTLD_NOW);
    ASSERT_NE(opened, nullptr) << dlerror();
    fake = reinterpret_cast<test::GetFakeCupti>(dlsym(opened, "fake_cupti"))();
    counters = reinterpret_cast<test::GetFakeCounters>(dlsym(opened, "fake_counters"))();
    fake->reset(), counters->reset();
  }
  std::string refusal(const Library& library) {
    try {
      const CounterSampler sampler(library, 0);
      return "";
    } catch (const std::runtime_error& error) {
      return error.what();
    }
  }
  test::FakeCupti* fake = nullptr;
  test::FakeCounters* counters = nullptr;
};

TEST_F(Counters, AreFoundAndNothingIsLeftOn) {
  const Library library({CROSSOVER_FAKE_CUPTI});
  ASSERT_NE(library.counters(), nullptr) << library.why_no_counters();
  EXPECT_EQ(why_no_counters(library, 0), "");
  EXPECT_EQ(refusal(library), "");
  EXPECT_EQ(counters->held(), 0u);
}

TEST_F(Counters, AnOlderLibraryTracesWithoutThem) {
  const Library library({CROSSOVER_FAKE_CUPTI_OLD});
  ASSERT_TRUE(library.found()) << library.why();
  EXPECT_EQ(library.counters(), nullptr);
  EXPECT_NE(why_no_counters(library, 0).find("has no function cuptiProfilerInitialize; counters need CUPTI of CUDA 12.6 or newer"), std::string::npos);
  EXPECT_EQ(refusal(library), why_no_counters(library, 0));
  Recorder recorder(library);
  recorder.start();
  EXPECT_TRUE(recorder.stop().kernels.empty());
  const Library none({"libcupti.so.of.nobody"});
  EXPECT_NE(why_no_counters(none, 0), "");
}

TEST_F(Counters, EveryRefusalIsToldInOneLineAndLeavesNothing) {
  const Library library({CROSSOVER_FAKE_CUPTI});
  for (const char* function : {"cuptiProfilerInitialize", "cuptiDeviceGetChipName", "cuptiPmSamplingGetCounterAvailability", "cuptiProfilerHostInitialize",
                               "cuptiProfilerHostConfigAddMetrics", "cuptiProfilerHostGetConfigImageSize", "cuptiProfilerHostGetConfigImage",
                               "cuptiProfilerHostGetNumOfPasses", "cuptiPmSamplingEnable", "cuptiPmSamplingSetConfig", "cuptiPmSamplingGetCounterDataSize",
                               "cuptiPmSamplingCounterDataImageInitialize", "cuptiPmSamplingStart"})
    for (const int result : {35, 41, 43, 999}) {
      counters->reset();
      counters->answer(function, result);
      const std::string line = refusal(library);
      EXPECT_NE(line.find(function), std::string::npos) << line;
      EXPECT_NE(line.find("(" + std::to_string(result) + ")"), std::string::npos) << line;
      EXPECT_EQ(line.find('\n'), std::string::npos) << line;
      EXPECT_EQ(counters->held(), 0u) << function;
    }
  counters->reset();
  counters->answer("cuptiPmSamplingGetCounterAvailability", kInsufficientPrivileges);
  EXPECT_NE(why_no_counters(library, 0).find("the driver lets only administrators profile"), std::string::npos) << why_no_counters(library, 0);
}

TEST_F(Counters, SamplesComeInOrderThroughManyImages) {
  const Library library({CROSSOVER_FAKE_CUPTI});
  CounterSampler sampler(library, 0);
  for (std::uint64_t i = 0; i < 10'000; ++i) counters->sample(0, kBegin + 100 * i, kBegin + 100 * (i + 1), static_cast<double>(i), 1, 200);
  const CounterSamples samples = sampler.stop();
  EXPECT_EQ(samples.trouble, "");
  EXPECT_EQ(samples.chip, "GH100");
  EXPECT_EQ(samples.malformed, 0);
  EXPECT_FALSE(samples.overflow);
  ASSERT_EQ(samples.samples.size(), 10'000u);
  for (std::size_t i = 0; i < 10'000; ++i) ASSERT_EQ(samples.samples[i].read_bytes, static_cast<double>(i));
  EXPECT_EQ(samples.samples[9'999].end_ns, kBegin + 1'000'000);
}

TEST_F(Counters, WhatMakesNoSenseIsLeftOut) {
  const Library library({CROSSOVER_FAKE_CUPTI});
  CounterSampler sampler(library, 0);
  counters->sample(0, 7, kBegin, 1, 1, 1);                              // began long before it was asked for
  counters->sample(0, kBegin, kBegin + 10, 1, 2, 3);
  counters->sample(0, kBegin + 5, kBegin + 15, 1, 1, 1);                // overlaps the one before
  counters->sample(0, kBegin + 20, kBegin + 20, 1, 1, 1);               // has no length
  counters->sample(0, kBegin + 20, kBegin + 30, kNotANumber, 1, 1);
  counters->sample(0, kBegin + 30, kBegin + 40, 1, -1, 1);
  counters->sample(0, kBegin + 40, kBegin + 50, 4, 5, kNotANumber);     // without a peak
  const CounterSamples samples = sampler.stop();
  EXPECT_EQ(samples.malformed, 5);
  ASSERT_EQ(samples.samples.size(), 2u);
  EXPECT_EQ(samples.samples[0].peak_bytes, 3);
  EXPECT_EQ(samples.samples[1].read_bytes, 4);
  EXPECT_EQ(samples.samples[1].peak_bytes, 0);
}

TEST_F(Counters, SamplesOfAnotherClockAreNotPlaced) {
  const Library library({CROSSOVER_FAKE_CUPTI});
  CounterSampler sampler(library, 0);
  for (std::uint64_t i = 0; i < 10; ++i) counters->sample(0, 100 * i, 100 * (i + 1), 1, 1, 1);
  const CounterSamples samples = sampler.stop();
  EXPECT_TRUE(samples.samples.empty());
  EXPECT_NE(samples.trouble.find("not of the clock that kernels have"), std::string::npos) << samples.trouble;
}

TEST_F(Counters, AFullBufferAndAFailureAreTold) {
  const Library library({CROSSOVER_FAKE_CUPTI});
  {
    CounterSampler sampler(library, 0);
    counters->sample(0, kBegin, kBegin + 10, 1, 1, 1);
    counters->overflow();
    const CounterSamples samples = sampler.stop();
    EXPECT_TRUE(samples.overflow);
    EXPECT_EQ(samples.samples.size(), 1u);
    EXPECT_EQ(counter_flags({traffic_of({}, samples)}).at(0), "trace: counters of GPU 0: samples were lost, the hardware's buffer was full");
  }
  CounterSampler sampler(library, 0);
  counters->answer("cuptiPmSamplingDecodeData", kOutOfMemory);
  const CounterSamples full = sampler.stop();
  EXPECT_TRUE(full.overflow);
  EXPECT_NE(full.trouble.find("cuptiPmSamplingDecodeData"), std::string::npos) << full.trouble;
}

TEST_F(Counters, ASampleThatCannotBeReadEndsThemAndKeepsThoseBefore) {
  const Library library({CROSSOVER_FAKE_CUPTI});
  for (const char* function : {"cuptiPmSamplingGetCounterDataInfo", "cuptiPmSamplingCounterDataGetSampleInfo", "cuptiProfilerHostEvaluateToGpuValues"}) {
    counters->reset();
    CounterSampler sampler(library, 0);
    counters->answer(function, 999);
    counters->sample(0, kBegin, kBegin + 10, 1, 1, 1);
    const CounterSamples samples = sampler.stop();
    EXPECT_TRUE(samples.samples.empty());
    EXPECT_NE(samples.trouble.find(function), std::string::npos) << samples.trouble;
  }
}

TEST_F(Counters, WithoutAPeakWhereThatTakesAnotherPass) {
  const Library library({CROSSOVER_FAKE_CUPTI});
  counters->count_in(2, 1);
  {
    CounterSampler sampler(library, 0);
    counters->sample(0, kBegin, kBegin + 10, 1, 2, 3);
    const CounterSamples samples = sampler.stop();
    ASSERT_EQ(samples.samples.size(), 1u);
    EXPECT_EQ(samples.samples[0].peak_bytes, 0);
  }
  counters->count_in(3, 2);
  EXPECT_NE(refusal(library).find("in 3 passes; sampling has one"), std::string::npos) << refusal(library);
  EXPECT_EQ(counters->held(), 0u);
}

TEST_F(Counters, AreTriggeredByClocksWhereAChipKnowsNoOther) {
  const Library library({CROSSOVER_FAKE_CUPTI});
  EXPECT_EQ(refusal(library), "");
  EXPECT_EQ(counters->trigger(), kEveryNanoseconds);
  counters->be("GA100");
  EXPECT_EQ(refusal(library), "");
  EXPECT_EQ(counters->trigger(), kEveryClocks);
}

TEST_F(Counters, BeforeCuda13TheSamplerStaysToTheEndOfTheProcess) {
  fake->version = 26;
  const Library library({CROSSOVER_FAKE_CUPTI});
  EXPECT_EQ(refusal(library), "");
  EXPECT_EQ(counters->held(), 1u);
  EXPECT_NE(refusal(library).find("cuptiPmSamplingEnable"), std::string::npos);  // and another one is refused
}

TEST_F(Counters, OfSeveralDevicesAreApartAndOneThatRefusesLeavesTheOthers) {
  const Library library({CROSSOVER_FAKE_CUPTI});
  {
    const CounterSamplers both = sample_counters(library, {0, 1});
    EXPECT_EQ(both.why, "");
    counters->sample(0, kBegin, kBegin + 10, 1, 0, 0);
    counters->sample(1, kBegin, kBegin + 10, 2, 0, 0);
    ASSERT_EQ(both.of_devices.size(), 2u);
    for (int device : {0, 1}) {
      const CounterSamples samples = both.of_devices[static_cast<std::size_t>(device)]->stop();
      EXPECT_EQ(samples.device, device);
      ASSERT_EQ(samples.samples.size(), 1u);
      EXPECT_EQ(samples.samples[0].read_bytes, device + 1);
    }
  }
  const CounterSampler taken(library, 0);
  const CounterSamplers rest = sample_counters(library, {0, 1});
  EXPECT_EQ(rest.of_devices.size(), 1u);
  EXPECT_TRUE(rest.why.starts_with("GPU 0: CUPTI: cuptiPmSamplingEnable")) << rest.why;
}

// Kernels as CUPTI tells them, launched by phases; times from kBegin on.
struct Kernels {
  Activity activity;
  void run(const char* phase, std::uint64_t from_ns, std::uint64_t to_ns, std::uint32_t device = 0) {
    const auto correlation = static_cast<std::uint32_t>(activity.kernels.size() + 1);
    activity.kernels.push_back({"kernel", kBegin + from_ns, kBegin + to_ns, device, 7, correlation, {1, 1, 1}, {1, 1, 1}, 0, 0, 0, 0});
    if (!phase) return;
    activity.ids[correlation] = activity.phases.size();
    activity.phases.emplace_back(phase);
  }
};

CounterSample sampled(std::uint64_t from_ns, std::uint64_t to_ns, double read_bytes, double written_bytes = 0, double peak_bytes = 0) {
  return {kBegin + from_ns, kBegin + to_ns, read_bytes, written_bytes, peak_bytes};
}

CounterSamples of_device(int device, std::vector<CounterSample> samples) {
  CounterSamples all;
  all.device = device, all.samples = std::move(samples);
  return all;
}

const PhaseTraffic& phase(const DeviceTraffic& traffic, const std::string& name) {
  for (const PhaseTraffic& one : traffic.phases)
    if (one.name == name) return one;
  throw std::runtime_error("no phase " + name);
}

TEST(Traffic, BytesBelongToThePhaseThatRan) {
  Kernels kernels;
  kernels.run("mlp", 0, 1000);
  kernels.run("norm", 1000, 2000);
  kernels.run("mlp", 2000, 3000);
  const DeviceTraffic traffic = traffic_of(
      kernels.activity, of_device(0, {sampled(0, 1000, 500, 50, 1000), sampled(1000, 2000, 100, 100, 1000), sampled(2000, 3000, 300, 30, 1000)}));
  const PhaseTraffic &mlp = phase(traffic, "mlp"), &norm = phase(traffic, "norm");
  EXPECT_EQ(mlp.launches, 2);
  EXPECT_DOUBLE_EQ(mlp.read_bytes, 800);
  EXPECT_DOUBLE_EQ(mlp.written_bytes, 80);
  EXPECT_DOUBLE_EQ(mlp.peak_bytes, 2000);
  EXPECT_DOUBLE_EQ(mlp.divided_bytes, 0);
  EXPECT_NEAR(mlp.busy_s, 2e-6, 1e-15);
  EXPECT_NEAR(mlp.sampled_s, 2e-6, 1e-15);
  EXPECT_DOUBLE_EQ(norm.read_bytes, 100);
  EXPECT_DOUBLE_EQ(traffic.read_bytes, 900);
  EXPECT_DOUBLE_EQ(traffic.idle_bytes, 0);
}

TEST(Traffic, ASampleAcrossABoundaryIsDividedByTime) {
  Kernels kernels;
  kernels.run("mlp", 0, 1300);
  kernels.run("norm", 1300, 2000);
  const DeviceTraffic traffic = traffic_of(kernels.activity, of_device(0, {sampled(0, 1000, 500), sampled(1000, 2000, 1000, 100)}));
  EXPECT_NEAR(phase(traffic, "mlp").read_bytes, 500 + 300, 1e-9);
  EXPECT_NEAR(phase(traffic, "mlp").written_bytes, 30, 1e-9);
  EXPECT_NEAR(phase(traffic, "mlp").divided_bytes, 330, 1e-9);
  EXPECT_NEAR(phase(traffic, "norm").read_bytes, 700, 1e-9);
  EXPECT_NEAR(phase(traffic, "norm").divided_bytes, 770, 1e-9);
}

TEST(Traffic, AnIdlePartOfASampleMovesNothing) {
  Kernels kernels;
  kernels.run("mlp", 100, 300);
  kernels.run("mlp", 500, 700);
  const DeviceTraffic traffic = traffic_of(kernels.activity, of_device(0, {sampled(0, 1000, 800, 0, 1000), sampled(1000, 2000, 8)}));
  EXPECT_DOUBLE_EQ(phase(traffic, "mlp").read_bytes, 800);
  EXPECT_NEAR(phase(traffic, "mlp").sampled_s, 4e-7, 1e-15);
  EXPECT_NEAR(phase(traffic, "mlp").peak_bytes, 400, 1e-9);  // of the time that it ran
  EXPECT_DOUBLE_EQ(traffic.idle_bytes, 8);
}

TEST(Traffic, WhatRunsAtOnceSharesAndOnePhaseTwiceIsOne) {
  Kernels kernels;
  kernels.run("mlp", 0, 1000);
  kernels.run("mlp", 0, 1000);  // on another stream
  kernels.run("copy", 500, 1000);
  const DeviceTraffic traffic = traffic_of(kernels.activity, of_device(0, {sampled(0, 1000, 1000)}));
  EXPECT_NEAR(phase(traffic, "mlp").busy_s, 1e-6, 1e-15);
  EXPECT_NEAR(phase(traffic, "mlp").read_bytes, 750, 1e-9);
  EXPECT_NEAR(phase(traffic, "copy").read_bytes, 250, 1e-9);
  EXPECT_NEAR(phase(traffic, "copy").sampled_s, 5e-7, 1e-15);
}

TEST(Traffic, LostSamplesAreTimeUnseenAndNotBandwidth) {
  Kernels kernels;
  kernels.run("mlp", 0, 4000);
  const DeviceTraffic traffic = traffic_of(kernels.activity, of_device(0, {sampled(0, 1000, 500), sampled(3500, 4500, 250)}));
  const json out = counters_json({traffic}, "");
  EXPECT_NEAR(out["phases"][0]["busy_s"].get<double>(), 4e-6, 1e-15);
  EXPECT_NEAR(out["phases"][0]["sampled_s"].get<double>(), 1.5e-6, 1e-15);
  EXPECT_NEAR(out["phases"][0]["bytes_per_s"].get<double>(), 5e8, 1);
  EXPECT_FALSE(out["phases"][0].contains("of_peak_percent"));  // which was not told
  EXPECT_EQ(counter_flags({traffic}).at(0), "trace: counters of GPU 0 saw 38 % of the time that its kernels ran");
}

TEST(Traffic, DevicesAndWhatNobodyAskedForAreApart) {
  Kernels kernels;
  kernels.run("mlp", 0, 1000, 0);
  kernels.run("mlp", 0, 1000, 1);
  kernels.run(nullptr, 1000, 2000, 1);
  kernels.activity.copies.push_back({Copy::Kind::kToDevice, 64, kBegin + 2000, kBegin + 3000, 1, 99});
  const DeviceTraffic first = traffic_of(kernels.activity, of_device(0, {sampled(0, 1000, 10), sampled(1000, 2000, 90)}));
  const DeviceTraffic second = traffic_of(kernels.activity, of_device(1, {sampled(0, 1000, 20, 0, 40), sampled(1000, 3000, 30)}));
  EXPECT_DOUBLE_EQ(first.idle_bytes, 90);
  EXPECT_EQ(counter_flags({first}).at(0), "trace: counters of GPU 0: 90 % of the bytes were moved while nothing of this program ran there");
  EXPECT_TRUE(counter_flags({second}).empty());
  EXPECT_DOUBLE_EQ(phase(second, "none").read_bytes, 30);
  EXPECT_EQ(phase(second, "none").launches, 1);
  const json out = counters_json({first, second}, "GPU 2: refused");
  EXPECT_EQ(out["why"], "GPU 2: refused");
  EXPECT_EQ(out["metrics"][0], "dram__bytes_read.sum");
  ASSERT_EQ(out["phases"].size(), 3u);
  EXPECT_EQ(out["phases"][1]["device"], 1);
  EXPECT_NEAR(out["phases"][1]["of_peak_percent"].get<double>(), 50, 1e-9);
  EXPECT_DOUBLE_EQ(out["devices"][1]["read_bytes"].get<double>(), 50);
  EXPECT_EQ(counters_json({}, "no counters here"), json({{"why", "no counters here"}}));
}

TEST(Traffic, ClocksThatDifferShowWhereBytesBegin) {
  const auto lag_flag = [](std::uint64_t kernel_ns, std::uint64_t bytes_ns) {
    Kernels kernels;
    kernels.run("mlp", kernel_ns, kernel_ns + 10'000'000);
    std::vector<CounterSample> samples;
    for (std::uint64_t at = 0; at < 30'000'000; at += 20'000)
      samples.push_back(sampled(at, at + 20'000, at < bytes_ns || at >= bytes_ns + 10'000'000 ? 1 : 1000));
    const DeviceTraffic traffic = traffic_of(kernels.activity, of_device(0, samples));
    for (const std::string& flag : counter_flags({traffic}))
      if (flag.find("their clocks may differ") != std::string::npos) return flag;
    return std::string();
  };
  EXPECT_EQ(lag_flag(5'000'000, 5'000'000), "");
  EXPECT_EQ(lag_flag(5'010'000, 5'000'000), "");  // begins within the sample
  EXPECT_EQ(lag_flag(5'000'000, 5'500'000), "");
  EXPECT_NE(lag_flag(5'000'000, 8'000'000).find("3.0 ms after its first kernel"), std::string::npos);
  EXPECT_NE(lag_flag(9'000'000, 5'000'000).find("4.0 ms before its first kernel"), std::string::npos) << lag_flag(9'000'000, 5'000'000);
}

TEST(Traffic, KernelsWithoutTimesAndSamplesWithoutKernelsAreHarmless) {
  Kernels kernels;
  kernels.run("mlp", 0, 1000);
  kernels.activity.kernels[0].start_ns = kernels.activity.kernels[0].end_ns = 0;
  const DeviceTraffic traffic = traffic_of(kernels.activity, of_device(0, {sampled(0, 1000, 10)}));
  EXPECT_EQ(phase(traffic, "mlp").launches, 1);
  EXPECT_EQ(phase(traffic, "mlp").busy_s, 0);
  EXPECT_DOUBLE_EQ(traffic.idle_bytes, 10);
  const json out = counters_json({traffic}, "");
  EXPECT_FALSE(out["phases"][0].contains("read_bytes"));  // absent is absent
  EXPECT_TRUE(traffic_of({}, {}).phases.empty());
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // they refuse how CUPTI opens libnvperf_host.so (RTLD_DEEPBIND)
// CUPTI's own library knows our metrics on the chips that we run on, each time in one pass; that needs no GPU.
TEST(CuptiItself, CountsOurMetricsInOnePass) {
  const Library library;
  if (!library.found() || !library.counters()) GTEST_SKIP() << "no CUPTI with counters here";
  const CounterApi& api = *library.counters();
  const std::vector<std::string> names = counter_metrics();
  std::vector<const char*> metrics;
  for (const std::string& name : names) metrics.push_back(name.c_str());
  for (const char* chip : {"GA100", "GA102", "AD102", "GH100"}) {
    HostParameters host;
    host.chip = chip;
    if (api.begin_host(&host) != kSuccess) GTEST_SKIP() << "no libnvperf_host.so that knows " << chip;
    AddMetricsParameters add;
    add.host = host.host, add.metrics = metrics.data(), add.count = metrics.size();
    EXPECT_EQ(api.add_metrics(&add), kSuccess) << chip;
    ConfigBytesParameters bytes;
    bytes.host = host.host;
    ASSERT_EQ(api.get_config_bytes(&bytes), kSuccess) << chip;
    std::vector<std::uint8_t> image(bytes.bytes);
    ConfigParameters config;
    config.host = host.host, config.bytes = image.size(), config.config = image.data();
    ASSERT_EQ(api.get_config(&config), kSuccess) << chip;
    PassesParameters passes;
    passes.bytes = image.size(), passes.config = image.data();
    ASSERT_EQ(api.get_passes(&passes), kSuccess) << chip;
    EXPECT_EQ(passes.passes, 1u) << chip;
    EndHostParameters end;
    end.host = host.host;
    EXPECT_EQ(api.end_host(&end), kSuccess) << chip;
  }
}
#endif

}  // namespace
}  // namespace crossover::cupti
