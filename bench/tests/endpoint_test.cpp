// A server as an arm of a run, against servers of the test on the loopback interface.
#include "bench/targets/endpoint.h"

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <set>
#include <stdexcept>

#include "bench/runner.h"
#include "bench/tests/endpoint_jobs.h"
#include "engine/tests/temp_folder.h"

namespace crossover {
namespace {

using nlohmann::json;

class EndpointFiles : public test::FolderTest {
 protected:
  std::string file(const std::string& text) {
    const std::filesystem::path path = folder_ / ("prompt" + std::to_string(files_++));
    std::ofstream(path, std::ios::binary) << text;
    return path.string();
  }

  RunOutcome run(const json& scenario_text, const std::string& out = "out", bool resume = false, std::vector<std::string> ambient = {}) {
    const Scenario scenario = scenario_from(scenario_text);
    RunOptions options;
    options.out = folder_ / out;
    options.quiet = true, options.resume = resume;
    options.ambient.kept = std::move(ambient);
    EndpointTarget target(random_salt(), inherit_);
    return run_scenario(scenario, target, options);
  }

  int files_ = 0;
  bool inherit_ = false;
};

TEST_F(EndpointFiles, TakesThePromptFromAFile) {
  json job = job_for("http://h/v1");
  job.erase("prompt_tokens");
  const auto prompt = [&](const std::string& text) {
    job["prompt_file"] = file(text);
    return json::parse(endpoint_body(job.dump()))["prompt"].get<std::string>();
  };
  EXPECT_EQ(prompt("Tell me."), "0123456789abcdef\nTell me.");
  EXPECT_EQ(prompt("{nonce}: say {nonce} {arm}"), "0123456789abcdef: say 0123456789abcdef {arm}");
  EXPECT_THROW(prompt(""), std::runtime_error);
  EXPECT_THROW(prompt("\xff\xfe"), std::runtime_error);
  job["prompt_file"] = (folder_ / "missing").string();
  EXPECT_THROW(endpoint_body(job.dump()), std::runtime_error);
}

TEST_F(EndpointFiles, FindsTheSlowerOfTwoServers) {
  const LoopbackServer fast(tokens({4, 0.005, 0})), slow(tokens({4, 0.12, 0}));
  json scenario = endpoint_scenario(fast.url());
  scenario["arms"]["B"]["workload"] = {{"url", slow.url()}};
  scenario["plan"]["pairs"] = 8;
  const RunOutcome outcome = run(scenario);
  EXPECT_EQ(outcome.verdict.word, Word::kSlower) << outcome.verdict.reason;
  EXPECT_EQ(fast.requests().size(), 1U + 8 + 1) << "one before the plan, the samples, the determinism control";
  EXPECT_EQ(slow.requests().size(), 1U + 8);
  std::set<std::string> beginnings, rests;
  for (const LoopbackServer* server : {&fast, &slow})
    for (const LoopbackRequest& request : server->requests()) {
      const std::string prompt = json::parse(request.body)["prompt"];
      beginnings.insert(prompt.substr(0, 16)), rests.insert(prompt.substr(16));
    }
  EXPECT_EQ(beginnings.size(), 19U) << "no prompt begins like another";
  EXPECT_EQ(rests.size(), 8U) << "a pair shares the rest";
  for (const Sample& sample : outcome.samples) {
    EXPECT_FALSE(sample.metrics.contains("memory.peak_bytes"));
    EXPECT_TRUE(sample.metrics.contains("process.start_s"));
  }
}

TEST_F(EndpointFiles, NeverRepeatsANonceInAnotherRun) {
  const LoopbackServer server(tokens({}));
  run(endpoint_scenario(server.url()), "one");
  run(endpoint_scenario(server.url()), "two");
  std::set<std::string> beginnings;
  for (const LoopbackRequest& request : server.requests())
    beginnings.insert(json::parse(request.body)["prompt"].get<std::string>().substr(0, 16));
  EXPECT_EQ(beginnings.size(), server.requests().size());
}

TEST_F(EndpointFiles, NeverRepeatsANonceForTheSameSample) {
  const LoopbackServer server(tokens({}));
  const Scenario scenario = scenario_from(endpoint_scenario(server.url()));
  SampleRequest request;
  request.workload = scenario.cells[0].a.workload, request.program = CROSSOVER_PROGRAM, request.timeout_s = 20;
  EndpointTarget target("salt", false);
  for (int i = 0; i < 2; ++i) {
    const Sample sample = target.take(request);
    EXPECT_TRUE(sample.ok()) << sample.failure;
  }
  EXPECT_NE(server.requests().at(0).body, server.requests().at(1).body);
}

TEST_F(EndpointFiles, VoidsARunWithPrefixReuse) {
  // A cache as servers have it: whatever was asked before, up to the first unlike character.
  std::vector<std::string> seen;
  bool broken = false;  // a server that takes all prompts for one
  const LoopbackServer server([&](const LoopbackRequest& request) {
    const std::string prompt = json::parse(request.body)["prompt"];
    std::size_t reused = broken && !seen.empty() ? 3 : 0;
    for (const std::string& old : seen)
      reused = std::max(
          reused, static_cast<std::size_t>(std::mismatch(prompt.begin(), prompt.end(), old.begin(), old.end()).first - prompt.begin()) / 8);
    seen.push_back(prompt);
    TokenPlan plan;
    plan.usage = {{"prompt_tokens_details", {{"cached_tokens", reused}}}};
    return token_reply(request, plan);
  });
  EXPECT_NE(run(endpoint_scenario(server.url()), "fresh").verdict.word, Word::kInvalid) << "nonces leave such a cache nothing";
  broken = true;
  const RunOutcome reused = run(endpoint_scenario(server.url()), "reused");
  EXPECT_EQ(reused.verdict.word, Word::kInvalid);
  EXPECT_NE(reused.verdict.reason.find("took 3 tokens from a prefix cache"), std::string::npos) << reused.verdict.reason;
}

TEST_F(EndpointFiles, RefusesADeadServerBeforeThePlan) {
  std::string dead;
  {
    const LoopbackServer server(tokens({}));
    dead = server.url();
  }
  try {
    run(endpoint_scenario(dead));
    FAIL() << "a dead server was measured";
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("the first request of arm A, before the plan, failed: no answer from"), std::string::npos)
        << error.what();
  }
}

TEST_F(EndpointFiles, JournalsAFailedSampleAndStops) {
  std::atomic<int> asked = 0;
  const LoopbackServer server(
      [&](const LoopbackRequest& request) { return ++asked == 4 ? plain_reply("500 Oops", "out of memory") : token_reply(request, {}); });
  std::string said;
  try {
    run(endpoint_scenario(server.url()));
  } catch (const std::runtime_error& error) {
    said = error.what();
  }
  EXPECT_NE(said.find("sample 1 "), std::string::npos) << said;
  EXPECT_NE(said.find("\"out of memory\""), std::string::npos) << said;
  json scenario = endpoint_scenario(server.url());
  asked = 0;
  scenario["limits"] = {{"max_failed", 1}};
  const RunOutcome outcome = run(scenario, "tolerant");
  EXPECT_EQ(outcome.verdict.word, Word::kInvalid) << "one arm failed once, the other never";
}

TEST_F(EndpointFiles, NamesTheTimeLimitAndWhatItWaitedFor) {
  const LoopbackServer server([](const LoopbackRequest& request) { return token_reply(request, {4, 20, 0}); });
  json scenario = endpoint_scenario(server.url());
  scenario["limits"] = {{"sample_timeout_s", 0.4}};
  try {
    run(scenario);
    FAIL() << "no time limit";
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("no end within the limit of 0.4 s (in phase first byte)"), std::string::npos) << error.what();
  }
}

TEST_F(EndpointFiles, UsesTheProxyOfTheEnvironmentOnlyWhenAsked) {
  const LoopbackServer server(tokens({})), proxy(tokens({}));
  const std::string address = proxy.url().substr(0, proxy.url().rfind('/'));
  const std::vector<std::string> ambient{"http_proxy=" + address, "all_proxy=" + address};
  for (const Sample& sample : run(endpoint_scenario(server.url()), "direct", false, ambient).samples)
    EXPECT_EQ(sample.path.at("proxy"), "none");
  EXPECT_TRUE(proxy.requests().empty());
  EXPECT_FALSE(server.requests().empty());
  inherit_ = true;
  const RunOutcome through = run(endpoint_scenario("http://model.invalid/v1"), "through", false, ambient);
  for (const Sample& sample : through.samples) EXPECT_EQ(sample.path.at("proxy"), "environment");
  ASSERT_FALSE(proxy.requests().empty());
  EXPECT_EQ(proxy.requests()[0].path, "http://model.invalid/v1/completions");
}

}  // namespace
}  // namespace crossover
