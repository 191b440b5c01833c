// NCCL itself on real GPUs: as many ranks as there are GPUs, one included. Its failures are tested against a fake (engine/tests/nccl).
#include <gtest/gtest.h>

#include "engine/nccl/communicator.h"
#include "engine/ranks.h"
#include "engine/tests/reference_model.h"
#include "kernels/cuda/runtime.h"

namespace crossover::test {
namespace {

class CudaNccl : public testing::Test {
 protected:
  void SetUp() override {
    std::string why;
    gpus_ = cuda::device_count(&why);
    if (gpus_ == 0) GTEST_SKIP() << why;
    try {
      library_ = std::make_shared<nccl::Library>();
    } catch (const std::runtime_error& error) {
      GTEST_SKIP() << error.what();
    }
  }

  int gpus_ = 0;
  std::shared_ptr<const nccl::Library> library_;
};

TEST_F(CudaNccl, SumsOverTheGpusThereAre) {
  constexpr std::int64_t kValues = 5121;
  std::vector<std::unique_ptr<cuda::Device>> devices;
  for (int r = 0; r < gpus_; ++r) devices.push_back(std::make_unique<cuda::Device>(r));
  nccl::Communicator comm(library_, gpus_, 60);
  RankGroup group(gpus_);
  group.on_failure([&] { comm.abort("a rank failed"); });
  group.run([&](int r) {
    cuda::Device& device = *devices[static_cast<std::size_t>(r)];
    device.make_current();
    ThreadPool pool(1);
    Workspace workspace(memory_of(cuda_ops()));
    Counters counters;
    Context ctx{cuda_ops(), pool, workspace, counters, nullptr, nullptr, &device};
    comm.connect(ctx, r, nccl::ReduceType::kF32);
    for (const nccl::ReduceType type : {nccl::ReduceType::kF32, nccl::ReduceType::kBf16}) {
      std::vector<float> values(kValues, static_cast<float>(r + 1));  // whole numbers: exact in both types
      float* const data = workspace.floats("part", values.size());
      device.upload(reinterpret_cast<std::byte*>(data), reinterpret_cast<const std::byte*>(values.data()), values.size() * sizeof(float));
      comm.all_reduce(ctx, r, data, kValues, type);
      device.download(reinterpret_cast<std::byte*>(values.data()), reinterpret_cast<const std::byte*>(data), values.size() * sizeof(float));
      comm.check();
      EXPECT_EQ(values, std::vector<float>(kValues, static_cast<float>(gpus_ * (gpus_ + 1) / 2))) << name(type);
    }
  });
}

TEST_F(CudaNccl, TwoRanksGiveTheLogitsOfTheLocalWay) {
  if (gpus_ < 2) GTEST_SKIP() << "one GPU";
  for (const ReferenceModel& model : reference_models()) {
    EngineOptions options = options_for(model);
    options.backend = "cuda", options.ranks = 2;
    Engine engine(options);
    const std::vector<float> found = run_logits(engine, model.prompt, {});
    EXPECT_EQ(engine.counters().paths.at("comm"), "nccl");
    options.knobs.set("CROSSOVER_COMM", "local", "test");
    Engine local(options);
    // A sum of two has one order.
    EXPECT_EQ(found, run_logits(local, model.prompt, {})) << model.name;
  }
}

}  // namespace
}  // namespace crossover::test
