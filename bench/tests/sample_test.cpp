#include "bench/sample.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace crossover {
namespace {

TEST(SampleRecord, SurvivesTheJournal) {
  Sample sample;
  sample.arm = 'B', sample.cell = 2, sample.pair = 3, sample.position = 17, sample.control = true;
  sample.started_at = utc_now();
  sample.main_started_s = 12.5;
  sample.metrics = {{"load.total_s", 0.1}, {"tiny_s", 4.9e-324}};
  sample.series = {{"decode.token_s", {0.1, 0.2}}};
  sample.phases = {{"load.read", 1, 0.5, 0.25, 0.5, 0}};
  sample.timeline = {{0, 0, "quantize", 0.125, 0.25}, {0, -1, "read", 0, 0.5}, {1, 0, "wait", 0, 1}, {1, 0, "quantize", 1, 2}};
  sample.counters = {{"launches", 7}};
  sample.path = {{"gdn", "chunked"}};
  sample.knobs = {{"CROSSOVER_ISA", {"avx2", "scenario"}}};
  sample.page_cache = PageCacheState{"cold", 1, 1000};
  sample.clocks = R"({"mhz":[1.0]})";
  sample.cpus = {0, 3}, sample.priority = -5;
  sample.output_hash = "abc", sample.output_tokens = {1, 2}, sample.top_logits = {{{1, 5}, {0.5, 0.25}}};
  sample.quantized_file = "kept-q6_k.gguf";
  sample.flags = {"first"};
  const nlohmann::json json = sample_to_json(sample);
  EXPECT_EQ(sample_to_json(sample_from_json(nlohmann::json::parse(json.dump()))), json);
}

TEST(SampleRecord, LeavesOutWhatIsMissing) {
  const nlohmann::json json = sample_to_json(Sample{});
  for (const char* field : {"failure", "page_cache", "output_hash", "counters", "series", "clocks", "granted", "signal", "phases", "timeline"})
    EXPECT_FALSE(json.contains(field)) << field;
}

TEST(SampleRecord, NamesTheFieldThatIsWrong) {
  const auto refusal = [](nlohmann::json json) -> std::string {
    json["schema"] = kSampleSchema;
    try {
      sample_from_json(json);
    } catch (const std::runtime_error& error) {
      return error.what();
    }
    return "accepted";
  };
  EXPECT_NE(refusal({{"metrics", {{"x", nullptr}}}}).find("metrics.x"), std::string::npos);
  EXPECT_NE(refusal({{"metrics", 5}}).find("metrics"), std::string::npos);
  EXPECT_NE(refusal({{"timeline", {{{"spans", {{"read", 1}}}}}}}).find("timeline.spans"), std::string::npos);
  EXPECT_NE(refusal({{"timeline", {{{"spans", {{1, 2, 3}}}}}}}).find("timeline.spans"), std::string::npos);
  EXPECT_NE(refusal({{"arm", "C"}}).find("arm"), std::string::npos);
  EXPECT_NE(refusal({{"cell", 1LL << 40}}).find("cell"), std::string::npos);
  EXPECT_NE(refusal({{"output_tokens", {UINT64_MAX}}}).find("output_tokens"), std::string::npos);
  EXPECT_NE(refusal({{"knobs", {{"K", "v"}}}}).find("knobs.K"), std::string::npos);
  EXPECT_NE(refusal({{"phases", {5}}}).find("phases"), std::string::npos);
}

TEST(UtcTime, IsReadBack) {
  EXPECT_NEAR(*utc_seconds("2026-11-21T06:00:00.250Z"), 1795240800.25, 1e-6);
  EXPECT_TRUE(utc_seconds(utc_now()).has_value());
  for (const char* bad : {"", "yesterday", "2026-11-21T06:00:00Z", "2026-11-21T06:00:00.2x0Z!"}) EXPECT_FALSE(utc_seconds(bad));
}

}  // namespace
}  // namespace crossover
