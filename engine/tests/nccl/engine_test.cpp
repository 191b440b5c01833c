// The whole engine on two emulated GPUs whose sums a fake NCCL makes.
#include "engine/engine.h"

#include "engine/tests/nccl/fake_library.h"
#include "engine/tests/reference_model.h"
#include "kernels/cuda/emulator/machine.h"

namespace crossover::nccl::test {
namespace {

using crossover::test::ReferenceModel;

class NcclEngine : public FakeNccl {
 protected:
  NcclEngine() { cuda::emulated::set_device_count(2); }
  ~NcclEngine() override { cuda::emulated::set_device_count(1); }

  static const ReferenceModel& model() { return crossover::test::reference_models().front(); }

  static EngineOptions options(const std::map<std::string, std::string>& knobs) {
    EngineOptions options = crossover::test::options_for(model());
    options.backend = "cuda", options.ranks = 2, options.rehearses = false, options.nccl_library = CROSSOVER_NCCL_FAKE;
    for (const auto& [name, value] : knobs) options.knobs.set(name, value, "test");
    return options;
  }
  static std::vector<std::int32_t> few() { return {model().prompt.begin(), model().prompt.begin() + 2}; }  // emulation is slow
  static std::vector<float> logits(Engine& engine) {
    return crossover::test::run_logits(engine, few(), {model().greedy.front()});
  }
  static std::string path(const Engine& engine, const char* part) {
    const Counters counters = engine.counters();
    const auto it = counters.paths.find(part);
    return it == counters.paths.end() ? "none" : it->second;
  }
};

// The fake adds in rank order as the local communicator does: the same bits.
TEST_F(NcclEngine, GivesTheLogitsOfTheLocalWay) {
  Engine local(options({{"CROSSOVER_COMM", "local"}}));
  const std::vector<float> expected = logits(local);
  EXPECT_EQ(path(local, "comm"), "local-staged (2 ranks on 2 GPUs)");
  EXPECT_EQ(fake().joined, 0);
  Engine nccl(options({}));
  EXPECT_EQ(logits(nccl), expected);
  EXPECT_EQ(path(nccl, "comm"), "nccl");
  EXPECT_EQ(path(nccl, "comm.type"), "f32");
  EXPECT_EQ(path(nccl, "decode"), "graph");  // of the launches between two sums
  EXPECT_EQ(fake().joined, 2);
  // Per pass, of the prompt and of a token, the embedding and two sums a layer; before them the ones.
  EXPECT_EQ(fake().f32_sums, 1 + 2 * (1 + 2 * nccl.config().layers));
  EXPECT_EQ(nccl.counters().counts.at("launches.all_reduce"), 2 * fake().f32_sums);
}

TEST_F(NcclEngine, JoiningIsAPhaseOfTheLoad) {
  const Engine engine(options({}));
  for (const RankPhases& rank : engine.load_report().ranks) {
    bool joined = false;
    for (const PhaseShare& phase : rank.phases) joined |= phase.name == "comm_init" && phase.share_s > 0;
    EXPECT_TRUE(joined) << rank.rank;
  }
}

TEST_F(NcclEngine, RoundsAllButTheEmbeddingToBf16WhenAskedTo) {
  Engine exact(options({}));
  const std::vector<float> expected = logits(exact);
  const int before = fake().f32_sums;
  Engine rounded(options({{"CROSSOVER_REDUCE_TYPE", "bf16"}}));
  const std::vector<float> found = logits(rounded);
  EXPECT_EQ(path(rounded, "comm.type"), "bf16");
  EXPECT_NE(found, expected);
  // A rounding is off by 2^-9 of a value at most; a layer's two sums round both parts and the sum: some 1e-5 of its square.
  EXPECT_LE(crossover::test::median_row_nmse(found.data(), expected, rounded.config().vocab), 1e-3);
  EXPECT_EQ(fake().f32_sums - before, 2);
  EXPECT_EQ(fake().bf16_sums, 1 + 2 * 2 * rounded.config().layers);
}

TEST_F(NcclEngine, AMissingLibraryIsTheLocalWayUnlessItWasAskedFor) {
  EngineOptions free = options({});
  free.nccl_library = "libnccl_that_is_not_here.so.2";
  EXPECT_EQ(path(Engine(free), "comm"), "local-staged (2 ranks on 2 GPUs, NCCL was not found)");
  free.knobs.set("CROSSOVER_COMM", "nccl", "test");
  EXPECT_NE(message_of([&] { Engine engine(free); }).find("libnccl_that_is_not_here.so.2 could not be loaded"), std::string::npos);
}

TEST_F(NcclEngine, OneGpuIsSharedByVirtualRanks) {
  cuda::emulated::set_device_count(1);
  EXPECT_EQ(path(Engine(options({})), "comm"), "local-staged (2 virtual ranks on one GPU)");
  EXPECT_NE(message_of([&] { Engine engine(options({{"CROSSOVER_COMM", "nccl"}})); }).find("2 ranks, 1 GPU found"), std::string::npos);
}

TEST_F(NcclEngine, AWrongSumEndsTheLoad) {
  fake().error_in_sum = 1;
  EXPECT_NE(message_of([&] { Engine engine(options({})); }).find("got 3 as the sum of a one from every rank, 2 is right"), std::string::npos);
}

TEST_F(NcclEngine, AWedgedSumEndsThePassAndANewEngineWorks) {
  std::string message;
  for (const char* limit_s : {"1", "5", "50"}) {  // a busy machine may need longer to get there
    fake().wedged_rank = 1, fake().wedged_from = 4;
    message = message_of([&] {
      Engine engine(options({{"CROSSOVER_COMM_LIMIT_S", limit_s}}));
      const std::string first = message_of([&] { engine.feed(few()); });
      EXPECT_NE(message_of([&] { engine.feed(few()); }).find("an earlier pass failed"), std::string::npos);
      engine.reset();
      EXPECT_EQ(message_of([&] { engine.feed(few()); }), first);
      throw std::runtime_error(first);
    });
    if (message.find("all-reduce 4") != std::string::npos) break;
  }
  EXPECT_NE(message.find("all-reduce 4 of "), std::string::npos) << message;
  EXPECT_NE(message.find("has waited "), std::string::npos) << message;
  fake().wedged_rank = -1;
  Engine again(options({}));
  EXPECT_FALSE(again.feed(few()).empty());
}

}  // namespace
}  // namespace crossover::nccl::test
