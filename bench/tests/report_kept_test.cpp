// What a report gives away when it is published, and the result that is kept beside it.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "bench/tests/report_files.h"
#include "bench/tests/sample_result.h"

namespace crossover {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;
using Report = ReportFiles;

TEST_F(Report, PublishTakesOutHostAndPaths) {
  ordered_json result = sample_result();
  result["verdict"]["reason"] =
      "on build-box-7 the file /home/someone/models/tiny/a.gguf changed; see http://build-box-7:80/x, 5 tok/s";
  result["scenario"]["sweep"] = {{"/workload/prompt_tokens", {64, 512}}};
  result["scenario"]["workload"]["command"] = {"/opt/my tools/prog", "--file=/srv/data/in.txt", "~/x/y.bin"};
  result["build"]["flags"] = "-I/usr/local/secret/include -O3";
  result["build"]["note"] = "ran /opt/my tools/prog twice";
  const std::string html = html_of(result, true);
  write_report({save(result.dump())}, folder_ / "out", true);
  for (const fs::path name : {"report.html", "summary.md", "trace.json", "plots/planted-samples.gp", "planted.json"}) {
    const std::string text = test::read_bytes(folder_ / "out" / name);
    for (const char* secret :
         {"build-box-7", "/home", "someone", "/opt", "my tools", "/srv", "~/", "/usr/local", folder_.c_str()})
      EXPECT_EQ(text.find(secret), std::string::npos) << secret << " in " << name;
  }
  for (const char* kept :
       {"/workload/prompt_tokens", "tiny", "a.gguf", "in.txt", "y.bin", "tok/s", "-O3", "10.25 % faster", "Some CPU"})
    EXPECT_NE(html.find(kept), std::string::npos) << kept;
  EXPECT_NE(html_of(result, false).find("/home/someone/models/tiny"), std::string::npos);
}

TEST_F(Report, KeptCopyIsAResultWithoutWhatIsOnlyForLookingAt) {
  ordered_json result = sample_result();
  auto& first = result["samples"][0];
  first["timeline"] = {{{"rank", 0}, {"thread", 0}, {"spans", {{"read", 0.0, 0.5}}}}};
  first["phases"] = {{{"name", "load"}, {"parent", -1}},    {{"name", "load.read"}, {"parent", 0}},    {{"name", "prefill"}, {"parent", -1}},
                     {{"name", "prefill.mlp"}, {"parent", 2}}, {{"name", "prefill.odd"}, {"parent", 99}}, 7};
  html_of(result, true);
  const auto kept = ordered_json::parse(test::read_bytes(folder_ / "out" / "planted.json"));
  EXPECT_EQ(kept["samples"].size(), 16u);
  EXPECT_FALSE(kept["samples"][0].contains("timeline"));
  EXPECT_EQ(kept["samples"][0]["phases"], (ordered_json{{{"name", "prefill"}, {"parent", -1}}, {{"name", "prefill.mlp"}, {"parent", 0}},
                                                        {{"name", "prefill.odd"}, {"parent", -1}}}));
  EXPECT_EQ(kept["samples"][3]["metrics"], result["samples"][3]["metrics"]);
  EXPECT_EQ(kept["verdict"], result["verdict"]);
  html_of(kept);  // still a result
}

TEST_F(Report, KeptCopyHasTheLogitsOfTheFirstDivergenceAlone) {
  ordered_json result = sample_result();
  for (auto& sample : result["samples"]) {
    sample["output_tokens"] = ordered_json::array();
    sample["top_logits"] = ordered_json::array();
    for (int token = 0; token < 300; ++token) {
      const bool other = sample["pair"] == 5 && sample["arm"] == "B" && token >= 200;
      sample["output_tokens"].push_back(other ? 7 : token);
      sample["top_logits"].push_back({{"ids", std::vector<int>(64, token)}, {"logits", std::vector<double>(64, 0.123456789)}});
    }
  }
  html_of(result, true);
  const std::string text = test::read_bytes(folder_ / "out" / "planted.json");
  EXPECT_GT(result.dump().size(), 3'000'000U);
  EXPECT_LT(text.size(), 100'000U);
  const auto kept = ordered_json::parse(text);
  int with_rows = 0;
  for (const auto& sample : kept["samples"]) {
    EXPECT_EQ(sample["output_tokens"].size(), 300U);
    if (!sample.contains("top_logits")) continue;
    ++with_rows;
    EXPECT_EQ(sample["pair"], 5);
    ASSERT_EQ(sample["top_logits"].size(), 201U) << "rows keep their places";
    EXPECT_EQ(sample["top_logits"][199], ordered_json::object());
    EXPECT_EQ(sample["top_logits"][200]["ids"][0], 200);
  }
  EXPECT_EQ(with_rows, 2);
}

TEST_F(Report, KeptCopyOfMuchLosesWhatIsLeastNeeded) {
  ordered_json result = sample_result();
  for (auto& sample : result["samples"]) sample["series"]["decode.token_s"] = std::vector<double>(5000, 0.12345678901234567);
  html_of(result, true);
  const auto kept = ordered_json::parse(test::read_bytes(folder_ / "out" / "planted.json"));
  EXPECT_EQ(kept["thinned"], ordered_json::array({"series"}));
  EXPECT_FALSE(kept["samples"][0].contains("series"));
  EXPECT_TRUE(kept["samples"][0].contains("phases"));
  EXPECT_EQ(kept["samples"][3]["metrics"], result["samples"][3]["metrics"]);
}

}  // namespace
}  // namespace crossover
