// A server as an arm, against a server of the test on the loopback interface.
#include "bench/targets/endpoint.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <set>
#include <stdexcept>

#include "bench/json_text.h"
#include "bench/runner.h"
#include "bench/targets/endpoint_job.h"
#include "bench/tests/loopback_server.h"
#include "bench/tests/simulation.h"
#include "engine/tests/temp_folder.h"

namespace crossover {
namespace {

using nlohmann::json;

LoopbackServer::Handler tokens(TokenPlan plan) {
  return [plan](const LoopbackRequest& request) { return token_reply(request, plan); };
}

json endpoint_scenario(const std::string& url) {
  return {{"schema", "crossover.scenario/1"},
          {"name", "endpoint"},
          {"workload", {{"kind", "endpoint"}, {"url", url}, {"prompt_tokens", 5}, {"generate_tokens", 4}}},
          {"arms", {{"A", {{"program", CROSSOVER_PROGRAM}}}, {"B", {{"program", CROSSOVER_PROGRAM}}}}},
          {"plan", {{"pairs", 2}, {"seed", 3}}}};
}

// The job as the target hands it to the process of a sample.
json job_for(const std::string& url, const json& more = json::object()) {
  json scenario = endpoint_scenario(url);
  scenario["workload"].update(more);
  json job = json::parse(scenario_from(scenario).cells[0].a.workload);
  job.update({{"nonce", "0123456789abcdef"}, {"prompt_seed", 1}, {"arm", "A"}, {"sample", 3}, {"environment_proxy", false}});
  return job;
}

Sample ask(const json& job, std::vector<std::string>* phases = nullptr) {
  return run_endpoint_job(job.dump(), [&](const std::string& phase) {
    if (phases) phases->push_back(phase);
  });
}

Sample ask(const LoopbackServer& server, const json& more = json::object()) { return ask(job_for(server.url(), more)); }

std::string failure_of(LoopbackServer::Handler handler, const json& more = json::object()) {
  const LoopbackServer server(std::move(handler));
  const Sample sample = ask(server, more);
  EXPECT_TRUE(sample.metrics.empty());
  EXPECT_EQ(sample.failure.find('\n'), std::string::npos);
  return sample.failure;
}

LoopbackServer::Handler always(LoopbackReply reply) {
  return [reply](const LoopbackRequest&) { return reply; };
}

bool has_flag(const Sample& sample, const std::string& beginning) {
  return std::any_of(sample.flags.begin(), sample.flags.end(), [&](const std::string& flag) { return flag.starts_with(beginning); });
}

TEST(EndpointSample, MeasuresFromTheSubmittedRequestToTheTokens) {
  const LoopbackServer server(tokens({8, 0.15, 0.05}));
  std::vector<std::string> phases;
  const Sample sample = ask(job_for(server.url(), {{"generate_tokens", 8}}), &phases);
  ASSERT_TRUE(sample.ok()) << sample.failure;
  EXPECT_EQ(phases, (std::vector<std::string>{"connect", "first byte", "stream"}));
  const double ttft_s = sample.metrics.at("ttft_s"), decode_s = sample.metrics.at("decode.total_s");
  EXPECT_GE(ttft_s, 0.15) << "the server waits that long";
  EXPECT_LT(ttft_s, 3);
  EXPECT_GT(decode_s, 0.5 * 7 * 0.05);
  EXPECT_LT(decode_s, 3);
  EXPECT_NEAR(sample.metrics.at("decode.tokens_per_s"), 7 / decode_s, 1e-9) << "the first of eight tokens is no part of the window";
  EXPECT_GE(sample.metrics.at("endpoint.total_s"), ttft_s + decode_s);
  EXPECT_GT(sample.metrics.at("endpoint.connect_s"), 0);
  const std::vector<double>& token_s = sample.series.at("decode.token_s");
  EXPECT_EQ(token_s.size(), 7U);
  EXPECT_NEAR(std::accumulate(token_s.begin(), token_s.end(), 0.0), decode_s, 1e-9);
  EXPECT_EQ(sample.counters.at("tokens.prompt"), 7);
  EXPECT_EQ(sample.counters.at("tokens.generated"), 8);
  EXPECT_FALSE(sample.counters.contains("reused_tokens")) << "not reported is not zero";
  EXPECT_TRUE(has_flag(sample, "reuse unknown"));
  EXPECT_EQ(sample.path.at("token_count"), "usage");
}

TEST(EndpointSample, GivesNoRateOfAShortWindow) {
  const LoopbackServer server(tokens({4, 0, 0}));
  const Sample sample = ask(server);
  ASSERT_TRUE(sample.ok()) << sample.failure;
  if (sample.metrics.contains("decode.total_s") && sample.metrics.at("decode.total_s") >= 0.2) GTEST_SKIP() << "this machine was too busy";
  EXPECT_FALSE(sample.metrics.contains("decode.tokens_per_s"));
  EXPECT_TRUE(sample.metrics.contains("ttft_s"));
}

TEST(EndpointSample, CountsTokensThatShareAnEvent) {
  const LoopbackServer server(tokens({8, 0, 0.05, 4}));
  const Sample sample = ask(server, {{"generate_tokens", 8}});
  ASSERT_TRUE(sample.ok()) << sample.failure;
  EXPECT_EQ(sample.counters.at("tokens.generated"), 8);
  EXPECT_EQ(sample.counters.at("tokens.events"), 2);
  EXPECT_TRUE(has_flag(sample, "token count: 8 tokens in 2 events"));
  const LoopbackServer silent(tokens({8, 0, 0, 4, nullptr}));
  const Sample assumed = ask(silent, {{"generate_tokens", 8}});
  EXPECT_EQ(assumed.counters.at("tokens.generated"), 2);
  EXPECT_EQ(assumed.path.at("token_count"), "assumed");
  EXPECT_TRUE(has_flag(assumed, "token count: one in each event is assumed"));
  EXPECT_TRUE(has_flag(assumed, "short answer: 2 of 8"));
}

TEST(EndpointSample, KeepsZerosForTokensThatCameTogether) {
  const auto with_ids = [](const char* text, std::vector<int> ids) {
    return event_of({{"choices", {{{"text", text}, {"token_ids", ids}}}}});
  };
  const LoopbackServer server(always(
      stream_reply({{0, with_ids("ab", {1, 2})}, {0.03, with_ids("cde", {3, 4, 5})}, {0, with_ids("", {})}, {0, "data: [DONE]\n\n"}})));
  const Sample sample = ask(server);
  ASSERT_TRUE(sample.ok()) << sample.failure;
  EXPECT_EQ(sample.counters.at("tokens.generated"), 5);
  const std::vector<double>& token_s = sample.series.at("decode.token_s");
  ASSERT_EQ(token_s.size(), 3U);
  EXPECT_GT(token_s[0], 0);
  EXPECT_EQ(token_s[1], 0);
  EXPECT_EQ(token_s[2], 0);
}

TEST(EndpointSample, SubtractsWhatTheTemplateMayReuse) {
  TokenPlan plan;
  plan.usage = {{"prompt_tokens_details", {{"cached_tokens", 5}}}};
  const LoopbackServer server(tokens(plan));
  const Sample all = ask(server);
  EXPECT_EQ(all.counters.at("reused_tokens"), 5);
  EXPECT_TRUE(has_flag(all, "prefix reuse: 5 prompt tokens"));
  const Sample some = ask(server, {{"template_tokens", 3}});
  EXPECT_EQ(some.counters.at("reused_tokens"), 2);
  EXPECT_EQ(some.counters.at("reused_template_tokens"), 3);
  const Sample none = ask(server, {{"template_tokens", 8}});
  EXPECT_EQ(none.counters.at("reused_tokens"), 0);
  EXPECT_FALSE(has_flag(none, "prefix reuse"));
}

TEST(EndpointSample, SendsWhatTheScenarioAsksFor) {
  const LoopbackServer server(tokens({}));
  setenv("CROSSOVER_TEST_API_KEY", "k-123", 1);
  ASSERT_TRUE(
      ask(server, {{"model_name", "m"},
                   {"api_key_env", "CROSSOVER_TEST_API_KEY"},
                   {"headers", {{"X-Session", "{nonce}/{sample}/{arm}"}}},
                   {"request", {{"ignore_eos", true}, {"temperature", 0.5}, {"cache_salt", "{nonce}"}, {"stream_options", nullptr}}}})
          .ok());
  ASSERT_TRUE(ask(server, {{"api", "chat"},
                           {"url", server.url() + "/?v=1"},
                           {"api_key_env", "CROSSOVER_TEST_API_KEY"},
                           {"headers", {{"api-key", "<{api_key}>"}}}})
                  .ok());
  ASSERT_TRUE(ask(server, {{"url", server.url() + "/deep/completions"}, {"headers", {{"User-Agent", "mine"}}}}).ok());
  const std::vector<LoopbackRequest> requests = server.requests();
  ASSERT_EQ(requests.size(), 3U);
  EXPECT_EQ(requests[0].method, "POST");
  EXPECT_EQ(requests[0].path, "/v1/completions");
  EXPECT_EQ(requests[0].headers.at("authorization"), "Bearer k-123");
  EXPECT_EQ(requests[0].headers.at("content-type"), "application/json");
  EXPECT_EQ(requests[0].headers.at("x-session"), "0123456789abcdef/3/A");
  EXPECT_FALSE(requests[0].headers.contains("accept-encoding"));
  const json body = json::parse(requests[0].body);
  EXPECT_TRUE(body["prompt"].get<std::string>().starts_with("0123456789abcdef "));
  EXPECT_EQ(body["model"], "m");
  EXPECT_EQ(body["max_tokens"], 4);
  EXPECT_EQ(body["temperature"], 0.5);
  EXPECT_EQ(body["stream"], true);
  EXPECT_EQ(body["ignore_eos"], true);
  EXPECT_EQ(body["cache_salt"], "0123456789abcdef");
  EXPECT_FALSE(body.contains("stream_options")) << "null takes a field out";
  EXPECT_EQ(requests[1].path, "/v1/chat/completions?v=1");
  EXPECT_EQ(requests[1].headers.at("api-key"), "<k-123>");
  EXPECT_FALSE(requests[1].headers.contains("authorization"));
  EXPECT_EQ(json::parse(requests[1].body)["messages"][0]["role"], "user");
  EXPECT_EQ(json::parse(requests[1].body)["stream_options"]["include_usage"], true);
  EXPECT_EQ(requests[2].path, "/v1/deep/completions");
  EXPECT_EQ(requests[2].headers.at("user-agent"), "mine");
  unsetenv("CROSSOVER_TEST_API_KEY");
}

TEST(EndpointSample, NamesHttpErrors) {
  EXPECT_NE(failure_of(always(plain_reply("404 Not Found", R"({"error": {"message": "no model 'x'", "code": 404}})")))
                .find("/v1/completions: \"no model 'x'\""),
            std::string::npos);
  EXPECT_NE(failure_of(always(plain_reply("502 Bad Gateway", "\n<h1>Bad Gateway</h1>\nmore"))).find("HTTP 502 from http://127.0.0.1"),
            std::string::npos);
  EXPECT_NE(failure_of(always(plain_reply("503 Busy", "\xff\xfe\x01"))).find("HTTP 503"), std::string::npos);
  EXPECT_TRUE(failure_of(always(plain_reply("500 Oops", ""))).ends_with("/v1/completions"));
  EXPECT_NE(failure_of(always(plain_reply("307 Moved", "", "Location: http://127.0.0.1:1/v2?secret=1\r\n")))
                .find("leads to http://127.0.0.1:1/v2; put that address into url"),
            std::string::npos);
  EXPECT_NE(failure_of(always(plain_reply("200 OK", R"({"choices": []})", "Content-Type: application/json\r\n"))).find("no event stream"),
            std::string::npos);
}

TEST(EndpointSample, NamesWhatTheNetworkDid) {
  std::string dead;
  {
    const LoopbackServer server(tokens({}));
    dead = server.url();
  }
  const std::string refused = ask(job_for(dead)).failure;
  EXPECT_NE(refused.find("no answer from " + dead + "/completions: Failed to connect"), std::string::npos) << refused;
  EXPECT_NE(failure_of(always({{}, true})).find("no answer from"), std::string::npos) << "closed without a byte";
  EXPECT_NE(failure_of(always({{{0, "SSH-2.0-OpenSSH_9.2\r\n"}}, true})).find("HTTP/0.9"), std::string::npos) << "not HTTP";
  LoopbackReply cut = stream_reply({{0, event_of({{"choices", {{{"text", "a"}}}}})}});
  cut.steps.pop_back(), cut.close = true;
  const std::string said = failure_of(always(cut));
  EXPECT_NE(said.find("cut before [DONE], after 1 events with text ("), std::string::npos) << said;
  EXPECT_NE(failure_of(tokens({4, 20, 0}), {{"idle_timeout_s", 0.1}}).find("no byte came for 0.1 s (idle_timeout_s)"), std::string::npos);
  const std::string endless = failure_of([](const LoopbackRequest&) {
    return LoopbackReply{{{0, "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n"}, {0, std::string(20 << 20, 'x')}}, true};
  });
  EXPECT_NE(endless.find("longer than 16777216 bytes"), std::string::npos) << endless;
  EXPECT_NE(ask(job_for("http://no-such-host.invalid/v1")).failure.find("resolve"), std::string::npos);
  EXPECT_NE(ask(job_for("https" + dead.substr(4), {{"ca_file", "/no/such/file"}})).failure.find("no answer from https"), std::string::npos);
}

TEST(EndpointSample, DoesNotWaitForAServerThatForgetsToEndItsAnswer) {
  LoopbackReply open = token_reply({"POST", "/", R"({"prompt": ""})", {}, 0}, {});
  open.steps.back() = {20, ""};
  const LoopbackServer server(always(open));
  const Sample sample = ask(server);
  EXPECT_TRUE(sample.ok()) << sample.failure;
  EXPECT_LT(sample.metrics.at("endpoint.total_s"), 10);
}

TEST(EndpointSample, KeepsTheKeyOutOfEveryMessage) {
  setenv("CROSSOVER_TEST_API_KEY", "k-secret", 1);
  const json with_key{{"api_key_env", "CROSSOVER_TEST_API_KEY"}};
  const std::string repeated = failure_of(always(plain_reply("401 Unauthorized", "wrong key k-secret given")), with_key);
  EXPECT_NE(repeated.find("wrong key [key] given"), std::string::npos) << repeated;
  const std::string cut = failure_of(always(plain_reply("401 Unauthorized", std::string(195, 'x') + "k-secret")), with_key);
  EXPECT_EQ(cut.find("k-s"), std::string::npos) << "not even half of it";
  setenv("CROSSOVER_TEST_API_KEY", "k-secret\r\nX: y", 1);
  EXPECT_NE(failure_of(tokens({}), with_key).find("CROSSOVER_TEST_API_KEY holds a control character"), std::string::npos);
  unsetenv("CROSSOVER_TEST_API_KEY");
  EXPECT_NE(failure_of(tokens({}), with_key).find("CROSSOVER_TEST_API_KEY, which api_key_env names, is not set"), std::string::npos);
}

TEST(EndpointSample, HashesTheTextWithoutTheNonce) {
  const auto echo = [](const LoopbackRequest& request) {
    const std::string nonce = json::parse(request.body)["prompt"].get<std::string>().substr(0, 16);
    return stream_reply({{0, event_of({{"choices", {{{"text", "you said " + nonce.substr(0, 5)}}}}})},
                         {0, event_of({{"choices", {{{"text", nonce.substr(5)}}}}})},
                         {0, "data: [DONE]\n\n"}});
  };
  const LoopbackServer server(echo);
  json job = job_for(server.url());
  const std::string first = ask(job).output_hash;
  job["nonce"] = "fedcba9876543210";
  EXPECT_EQ(ask(job).output_hash, first);
  const LoopbackServer other(tokens({}));
  EXPECT_NE(ask(other).output_hash, first);
}

TEST(EndpointPrompt, StartsWithTheNonceAndIsTheSameInBothArms) {
  const auto prompt = [](const json& job) { return json::parse(endpoint_body(job.dump()))["prompt"].get<std::string>(); };
  json job = job_for("http://h/v1", {{"prompt_tokens", 100}});
  const std::string a = prompt(job);
  EXPECT_EQ(std::count(a.begin(), a.end(), ' '), 100);
  job["nonce"] = "fedcba9876543210", job["arm"] = "B", job["sample"] = 4;
  const std::string b = prompt(job);
  EXPECT_EQ(b.substr(0, 16), "fedcba9876543210");
  EXPECT_EQ(b.substr(16), a.substr(16));
  job["prompt_seed"] = 2;
  EXPECT_NE(prompt(job).substr(16), a.substr(16)) << "pairs differ";
}

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
