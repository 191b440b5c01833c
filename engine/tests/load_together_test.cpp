// Ranks that load together: what several of them want is read once, and counted once.
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "engine/engine.h"
#include "engine/load/load_times.h"
#include "engine/tests/checkpoint_files.h"

namespace crossover {
namespace {

using test::TempFolder;

std::int64_t bytes_read(const EngineOptions& options) {
  const Engine engine(options);
  std::int64_t bytes = 0;
  for (const RankLoadDetails& rank : engine.load_report().details) bytes += rank.bytes_read;
  return bytes;
}

TEST(LoadTogether, ReadsNoMoreForMoreRanks) {
  const TempFolder folder;
  SynthOptions synth;
  synth.preset = "tiny-dense";
  synth.vocab = 512;
  write_synth(synth, folder / "model");
  EngineOptions options;
  options.model = folder / "model";
  options.weights = DType::kQ6_K;
  options.knobs.set("CROSSOVER_READ", "direct", "test");
  double one_rank = 0;
  try {
    one_rank = static_cast<double>(bytes_read(options));
  } catch (const std::runtime_error& refused) {
    GTEST_SKIP() << refused.what();
  }
  for (const int ranks : {2, 4}) {
    options.ranks = options.threads = ranks;
    EXPECT_LT(static_cast<double>(bytes_read(options)), 1.05 * one_rank) << ranks << " ranks";
    EngineOptions apart = options;
    apart.knobs.set("CROSSOVER_LOAD_ORDER", "in-turn", "test");
    EXPECT_GT(static_cast<double>(bytes_read(apart)), 1.1 * one_rank) << ranks << " ranks: the model has too little that is split by columns to show anything";
  }
}

TEST(LoadTogether, ThreadSecondsOfASharedReaderCountForOneRank) {
  const auto spend = [](Trace& trace, const char* phase) {
    const Range range(&trace, phase);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  };
  std::vector<Trace> workers(1);
  ConvertReport converted;
  converted.shared_readers.resize(1), converted.readers.resize(1);
  const double begin_s = monotonic_s();
  spend(converted.readers[0], "read");
  spend(converted.shared_readers[0], "read");
  spend(workers[0], "quantize");
  const double end_s = monotonic_s();
  const auto length_s = [](const Trace& trace) { return trace.spans()[0].end_s - trace.spans()[0].start_s; };
  for (const PhaseShare& share : load_shares(workers, converted, begin_s, end_s)) {
    if (share.name != "read") continue;
    EXPECT_NEAR(share.share_s, length_s(converted.readers[0]) + length_s(converted.shared_readers[0]), 1e-9);
    EXPECT_NEAR(share.busy_s, length_s(converted.readers[0]), 1e-9);
    return;
  }
  FAIL() << "no share of reading";
}

}  // namespace
}  // namespace crossover
