#include "bench/runner.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <map>
#include <set>
#include <stdexcept>

#include "bench/journal.h"
#include "bench/json_text.h"
#include "bench/process/interrupt.h"
#include "bench/scenario_schema.h"
#include "bench/tests/simulation.h"
#include "engine/tests/temp_folder.h"

namespace crossover {
namespace {

using nlohmann::json;

class Runner : public test::FolderTest {
 protected:
  Runner() {
    options_.out = folder_ / "out";
    options_.quiet = true;
  }

  RunOutcome run(SimulatedProgram program = {}) {
    SimulatedTarget target(std::move(program));
    return run_scenario(scenario_from(scenario_), target, options_);
  }

  std::string failure(SimulatedProgram program = {}) {
    try {
      run(std::move(program));
    } catch (const std::exception& error) {
      return error.what();
    }
    return "no failure";
  }

  // Dies like a killed process when `count` samples are taken.
  SimulatedProgram dying_after(int count) {
    SimulatedProgram program;
    program.alter = [count, taken = 0](const SampleRequest&, Sample&) mutable {
      if (taken++ == count) throw std::runtime_error("killed");
    };
    return program;
  }

  std::string journal() const { return read_text_file((options_.out / "journal.jsonl").string()); }
  std::size_t journal_lines() const {
    const std::string text = journal();
    return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
  }

  RunOptions options_;
  json scenario_ = scenario_json();
};

TEST_F(Runner, WritesAResultThatKeepsItsSchema) {
  scenario_["sweep"] = {{"/workload/priority", {0, 1}}};
  scenario_["expect"]["controls"] = {"control_s"};
  SimulatedProgram program;
  program.alter = [](const SampleRequest& request, Sample& sample) {
    sample.phases = {{"load.read", 0, 0, 0.5, 0.4, -1}};
    sample.page_cache = PageCacheState{"warm", 10, 10};
    sample.series["decode.token_s"] = {0.1, 0.2};
    sample.knobs["CROSSOVER_ISA"] = {request.arm == 'A' ? "avx2" : "auto", "scenario"};
  };
  const RunOutcome outcome = run(program);
  const json result = parse_json(read_text_file(outcome.result_file.string()), "result");
  EXPECT_EQ(schema_complaint(result, result_schema_text()), "");
  EXPECT_EQ(result["samples"].size(), 34U);
  EXPECT_EQ(result["plan"]["order"].size(), 32U);
  EXPECT_EQ(result["analysis"].size(), 2U);
  EXPECT_EQ(result["verdict"]["word"], "INCONCLUSIVE");
  EXPECT_EQ(result["plan"]["noise_floor_from"], "not measured");
  EXPECT_EQ(result["knobs"]["A"]["CROSSOVER_ISA"]["value"], "avx2");
  EXPECT_EQ(journal_lines(), 35U);
  EXPECT_FALSE(std::filesystem::exists(options_.out / "result.json.part"));
}

TEST_F(Runner, ResumesToTheSameResultAndFlagsASplitPair) {
  EXPECT_EQ(failure(dying_after(5)), "killed");
  EXPECT_EQ(journal_lines(), 6U);
  EXPECT_NE(failure().find("--resume"), std::string::npos) << "a journal is not overwritten";
  options_.resume = true;
  const RunOutcome outcome = run();
  ASSERT_EQ(outcome.samples.size(), 17U);
  int split = 0;
  for (std::size_t i = 0; i < outcome.samples.size(); ++i) {
    EXPECT_EQ(outcome.samples[i].position, static_cast<int>(i));
    split += std::count(outcome.samples[i].flags.begin(), outcome.samples[i].flags.end(), "split_pair") > 0 ? 1 : 0;
  }
  EXPECT_EQ(split, 1);
  EXPECT_EQ(outcome.samples[5].flags, std::vector<std::string>{"split_pair"});
}

TEST_F(Runner, LeavesNoJournalWhereNoSampleWasTaken) {
  EXPECT_EQ(failure(dying_after(0)), "killed");
  EXPECT_FALSE(std::filesystem::exists(options_.out / "journal.jsonl"));
  EXPECT_EQ(run().samples.size(), 17U);
}

// A target that can trace: like one with a GPU, whose traced samples are slower.
class TracedTarget : public SimulatedTarget {
 public:
  explicit TracedTarget(bool fails = false, bool fails_at_counters = false) : SimulatedTarget({}), fails_(fails), fails_at_counters_(fails_at_counters) {}
  bool can_trace(const SampleRequest&) override { return true; }
  Sample take(const SampleRequest& request) override {
    Sample sample = SimulatedTarget::take(request);
    sample.metrics["prefill.total_s"] = request.traced ? 3 : 2;
    if (!request.traced) return sample;
    ++traced;
    if (fails_) sample.failure = "CUPTI fell over";
    if (fails_at_counters_ && request.counters) sample.failure = "the driver fell over";
    sample.trace = R"({"source": "cupti", "launches": {"engine": 1, "cupti": 1}, "rows": [], "counters": {"metrics": ["dram__bytes_read.sum"],
      "devices": [{"device": 0, "chip": "GH100", "samples": 2, "malformed": 0, "overflow": false, "sampled_s": 4e-5, "interval_s": 2e-5, "read_bytes": 1e6,
        "written_bytes": 0, "idle_bytes": 0, "peak_bytes_per_s": 4.8e12}],
      "phases": [{"name": "mlp", "device": 0, "launches": 1, "busy_s": 1e-5, "sampled_s": 1e-5, "read_bytes": 1e6, "written_bytes": 0, "bytes_per_s": 1e11,
        "of_peak_percent": 2.1, "divided_percent": 0}]}})";
    sample.path["kernels"] = request.arm == 'A' ? "matvec+norm" : "matvec+norm_fused";
    return sample;
  }
  int traced = 0;

 private:
  bool fails_, fails_at_counters_;
};

