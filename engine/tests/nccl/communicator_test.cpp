// Sums between GPUs on emulated ones, whose NCCL is a fake that misbehaves on request: every failure ends every rank with one message.
#include "engine/nccl/communicator.h"

#include <chrono>
#include <functional>
#include <thread>

#include "engine/ranks.h"
#include "engine/tests/nccl/fake_library.h"
#include "kernels/cuda/emulator/machine.h"
#include "kernels/cuda/runtime.h"
#include "kernels/formats/formats.h"
#include "kernels/trace.h"

namespace crossover::nccl::test {
namespace {

constexpr double kPatient_s = 600;  // longer than any machine is busy

struct Rank {
  cuda::Device device{0};
  ThreadPool pool{1};
  Workspace workspace{memory_of(cuda_ops())};
  Counters counters;
  Context ctx{cuda_ops(), pool, workspace, counters, nullptr, nullptr, &device};
};

float value(int rank, std::int64_t i) { return static_cast<float>(rank + 1) + 0.001f * static_cast<float>(i % 977); }

class NcclCommunicator : public FakeNccl {
 protected:
  ~NcclCommunicator() override { cuda::emulated::hold_marks(false); }

  // body(rank) on its thread after all have joined; what each threw.
  std::vector<std::string> on_ranks(int ranks, double limit_s, const std::function<void(Communicator&, Rank&, int)>& body, ReduceType type = ReduceType::kF32) {
    Communicator comm(std::make_shared<Library>(CROSSOVER_NCCL_FAKE), ranks, limit_s);
    std::vector<std::string> messages(static_cast<std::size_t>(ranks));
    RankGroup group(ranks);
    group.run([&](int r) {
      Rank rank;
      messages[static_cast<std::size_t>(r)] = message_of([&] {
        comm.connect(rank.ctx, r, type);
        body(comm, rank, r);
      });
    });
    return messages;
  }

  static std::vector<float> reduced(Communicator& comm, Rank& rank, int r, std::int64_t n, ReduceType type) {
    std::vector<float> values(static_cast<std::size_t>(n));
    for (std::int64_t i = 0; i < n; ++i) values[static_cast<std::size_t>(i)] = value(r, i);
    const std::size_t bytes = values.size() * sizeof(float);
    float* const data = rank.workspace.floats("part", values.size());
    rank.device.upload(reinterpret_cast<std::byte*>(data), reinterpret_cast<const std::byte*>(values.data()), bytes);
    comm.all_reduce(rank.ctx, r, data, n, type);
    rank.device.download(reinterpret_cast<std::byte*>(values.data()), reinterpret_cast<const std::byte*>(data), bytes);
    comm.check();
    return values;
  }

