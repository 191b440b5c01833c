#include "bench/endpoint_workload.h"

#include <gtest/gtest.h>

#include <stdexcept>

#include "bench/tests/simulation.h"

namespace crossover {
namespace {

using nlohmann::json;

json scenario_with(const json& more) {
  json workload{{"kind", "endpoint"}, {"url", "http://127.0.0.1:8080/v1"}};
  workload.update(more);
  return {{"schema", "crossover.scenario/1"},
          {"name", "endpoint"},
          {"workload", workload},
          {"arms", {{"A", json::object()}, {"B", json::object()}}}};
}

std::string refusal(const json& scenario) {
  try {
    scenario_from(scenario);
  } catch (const std::invalid_argument& error) {
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << "one line";
    return error.what();
  }
  return "accepted";
}

void expect_refusal(const json& more, const std::string& why) {
  const std::string said = refusal(scenario_with(more));
  EXPECT_NE(said.find(why), std::string::npos) << "said: " << said << "\nwanted: " << why;
}

TEST(EndpointWorkload, FillsDefaults) {
  const Scenario scenario = scenario_from(scenario_with(json::object()));
  EXPECT_EQ(scenario.primary, "ttft_s");
  EXPECT_EQ(scenario.expect.outputs, OutputRule::kIgnore);
  const json workload = json::parse(scenario.cells[0].a.workload);
  EXPECT_EQ(workload["api"], "completions");
  EXPECT_EQ(workload["prompt_tokens"], 512);
  EXPECT_EQ(workload["generate_tokens"], 64);
  EXPECT_EQ(workload["temperature"], 0);
  EXPECT_FALSE(workload.contains("page_cache")) << "a server's files are out of reach";
  json identical = scenario_with(json::object());
  identical["expect"]["outputs"] = "identical";
  EXPECT_EQ(scenario_from(identical).expect.outputs, OutputRule::kIdentical);
}

TEST(EndpointWorkload, LetsAnArmChangeOneHeaderOrField) {
  json scenario = scenario_with({{"headers", {{"X-A", "1"}, {"X-B", "1"}}}, {"request", {{"top_k", 1}, {"seed", 1}}}});
  scenario["arms"]["B"]["workload"] = {{"url", "http://other:1/v1"}, {"headers", {{"X-B", "2"}}}, {"request", {{"seed", 2}}}};
  const json b = json::parse(scenario_from(scenario).cells[0].b.workload);
  EXPECT_EQ(b["url"], "http://other:1/v1");
  EXPECT_EQ(b["headers"], json({{"X-A", "1"}, {"X-B", "2"}}));
  EXPECT_EQ(b["request"], json({{"top_k", 1}, {"seed", 2}}));
  scenario["sweep"] = {{"/workload/prompt_tokens", {16, 256}}};
  EXPECT_EQ(scenario_from(scenario).cells.size(), 2U);
}

TEST(EndpointWorkload, RefusesWhatHasNoMeaning) {
  expect_refusal({{"threads", 4}}, "has threads, which an endpoint has no use for");
  expect_refusal({{"page_cache", "cold"}}, "has page_cache");
  expect_refusal({{"command", {"x"}}}, "has command");
  expect_refusal({{"urll", "x"}}, "did you mean 'url'?");
  expect_refusal({{"api", "responses"}}, "completions");
  expect_refusal({{"generate_tokens", 0}}, "asks for no token");
  expect_refusal({{"prompt_file", "p.txt"}, {"prompt_tokens", 5}}, "keep one");
  expect_refusal({{"idle_timeout_s", 0}}, "at least 0.001");
  expect_refusal({{"api_key_env", "sk-abc"}}, "/workload/api_key_env");
  expect_refusal({{"request", {{"stream", false}}}}, "stream is filled by the harness");
  expect_refusal({{"request", {{"n", 4}}}}, "n is filled by the harness");
  expect_refusal({{"model_name", "a"}, {"request", {{"model", "b"}}}}, "keep one");
  json knobs = scenario_with(json::object());
  knobs["arms"]["B"]["knobs"] = {{"CROSSOVER_ISA", "avx2"}};
  EXPECT_NE(refusal(knobs).find("arm B sets knobs, which cannot reach a server"), std::string::npos);
  json external = scenario_json();
  external["workload"]["url"] = "http://x/v1";
  EXPECT_NE(refusal(external).find("has url, which is for workloads of kind endpoint"), std::string::npos);
}

TEST(EndpointWorkload, RefusesAddressesThatAreNone) {
  json without = scenario_with(json::object());
  without["workload"].erase("url");
  EXPECT_NE(refusal(without).find("arm A has no url"), std::string::npos);
  for (const char* url :
       {"127.0.0.1:8080", "ftp://h/v1", "http://", "http:///v1", "https://?x", "http://h/ v1", "http://h/v1#part", "http://h/\n"})
    expect_refusal({{"url", url}}, "is no http or https address");
  EXPECT_EQ(refusal(scenario_with({{"url", "https://h:1/v1?api-version=2"}})), "accepted");
}

TEST(EndpointWorkload, KeepsSecretsOutOfFilesAndMessages) {
  const auto hides = [](const json& more) {
    const std::string said = refusal(scenario_with(more));
    EXPECT_NE(said, "accepted");
    EXPECT_EQ(said.find("s3cret"), std::string::npos) << said;
  };
  hides({{"url", "http://me:s3cret@h/v1"}});
  hides({{"url", "http://h/v1?api-version=1&Key=s3cret"}});
  hides({{"headers", {{"Authorization", "Bearer s3cret"}}}});
  hides({{"headers", {{"X-API-Key", "s3cret"}}}});
  hides({{"headers", {{"X", "s3cret\r\nY: z"}}}});
  expect_refusal({{"headers", {{"api-key", "{api_key}"}}}}, "api_key_env is missing");
  expect_refusal({{"headers", {{"Bad Name", "x"}}}}, "no header");
  expect_refusal({{"headers", {{"Host", "x"}}}}, "set by the request itself");
  EXPECT_EQ(refusal(scenario_with({{"api_key_env", "KEY"}, {"headers", {{"api-key", "{api_key}"}}}})), "accepted");
}

}  // namespace
}  // namespace crossover