TEST_F(Runner, TracedSamplesStayOutOfTheStatistics) {
  const json plain = json::parse(read_text_file(run().result_file.string()));
  options_.out = folder_ / "traced";
  TracedTarget target;
  const RunOutcome outcome = run_scenario(scenario_from(scenario_), target, options_);
  EXPECT_EQ(target.traced, 2);
  const json result = json::parse(read_text_file(outcome.result_file.string()));
  EXPECT_EQ(schema_complaint(result, result_schema_text()), "");
  EXPECT_EQ(result["samples"].size(), plain["samples"].size());
  EXPECT_EQ(result["analysis"][0]["metrics"]["wall_s"], plain["analysis"][0]["metrics"]["wall_s"]);
  EXPECT_EQ(result["verdict"], plain["verdict"]);
  EXPECT_EQ(journal().find("cupti"), std::string::npos);
  for (const json& sample : result["samples"]) EXPECT_FALSE(sample.contains("trace"));
  ASSERT_EQ(result["traces"].size(), 2u);
  for (const json& trace : result["traces"]) {
    EXPECT_NEAR(trace["against_samples_percent"]["prefill.total_s"].get<double>(), 50, 1e-9);
    EXPECT_EQ(trace["kernels_only_here"], json({trace["arm"] == "A" ? "norm" : "norm_fused"}));
    EXPECT_EQ(trace["flags"], json({"traced"}));
  }
  EXPECT_NE(result["traces"][0]["arm"], result["traces"][1]["arm"]);
}

TEST_F(Runner, ATraceThatFailsSaysSoAndLeavesTheVerdict) {
  const RunOutcome plain = run();
  options_.out = folder_ / "traced";
  TracedTarget target(/*fails=*/true);
  const RunOutcome outcome = run_scenario(scenario_from(scenario_), target, options_);
  EXPECT_EQ(outcome.verdict.word, plain.verdict.word);
  ASSERT_EQ(outcome.traces.size(), 2u);
  EXPECT_EQ(outcome.traces[0].failure, "CUPTI fell over");
  EXPECT_EQ(target.traced, 4);  // each also without counters
}

TEST_F(Runner, ATraceThatFailsAtCountersIsTakenWithoutThem) {
  options_.out = folder_ / "traced";
  TracedTarget target(/*fails=*/false, /*fails_at_counters=*/true);
  const RunOutcome outcome = run_scenario(scenario_from(scenario_), target, options_);
  ASSERT_EQ(outcome.traces.size(), 2u);
  EXPECT_EQ(target.traced, 4);
  EXPECT_TRUE(outcome.traces[0].ok());
  EXPECT_EQ(outcome.traces[0].flags, (std::vector<std::string>{"traced", "trace: without counters, as the sample that counted failed: the driver fell over"}));
}

TEST_F(Runner, DropsATornLastLine) {
  EXPECT_EQ(failure(dying_after(6)), "killed");
  std::ofstream(options_.out / "journal.jsonl", std::ios::app) << "{\"schema\": \"crossover.sam";
  options_.resume = true;
  EXPECT_EQ(run().samples.size(), 17U);
  EXPECT_EQ(journal_lines(), 19U) << "a head, who continued it, and 17 samples";
}

TEST_F(Runner, RefusesADamagedOrForeignJournal) {
  EXPECT_EQ(failure(dying_after(6)), "killed");
  options_.resume = true;
  scenario_["plan"]["seed"] = 99;
  EXPECT_NE(failure().find("another plan"), std::string::npos);
  scenario_["plan"]["seed"] = 1;
  std::string text = journal();
  text.replace(text.find('\n') + 1, 5, "!!!!!");
  std::ofstream(options_.out / "journal.jsonl") << text;
  EXPECT_NE(failure().find("line 2"), std::string::npos);
  std::ofstream(options_.out / "journal.jsonl") << std::string(100000, '[') << "\n";
  EXPECT_NE(failure().find("nests deeper"), std::string::npos);
}

