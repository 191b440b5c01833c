// A traced sample of the engine on two emulated GPUs, with a CUPTI of the tests: what of it comes into the result.
#include "bench/profile/gpu_trace.h"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "bench/tests/fake_cupti/fake_cupti.h"
#include "engine/checkpoint/synth.h"
#include "engine/tests/temp_folder.h"
#include "kernels/cuda/emulator/machine.h"

namespace crossover {
namespace {

using nlohmann::json;

constexpr std::uint64_t kBegin = 5'000'000'000;

class GpuTraces : public test::FolderTest {
 protected:
  void SetUp() override {
    cuda::emulated::set_device_count(2);
    void* const opened = dlopen(CROSSOVER_FAKE_CUPTI, RTLD_NOW);
    ASSERT_NE(opened, nullptr) << dlerror();
    fake = reinterpret_cast<test::GetFakeCupti>(dlsym(opened, "fake_cupti"))();
    counters = reinterpret_cast<test::GetFakeCounters>(dlsym(opened, "fake_counters"))();
    fake->reset(), counters->reset();
    SynthOptions synth;
    synth.preset = "tiny-dense";
    write_synth(synth, folder_ / "model");
    EngineOptions options;
    options.model = folder_ / "model", options.capacity_tokens = 64, options.backend = "cuda", options.ranks = 2;
    options.knobs.set("CROSSOVER_COMM", "local", "test");
    engine.emplace(options);
  }
  void TearDown() override {
    engine.reset();
    cuda::emulated::set_device_count(1);
  }

  // What the fake says of one pass: on each GPU a kernel of 40 us, which no phase asked for, and two samples.
  Sample traced(const std::string& library, bool with_counters = true) {
    GpuTrace trace({library});
    trace.begin(*engine, with_counters);
    const std::vector<std::int32_t> token{3};
    engine->feed(token);
    for (std::uint32_t gpu : {0, 1}) {
      fake->launch("gemm", kBegin, kBegin + 40'000, gpu);
      for (std::uint64_t at : {0, 20'000}) counters->sample(gpu, kBegin + at, kBegin + at + 20'000, 6e4 * (gpu + 1), 2e4, 16e4);
    }
    Sample sample;
    trace.end(*engine, sample);
    return sample;
  }

  test::FakeCupti* fake = nullptr;
  test::FakeCounters* counters = nullptr;
  std::optional<Engine> engine;
};

TEST_F(GpuTraces, HaveTheBytesOfEveryGpu) {
  EXPECT_EQ(engine->gpus(), (std::vector<int>{0, 1}));
  const Sample sample = traced(CROSSOVER_FAKE_CUPTI);
  const json trace = json::parse(sample.trace);
  EXPECT_EQ(trace["source"], "cupti");
  EXPECT_EQ(trace["launches"]["cupti"], 2);
  const json& out = trace["counters"];
  EXPECT_FALSE(out.contains("why")) << out;
  ASSERT_EQ(out["devices"].size(), 2u);
  ASSERT_EQ(out["phases"].size(), 2u);
  EXPECT_EQ(out["phases"][1]["device"], 1);
  EXPECT_NEAR(out["phases"][1]["read_bytes"].get<double>(), 24e4, 1e-6);
  EXPECT_NEAR(out["phases"][1]["bytes_per_s"].get<double>(), 7e9, 1);
  EXPECT_NEAR(out["phases"][0]["of_peak_percent"].get<double>(), 50, 1e-9);
  EXPECT_EQ(counters->held(), 0u);
  EXPECT_TRUE(fake->enabled().empty());
}

TEST_F(GpuTraces, GoOnWithoutCounters) {
  counters->answer("cuptiPmSamplingEnable", 43);
  const json refused = json::parse(traced(CROSSOVER_FAKE_CUPTI).trace);
  EXPECT_EQ(refused["launches"]["cupti"], 2);
  EXPECT_TRUE(refused["counters"]["why"].get<std::string>().starts_with("GPU 0: CUPTI: cuptiPmSamplingEnable"));
  EXPECT_FALSE(refused["counters"].contains("phases"));
  EXPECT_EQ(counters->held(), 0u);
  const json not_asked = json::parse(traced(CROSSOVER_FAKE_CUPTI, false).trace);
  EXPECT_EQ(not_asked["counters"], json({{"why", "a sample that counted failed"}}));
  const json old = json::parse(traced(CROSSOVER_FAKE_CUPTI_OLD).trace);
  EXPECT_EQ(old["source"], "cupti");
  EXPECT_NE(old["counters"]["why"].get<std::string>().find("counters need CUPTI of CUDA 12.6 or newer"), std::string::npos);
  const json none = json::parse(traced("libcupti.so.of.nobody").trace);
  EXPECT_EQ(none["source"], "events");
  EXPECT_EQ(none["counters"]["why"], none["why"]);
}

TEST_F(GpuTraces, SayWhatWasLost) {
  counters->overflow();
  const Sample sample = traced(CROSSOVER_FAKE_CUPTI);
  const auto lost = [](const std::string& flag) { return flag.find("samples were lost") != std::string::npos; };
  EXPECT_EQ(std::count_if(sample.flags.begin(), sample.flags.end(), lost), 1);
}

}  // namespace
}  // namespace crossover
