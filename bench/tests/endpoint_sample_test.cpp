// One sample of a server, against a server of the test on the loopback interface.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <numeric>

#include "bench/tests/endpoint_jobs.h"

namespace crossover {
namespace {

using nlohmann::json;

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

}  // namespace
}  // namespace crossover