TEST_F(Runner, LocksItsJournal) {
  const Journal other(options_.out, {"hash", ""}, false);
  options_.resume = true;
  EXPECT_NE(failure().find("process " + std::to_string(getpid()) + " on "), std::string::npos) << failure();
}

TEST_F(Runner, StopsAtTooManyFailuresAndKeepsThem) {
  SimulatedProgram program;
  program.alter = [](const SampleRequest& request, Sample& sample) {
    if (request.position != 3) return;
    sample.failure = "ended by signal 11 (Segmentation fault)", sample.last_phase = "load.read", sample.stderr_tail = "first\nlast\n";
  };
  const std::string said = failure(program);
  EXPECT_NE(said.find("sample 3"), std::string::npos);
  EXPECT_NE(said.find("in phase load.read (stderr: last)"), std::string::npos) << said;
  EXPECT_EQ(said.find('\n'), std::string::npos);
  EXPECT_EQ(journal_lines(), 5U);
  options_.resume = true;
  EXPECT_NE(failure().find("sample 3"), std::string::npos) << "a failed sample is not replaced unseen";
}

TEST_F(Runner, JudgesUnequalFailuresWithinTheLimit) {
  scenario_["limits"]["max_failed"] = 2;
  SimulatedProgram program;
  program.alter = [](const SampleRequest& request, Sample& sample) {
    if (request.position == 3) sample.failure = "crash";
  };
  EXPECT_EQ(run(program).verdict.word, Word::kInvalid);
}

TEST_F(Runner, NamesWhatWouldMakeAnAbsentPrimaryPresent) {
  SimulatedProgram program;
  program.alter = [](const SampleRequest&, Sample& sample) { sample.metrics.erase("wall_s"); };
  EXPECT_NE(failure(program).find("has no metric wall_s; name one of these in /plan/primary: control_s"), std::string::npos);
}

TEST_F(Runner, SaysWhereItCannotWrite) {
  std::ofstream(folder_ / "file") << "x";
  options_.out = folder_ / "file" / "out";
  EXPECT_NE(failure().find("cannot make the output folder"), std::string::npos);
  // A limit on file sizes stands for a full disk: both make write fail after the file was opened.
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  const rlimit small{512, before.rlim_max};
  const auto signal_before = std::signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &small);
  options_.out = folder_ / "full";
  const std::string message = failure();
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, signal_before);
  EXPECT_NE(message.find("File too large"), std::string::npos) << message;
  EXPECT_NE(message.find("journal.jsonl"), std::string::npos) << message;
}

TEST_F(Runner, KeepsFinishedSamplesOnInterrupt) {
  const InterruptGuard guard;
  SimulatedProgram program;
  program.alter = [](const SampleRequest& request, Sample&) {
    if (request.position == 4) raise(SIGINT);
  };
  const std::string said = failure(program);
  EXPECT_NE(said.find("--resume"), std::string::npos) << said;
  EXPECT_EQ(journal_lines(), 5U) << "four finished samples; the interrupted one leaves no line";
}

TEST_F(Runner, StopsBeforeTheTimeIsUp) {
  options_.max_time_s = 1e-9;
  EXPECT_NE(failure().find("--max-time"), std::string::npos);
  EXPECT_FALSE(holds_journal(options_.out)) << "not one sample fits";
}

TEST_F(Runner, HandsOutEqualPromptsEqualEnvironmentsAndUnlikeNonces) {
  scenario_["arms"]["B"]["workload"] = {{"env", {{"LONG_NAME_OF_A_VARIABLE", "some value"}, {"N", "{sample}{nonce}{arm}"}}}};
  options_.ambient.kept = {"PATH=/bin", "HOME=/"};
  std::map<int, std::uint64_t> prompts;
  std::set<std::size_t> bytes, entries;
  SimulatedProgram program;
  program.alter = [&](const SampleRequest& request, Sample&) {
    const auto [it, fresh] = prompts.emplace(request.pair, request.prompt_seed);
    EXPECT_EQ(it->second, request.prompt_seed);
    std::size_t sum = 0;
    for (const std::string& entry : request.environment) sum += entry.size() + 1;
    bytes.insert(sum), entries.insert(request.environment.size());
    const std::string wanted = "N=" + std::to_string(request.position) + request.nonce + "B";
    EXPECT_EQ(std::count(request.environment.begin(), request.environment.end(), wanted), request.arm == 'B' ? 1 : 0);
  };
  run(program);
  EXPECT_EQ(bytes.size(), 1U);
  EXPECT_EQ(entries.size(), 1U);
}

}  // namespace
}  // namespace crossover
