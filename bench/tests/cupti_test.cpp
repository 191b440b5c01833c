// CUPTI without a GPU: a library that delivers records of ours through the same callbacks (bench/tests/fake_cupti).
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "bench/profile/activity.h"
#include "bench/profile/activity_json.h"
#include "bench/profile/cupti_library.h"
#include "bench/tests/fake_cupti/fake_cupti.h"

namespace crossover::cupti {
namespace {

using test::FakeCupti;

constexpr const char* kNorm = "_ZN9crossover4cuda12_GLOBAL__N_18rms_normILi4EEEvPKf";

struct Cupti : testing::Test {
  void SetUp() override {
    void* const library = dlopen(CROSSOVER_FAKE_CUPTI, RTLD_NOW);
    ASSERT_NE(library, nullptr) << dlerror();
    fake = reinterpret_cast<test::GetFakeCupti>(dlsym(library, "fake_cupti"))();
    fake->reset();
  }
  const std::vector<std::string> names{CROSSOVER_FAKE_CUPTI};
  FakeCupti* fake = nullptr;
};

TEST_F(Cupti, IsFoundAmongNamesThatAreNotThere) {
  const Library library({"libcupti.so.of.nobody", CROSSOVER_FAKE_CUPTI});
  ASSERT_TRUE(library.found()) << library.why();
  EXPECT_EQ(library.path(), CROSSOVER_FAKE_CUPTI);
  EXPECT_EQ(library.version(), 130001u);
  EXPECT_EQ(library.refusal(), "");
  EXPECT_TRUE(fake->enabled().empty());  // trying leaves nothing on
}

TEST_F(Cupti, AbsentOldOrForeignLibrariesAreNamed) {
  const Library none({"libcupti.so.of.nobody"});
  EXPECT_FALSE(none.found());
  EXPECT_NE(none.why().find("no libcupti was found"), std::string::npos) << none.why();
  const Library foreign({"libcupti.so.of.nobody", "libm.so.6"});
  EXPECT_FALSE(foreign.found());
  EXPECT_NE(foreign.why().find("libm.so.6 has no function cuptiGetVersion"), std::string::npos) << foreign.why();
  fake->version = 17;
  const Library old(names);
  EXPECT_FALSE(old.found());
  EXPECT_NE(old.why().find("is of version 17; 18 or newer (CUDA 12) is needed"), std::string::npos) << old.why();
}

TEST_F(Cupti, ANewerVersionIsUsed) {
  fake->version = 150000, fake->record_bytes = 1000;
  const Library library(names);
  ASSERT_TRUE(library.found());
  Recorder recorder(library);
  recorder.start();
  fake->launch(kNorm, 10, 20);
  fake->overhead(1 << 20, 1, 2);  // a kind of overhead without a name here
  EXPECT_EQ(recorder.stop().kernels.size(), 1u);
}

TEST_F(Cupti, TheDriversRefusalIsToldInWords) {
  fake->enable_result = kInsufficientPrivileges;
  const Library library(names);
  ASSERT_TRUE(library.found());
  EXPECT_NE(library.refusal().find("CUPTI_ERROR_INSUFFICIENT_PRIVILEGES (35); the driver lets only administrators profile"), std::string::npos) << library.refusal();
  Recorder recorder(library);
  try {
    recorder.start();
    FAIL();
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("CUPTI_ERROR_INSUFFICIENT_PRIVILEGES"), std::string::npos) << error.what();
  }
  fake->enable_result = 0;
  recorder.start();  // the refusal left nothing behind
  EXPECT_TRUE(recorder.stop().kernels.empty());
}

TEST_F(Cupti, KernelsBelongToThePhaseThatLaunchedThem) {
  const Library library(names);
  Recorder recorder(library);
  Trace trace;
  trace.set_listener(&recorder);
  recorder.start();
  {
    const Range layer(&trace, "mlp");
    fake->launch("gemm", 1000, 3000);
    {
      const Range inner(&trace, "norm");
      fake->launch(kNorm, 3000, 3500);
      fake->copy(1, 4096, 3500, 4500);
    }
    fake->launch("gemm", 5000, 9000);
  }
  fake->launch("loose", 9000, 9100);
  trace.set_listener(nullptr);
  const Activity activity = recorder.stop();
  ASSERT_EQ(activity.kernels.size(), 4u);
  EXPECT_EQ(*activity.phase_of(activity.kernels[0].correlation), "mlp");
  EXPECT_EQ(*activity.phase_of(activity.kernels[1].correlation), "norm");
  EXPECT_EQ(*activity.phase_of(activity.kernels[2].correlation), "mlp");
  EXPECT_EQ(activity.phase_of(activity.kernels[3].correlation), nullptr);
  EXPECT_EQ(*activity.phase_of(activity.copies.at(0).correlation), "norm");
  EXPECT_EQ(activity.kernels[0].grid, (std::array<std::int32_t, 3>{132, 1, 1}));
  EXPECT_EQ(activity.kernels[0].registers, 40);
  EXPECT_EQ(activity.kernels[0].dynamic_shared_bytes, 65536);
  EXPECT_TRUE(fake->enabled().empty());

  const nlohmann::json json = activity_json(activity, 4, activity.seconds(500));
  EXPECT_EQ(json["launches"], nlohmann::json({{"engine", 4}, {"cupti", 4}}));
  EXPECT_EQ(json["kernels"][0]["name"], "gemm");  // took longest
  EXPECT_EQ(json["kernels"][0]["phase"], "mlp");
  EXPECT_EQ(json["kernels"][0]["launches"], 2);
  EXPECT_NEAR(json["kernels"][0]["total_s"].get<double>(), 6e-6, 1e-12);
  EXPECT_EQ(json["kernels"][0]["shared_bytes"], 66560);
  EXPECT_EQ(json["copies"][0]["kind"], "to the device");
  EXPECT_NEAR(json["copies"][0]["bytes_per_s"].get<double>(), 4096e6, 1);
  ASSERT_EQ(json["rows"].size(), 2u);
  EXPECT_EQ(json["rows"][1]["name"], "GPU 0 kernels, stream 7");
  EXPECT_EQ(json["rows"][1]["spans"][0][0], "gemm");
  EXPECT_EQ(json["rows"][1]["spans"][0][3], "mlp");
  EXPECT_NEAR(json["rows"][1]["spans"][0][2].get<double>() - json["rows"][1]["spans"][0][1].get<double>(), 2e-6, 2e-8);
  EXPECT_EQ(kernel_path(activity), "gemm+loose+rms_norm<4>");
}

TEST_F(Cupti, ManyBuffersAndDroppedRecordsAreCounted) {
  const Library library(names);
  Recorder recorder(library);
  recorder.start();
  for (std::uint64_t i = 0; i < 10'000; ++i) fake->launch("many", i, i + 1);  // 2.5 MB in buffers of 1 MiB
  fake->dropped = 12;
  const Activity activity = recorder.stop();
  EXPECT_EQ(activity.kernels.size(), 10'000u);
  EXPECT_EQ(activity.dropped, 12);
  EXPECT_EQ(activity.malformed, 0);
  recorder.start();
  EXPECT_TRUE(recorder.stop().kernels.empty());  // begins afresh
}

TEST_F(Cupti, OneRecordingAtATime) {
  const Library library(names);
  Recorder first(library), second(library);
  first.start();
  EXPECT_THROW(second.start(), std::runtime_error);
  (void)first.stop();
  second.start();
  (void)second.stop();
}

// Buffers that hold whatever a driver of another version, or a broken one, may put there. get_next_record walks in steps of `step`.
std::size_t step = 0;
Result walk(std::uint8_t* buffer, std::size_t valid, void** record) {
  const std::size_t next = *record ? static_cast<std::size_t>(static_cast<std::uint8_t*>(*record) - buffer) + step : 0;
  if (next >= valid) return kNoMoreRecords;
  *record = buffer + next;
  return kSuccess;
}

TEST(CuptiRecords, NoKindAndNoLengthIsReadBeyondTheBuffer) {
  Api api{};
  api.get_next_record = walk;
  for (const std::int32_t kind : {kMemcpy, kMemset, kConcurrentKernel, kOverhead, kExternalCorrelation, kRuntime, 0, -1, 1 << 30})
    for (std::size_t bytes = 1; bytes <= 160; ++bytes)
      for (const std::size_t each : {8u, 24u, 120u}) {
        if (kind == kConcurrentKernel && each < sizeof(KernelRecord)) continue;  // the next record would lie where the name's address is
        step = each;
        std::vector<std::uint8_t> buffer(bytes, 0);  // on the heap: the address sanitizer sees a byte too far
        for (std::size_t at = 0; at + sizeof(kind) <= bytes; at += each) std::memcpy(&buffer[at], &kind, sizeof(kind));
        Activity activity;
        parse_records(api, buffer.data(), bytes, activity);
        const std::size_t records = (bytes + each - 1) / each;
        EXPECT_LE(activity.kernels.size() + activity.copies.size() + activity.overheads.size() + static_cast<std::size_t>(activity.malformed), records);
      }
}

TEST(CuptiRecords, ALibraryThatGoesInCirclesOrOutsideIsLeft) {
  Api api{};
  std::vector<std::uint8_t> buffer(256, 0);
  api.get_next_record = [](std::uint8_t* at, std::size_t, void** record) -> Result { return *record = at, kSuccess; };
  Activity circle;
  parse_records(api, buffer.data(), buffer.size(), circle);
  EXPECT_EQ(circle.malformed, 1);
  api.get_next_record = [](std::uint8_t* at, std::size_t valid, void** record) -> Result { return *record = at + valid, kSuccess; };
  Activity outside;
  parse_records(api, buffer.data(), buffer.size(), outside);
  EXPECT_EQ(outside.malformed, 1);
  api.get_next_record = [](std::uint8_t*, std::size_t, void**) -> Result { return kUnknownKind; };
  Activity unknown;
  parse_records(api, buffer.data(), buffer.size(), unknown);
  EXPECT_EQ(unknown.malformed, 1);
}

TEST(CuptiRecords, AKernelThatEndsBeforeItBeganIsLeftOut) {
  Api api{};
  api.get_next_record = walk;
  KernelRecord record{};
  record.kind = kConcurrentKernel, record.start = 20, record.end = 10;
  std::vector<std::uint8_t> buffer(sizeof(record));
  std::memcpy(buffer.data(), &record, sizeof(record));
  step = sizeof(record);
  Activity activity;
  parse_records(api, buffer.data(), buffer.size(), activity);
  EXPECT_TRUE(activity.kernels.empty());
  EXPECT_EQ(activity.malformed, 1);
}

TEST(CuptiNames, AreWithoutWhatEveryKernelHas) {
  EXPECT_EQ(short_name(kNorm), "rms_norm<4>");
  EXPECT_EQ(short_name("not_mangled"), "not_mangled");
  EXPECT_EQ(short_name(""), "");
  EXPECT_EQ(short_name("_ZN5outerIXadL_Z3fooiEEE5innerEv"), "outer<&(foo(int))>::inner");
}

}  // namespace
}  // namespace crossover::cupti