  void expect_all(const std::vector<std::string>& messages, const std::string& part) {
    for (const std::string& message : messages) {
      EXPECT_NE(message.find(part), std::string::npos) << message << "\nlacks: " << part;
      EXPECT_EQ(message, messages.front());
    }
  }
};

TEST_F(NcclCommunicator, SumsOverTwoAndThreeRanks) {
  for (int ranks : {2, 3}) {
    const auto messages = on_ranks(ranks, kPatient_s, [&](Communicator& comm, Rank& rank, int r) {
      for (const std::int64_t n : {1, 7, 4096, 5121}) {
        const std::vector<float> found = reduced(comm, rank, r, n, ReduceType::kF32);
        for (std::int64_t i = 0; i < n; ++i) {
          float expected = 0;
          for (int each = 0; each < ranks; ++each) expected += value(each, i);
          ASSERT_EQ(found[static_cast<std::size_t>(i)], expected) << i;
        }
      }
      EXPECT_EQ(rank.counters.counts.at("launches.all_reduce"), 5);
    });
    expect_all(messages, "");
    EXPECT_EQ(messages.front(), "");
    EXPECT_EQ(fake().f32_sums, 5);  // of which one of ones
    EXPECT_EQ(fake().destroyed, ranks);
    behave();
  }
}

TEST_F(NcclCommunicator, RoundsWhatTravelsAsBf16) {
  const auto messages = on_ranks(
      2, kPatient_s,
      [&](Communicator& comm, Rank& rank, int r) {
        for (const std::int64_t n : {3, 4096, 5121}) {
          const std::vector<float> found = reduced(comm, rank, r, n, ReduceType::kBf16);
          for (std::int64_t i = 0; i < n; ++i) {
            const float parts = bf16_to_f32(f32_to_bf16(value(0, i))) + bf16_to_f32(f32_to_bf16(value(1, i)));
            ASSERT_EQ(found[static_cast<std::size_t>(i)], bf16_to_f32(f32_to_bf16(parts))) << i;
          }
        }
      },
      ReduceType::kBf16);
  EXPECT_EQ(messages.front(), "");
  EXPECT_EQ(fake().f32_sums, 0);
  EXPECT_EQ(fake().bf16_sums, 4);
}

TEST_F(NcclCommunicator, MoreSumsThanAreWatchedOneByOne) {
  const auto messages = on_ranks(2, kPatient_s, [&](Communicator& comm, Rank& rank, int r) {
    cuda::emulated::hold_marks(true);
    for (int i = 0; i < 600; ++i) ASSERT_EQ(reduced(comm, rank, r, 3, ReduceType::kF32)[0], 3.0f);
    cuda::emulated::hold_marks(false);
    for (int i = 0; i < 600; ++i) ASSERT_EQ(reduced(comm, rank, r, 3, ReduceType::kF32)[0], 3.0f);
  });
  EXPECT_EQ(messages.front(), "");
}

TEST_F(NcclCommunicator, ARankThatIsRefusedEndsAll) {
  fake().refused_rank = 1;
  const auto messages = on_ranks(3, kPatient_s, [](Communicator&, Rank&, int) { FAIL(); });
  expect_all(messages, "NCCL 2.27.3: rank 1 of 3 could not join: unhandled system error (fake: as requested)");
}

TEST_F(NcclCommunicator, ARankThatNeverJoinsEndsAll) {
  fake().lost_rank = 1;
  const auto messages = on_ranks(2, 0.05, [](Communicator&, Rank&, int) { FAIL(); });
  expect_all(messages, " of 2 has waited ");
  expect_all(messages, " s for the others to join");
}

TEST_F(NcclCommunicator, AWrongSumIsSeenBeforeItIsUsed) {
  fake().error_in_sum = 0.25f;
  const auto messages = on_ranks(2, kPatient_s, [](Communicator&, Rank&, int) { FAIL(); });
  expect_all(messages, " of 2 got 2.25 as the sum of a one from every rank, 2 is right");
}

TEST_F(NcclCommunicator, ARefusedSumEndsAll) {
  fake().broken_rank = 1, fake().broken_from = 2;
  const auto messages = on_ranks(2, kPatient_s, [](Communicator& comm, Rank& rank, int r) { reduced(comm, rank, r, 5, ReduceType::kF32); });
  expect_all(messages, "NCCL 2.27.3: rank 1 of 2, all-reduce 2 of 5 values: some error (fake: as requested)");
  EXPECT_EQ(fake().aborted, 2);
  EXPECT_EQ(fake().destroyed, 0);
}

TEST_F(NcclCommunicator, AnErrorReportedLaterEndsAll) {
  fake().async_error_rank = 0;
  fake().wedged_rank = 1, fake().wedged_from = 2;
  const auto messages = on_ranks(2, kPatient_s, [](Communicator& comm, Rank& rank, int r) { reduced(comm, rank, r, 5, ReduceType::kF32); });
  expect_all(messages, "NCCL 2.27.3: rank 0 of 2, all-reduce ");
  expect_all(messages, " values: remote process exited (fake: as requested)");
}

TEST_F(NcclCommunicator, ARankThatFailsElsewhereFreesTheOthers) {
  const auto messages = on_ranks(2, kPatient_s, [](Communicator& comm, Rank& rank, int r) {
    if (r == 1) return comm.abort("rank 1 has no memory");
    reduced(comm, rank, r, 5, ReduceType::kF32);
  });
  EXPECT_EQ(messages[0], "NCCL: the communicator was aborted: rank 1 has no memory; load the model again");
}

// A busy machine may exceed a short limit on its way to what is tested: then again with a longer one.
template <class Attempt>
std::vector<std::string> until_it_gets_to(const std::string& part, const Attempt& attempt) {
  std::vector<std::string> messages;
  for (double limit_s = 0.1; limit_s < 60; limit_s *= 3) {
    messages = attempt(limit_s);
    if (messages.front().find(part) != std::string::npos) break;
  }
  return messages;
}

TEST_F(NcclCommunicator, TheWatchdogEndsASumThatNcclIsStuckIn) {
  fake().wedged_rank = 1, fake().wedged_from = 3;
  const auto messages = until_it_gets_to("all-reduce 3", [&](double limit_s) {
    return on_ranks(2, limit_s, [](Communicator& comm, Rank& rank, int r) {
      for (int i = 0; i < 2; ++i) reduced(comm, rank, r, 7, ReduceType::kF32);
      FAIL();
    });
  });
  expect_all(messages, " of 2, all-reduce 3 of 7 values: has waited ");
  expect_all(messages, " has begun 3; the communicator was aborted");
  expect_all(messages, "CROSSOVER_COMM_LIMIT_S");
}

TEST_F(NcclCommunicator, TheWatchdogEndsASumThatTheGpuIsStuckIn) {
  const auto messages = until_it_gets_to("all-reduce 2", [&](double limit_s) {
    cuda::emulated::hold_marks(false);
    return on_ranks(2, limit_s, [limit_s](Communicator& comm, Rank& rank, int r) {
      std::this_thread::sleep_for(std::chrono::duration<double>(limit_s / 2));  // five looks of the watchdog: it has seen the ones
      cuda::emulated::hold_marks(true);
      float* const data = rank.workspace.floats("part", 64);
      comm.all_reduce(rank.ctx, r, data, 64, ReduceType::kF32);
      const double end_s = monotonic_s() + kPatient_s;
      while (monotonic_s() < end_s) comm.check(), std::this_thread::sleep_for(std::chrono::milliseconds(1));
    });
  });
  expect_all(messages, " of 2, all-reduce 2 of 64 values: has waited ");
}

TEST_F(NcclCommunicator, AfterAFailureNothingIsSummed) {
  on_ranks(2, kPatient_s, [&](Communicator& comm, Rank& rank, int r) {
    comm.abort("enough");
    const int sums = fake().f32_sums;
    EXPECT_NE(message_of([&] { reduced(comm, rank, r, 5, ReduceType::kF32); }), "");
    EXPECT_EQ(fake().f32_sums, sums);
  });
}

}  // namespace
}  // namespace crossover::nccl::test
