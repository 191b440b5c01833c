// What a driver tells of its GPUs.
#include "kernels/cuda/driver_facts.h"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "kernels/cuda/tests/fake_driver/fake_driver.h"

namespace crossover::cuda {
namespace {

class CudaDriverFacts : public ::testing::Test {
 protected:
  CudaDriverFacts() : loaded_(::dlopen(CROSSOVER_FAKE_DRIVER, RTLD_NOW | RTLD_LOCAL)) {
    if (!loaded_) throw std::runtime_error(::dlerror());
    fake() = {};
    fake().gpus = {{"NVIDIA H200", std::size_t{150'754'820'096}, 9, 0, 132}, {"NVIDIA L4", std::size_t{23'000'000'000}, 8, 9, 58}};
  }
  driver::FakeDriver& fake() const { return *reinterpret_cast<decltype(&crossover_fake_driver)>(::dlsym(loaded_, "crossover_fake_driver"))(); }
  static DriverFacts ask() { return ask_driver({CROSSOVER_FAKE_DRIVER, CROSSOVER_FAKE_DRIVER}); }

 private:
  void* loaded_;
};

TEST_F(CudaDriverFacts, AreToldOfEveryGpu) {
  const DriverFacts facts = ask();
  EXPECT_EQ(facts.why, "");
  EXPECT_EQ(facts.cuda, "13.0");
  EXPECT_EQ(facts.release, "580.65.06");
  ASSERT_EQ(facts.gpus.size(), 2u);
  EXPECT_EQ(facts.gpus[0].name, "NVIDIA H200");
  EXPECT_EQ(facts.gpus[0].compute_capability, 90);
  EXPECT_EQ(facts.gpus[0].memory_bytes, 150'754'820'096);
  EXPECT_EQ(facts.gpus[0].multiprocessors, 132);
  EXPECT_EQ(facts.gpus[1].name, "NVIDIA L4");
  EXPECT_EQ(facts.gpus[1].compute_capability, 89);
  EXPECT_EQ(fake().management_open, 0);
}

TEST_F(CudaDriverFacts, NoGpuIsSaidInOneLine) {
  fake().on_init = 100;
  DriverFacts facts = ask();
  EXPECT_EQ(facts.why, "cuInit: no CUDA-capable device is detected (100)");
  EXPECT_TRUE(facts.gpus.empty());
  EXPECT_EQ(facts.release, "580.65.06");
  fake().on_init = 0, fake().gpus.clear();
  facts = ask();
  EXPECT_EQ(facts.why, "the NVIDIA driver shows no GPU");
  EXPECT_EQ(facts.cuda, "13.0");
}

TEST_F(CudaDriverFacts, HalfAnAnswerIsNone) {
  fake().on_name = 7;
  const DriverFacts facts = ask();
  EXPECT_EQ(facts.why, "cuDeviceGetName: an error without a name (7)");
  EXPECT_TRUE(facts.gpus.empty());
}

TEST_F(CudaDriverFacts, LibrariesMayBeAbsentOrForeign) {
  EXPECT_EQ(ask_driver({"libcuda.so.of.nobody", CROSSOVER_FAKE_DRIVER}).why, "no NVIDIA driver: libcuda.so.of.nobody was not found");
  EXPECT_EQ(ask_driver({"libm.so.6", CROSSOVER_FAKE_DRIVER}).why, "libm.so.6 has no function cuInit");
  EXPECT_EQ(ask_driver({CROSSOVER_FAKE_DRIVER, "libnvidia-ml.so.of.nobody"}).release, "");
  EXPECT_EQ(ask_driver({CROSSOVER_FAKE_DRIVER, "libnvidia-ml.so.of.nobody"}).gpus.size(), 2u);
  EXPECT_EQ(ask_driver({CROSSOVER_FAKE_DRIVER, "libm.so.6"}).release, "");
  fake().on_management = 9;
  EXPECT_EQ(ask().release, "");
}

}  // namespace
}  // namespace crossover::cuda
