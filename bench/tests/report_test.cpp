// What report.html and summary.md say of a result, whatever is in it.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <nlohmann/json.hpp>

#include "bench/tests/report_files.h"
#include "bench/tests/sample_result.h"

namespace crossover {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;
using Report = ReportFiles;

// What stands between < and > opens and closes in order, as XML wants it. Empty when it does, else the offending tag.
std::string first_unbalanced(const std::string& html) {
  std::vector<std::string> open;
  for (std::size_t at = html.find('<'); at != std::string::npos; at = html.find('<', at + 1)) {
    const std::size_t end = html.find('>', at);
    if (end == std::string::npos) return "unclosed <";
    const std::string tag = html.substr(at + 1, end - at - 1);
    if (tag.starts_with("!") || tag.ends_with("/")) continue;
    const std::string name =
        tag.substr(tag.starts_with("/") ? 1 : 0, tag.find_first_of(" \n", 1) - (tag.starts_with("/") ? 1 : 0));
    if (!tag.starts_with("/")) {
      open.push_back(name);
    } else if (open.empty() || open.back() != name) {
      return tag;
    } else {
      open.pop_back();
    }
  }
  return open.empty() ? "" : open.back();
}

TEST_F(Report, SaysVerdictNumbersAndOrigins) {
  const std::string html = html_of(sample_result());
  EXPECT_EQ(first_unbalanced(html), "");
  for (const char* wanted : {"FASTER",
                             "all gates passed",
                             "B (chunked) is 10.25 % faster than A (recurrent): 0.9075 s instead of 1.007 s (time to "
                             "read the prompt: prefill.total_s, medians).",
                             "95 % interval of the effect: 9.12 to 11.50 % faster",
                             "expected to find: 1.75 %",

                             "-11.50 to -9.12 %",
                             "0.38 %",
                             "-10.50 %",
                             "load.read",
                             "-62.5 ms",
                             "-70 to -50 ms",
                             "250 µs",
                             "CROSSOVER_GDN_PREFILL",
                             "recurrent",
                             "scenario",
                             "default",
                             "Some CPU",
                             "same outputs from A and B",
                             "identical in every pair",
                             "f00d",
                             "abc123",
                             "crossover run planted.json",
                             "<td>token-by-token</td><td>chunked-scan</td>",
                             "partial (1x), warm (7x)",
                             "Flagged samples",
                             "first"})
    EXPECT_NE(html.find(wanted), std::string::npos) << wanted;
  EXPECT_LT(html.find("expected to find"),
            html.find("<h3>"));  // effect, interval and smallest visible effect come first
  const std::string summary = test::read_bytes(folder_ / "out" / "summary.md");
  for (const char* wanted :
       {"## planted: FASTER", "10.25 % faster", "`prefill.total_s` | 1.007 s | 0.9075 s |", "-62.5 ms"})
    EXPECT_NE(summary.find(wanted), std::string::npos) << wanted << " in\n" << summary;
}

TEST_F(Report, KeepsPhasesApartFromHeadlines) {
  ordered_json result = sample_result();
  result["analysis"]["cells"][0]["metrics"]["decode.tokens_per_s"] = {{"effect_percent", 1}};
  const std::string html = html_of(result), summary = test::read_bytes(folder_ / "out" / "summary.md");
  EXPECT_LT(html.find("<td>decode.tokens_per_s"), html.find("<summary>Metrics of single phases"));
  EXPECT_GT(html.find("<td>load.read_s"), html.find("<summary>Metrics of single phases"));
  EXPECT_EQ(summary.find("`load.read_s`"), std::string::npos);
  EXPECT_NE(summary.find("1 metrics of single phases and others"), std::string::npos);
}

TEST_F(Report, ShowsALoadBesideItsFloors) {
  ordered_json result = sample_result();
  EXPECT_EQ(html_of(result).find("floor"), std::string::npos) << "nothing was loaded";
  const ordered_json floors{{"total_s", 4.5},          {"bytes_read", 3e9},          {"read_bytes_per_s", 2e9},       {"read_floor_s", 1.5},
                            {"quantized_values", 2e9}, {"quantize_values_per_s", 1e9}, {"quantize_floor_s", 2.0},       {"floor_s", 2.0},
                            {"total_over_floor", 2.25}, {"pack_s", 0.25}, {"first_touch_s", 0.75}, {"rest_over_floor", 1.75}, {"busy_share", 0.875},         {"peak_memory_bytes", 1.75e9}, {"held_bytes", 1.5e9}};
  result["analysis"]["cells"][0]["floors"]["A"] = floors;
  result["analysis"]["cells"][0]["floors"]["B"] = {{"total_s", 2.5},
                                                   {"derived", {{"model", "m-27b"}, {"layers", 64}, {"vocab", 999}, {"stored_bytes", 5e10}, {"total_s", 41.5}}}};
  const std::string html = html_of(result);
  for (const std::string& page : {html}) {
    for (const char* part : {"4.5 s", "1.5 s: 3 GB at 2 GB/s", "2 s: 2 Gweights at 1 Gweights/s", "2.25", "250 ms", "750 ms", "1.75", "87.5 %", "1.75 GB",
                             "derived for m-27b, 64 layers, vocabulary 999: load", "41.5 s", "they are no measurement"})
      EXPECT_NE(page.find(part), std::string::npos) << part;
    EXPECT_EQ(page.find("derived: floor of reading"), std::string::npos) << "what neither arm has is left out";
  }
  EXPECT_EQ(first_unbalanced(html), "");
}

TEST_F(Report, NeedsNoNetworkAndNoScript) {
  const std::string html = html_of(sample_result());
  EXPECT_EQ(html.find("<script"), std::string::npos);
  EXPECT_EQ(html.find("src="), std::string::npos);
  EXPECT_EQ(html.find("<link"), std::string::npos);
  EXPECT_EQ(html.find("url(http"), std::string::npos);
  EXPECT_NE(html.find("prefers-color-scheme:dark"), std::string::npos);
}

TEST_F(Report, FailedAndControlSamplesAreShownAndNotCounted) {
  ordered_json result = sample_result();
  result["samples"].push_back(
      {{"arm", "A"}, {"pair", 0}, {"position", 16}, {"control", true}, {"metrics", {{"prefill.total_s", 99}}}});
  result["samples"].push_back({{"arm", "B"},
                               {"pair", 9},
                               {"position", 17},
                               {"failure", "signal 11"},
                               {"last_phase", "gdn.scan"},
                               {"signal", 11}});
  const std::string html = html_of(result);
  EXPECT_NE(html.find("determinism control, not analysed"), std::string::npos);
  EXPECT_NE(html.find("failed: signal 11 in gdn.scan"), std::string::npos);
  EXPECT_NE(html.find(">1.007 s</data></td><td class=\"n\"><data value=\"0.9075\">0.9075 s</data></td>"),
            std::string::npos);  // medians as without them
  EXPECT_EQ(test::read_bytes(folder_ / "out" / "plots" / "planted-samples.gp").find("\n17 99"), std::string::npos);
}

TEST_F(Report, DrawsEverySample) {
  const std::string html = html_of(sample_result());
  const std::string script = test::read_bytes(folder_ / "out" / "plots" / "planted-samples.gp");
  EXPECT_NE(script.find("\n1 1\n"), std::string::npos) << script;  // the first sample is an A at 1.0
  EXPECT_NE(script.find("\n16 "), std::string::npos) << script;
  if (html.find("gnuplot is not installed") != std::string::npos) GTEST_SKIP() << "gnuplot is not installed";
  EXPECT_NE(html.find("<svg"), std::string::npos);
  EXPECT_GT(fs::file_size(folder_ / "out" / "plots" / "planted-samples.svg"), 1000u);
  EXPECT_GT(fs::file_size(folder_ / "out" / "plots" / "planted-samples.png"), 1000u);
}

TEST_F(Report, GoesOnWithoutGnuplot) {
  const std::string path = getenv("PATH");
  setenv("PATH", "/nonexistent", 1);
  const std::string html = html_of(sample_result());
  setenv("PATH", path.c_str(), 1);
  EXPECT_NE(html.find("gnuplot is not installed"), std::string::npos);
  EXPECT_NE(html.find("10.25 % faster"), std::string::npos);
  EXPECT_EQ(first_unbalanced(html), "");
}

TEST_F(Report, EscapesHostileText) {
  const std::string hostile = "<script>alert(\"x\")</script>&amp;'`touch pwned`$(touch pwned)|\\";
  ordered_json result = sample_result();
  result["scenario"]["name"] = hostile, result["scenario"]["question"] = hostile;
  result["verdict"]["reason"] = hostile, result["verdict"]["word"] = "x\" onload=\"" + hostile;
  result["plan"]["primary"] = hostile, result["environment"][hostile] = hostile;
  result["knobs"]["A"][hostile] = {{"value", hostile}, {"origin", hostile}};
  for (auto& sample : result["samples"]) sample["metrics"][hostile] = 1.5, sample["flags"].push_back(hostile);
  result["analysis"]["cells"][0]["metrics"][hostile] = {{"effect_percent", 1}, {"verdict", hostile}};
  result["analysis"]["cells"][0]["waterfall"][0]["phase"] = hostile;
  const std::string html = html_of(result);
  EXPECT_EQ(first_unbalanced(html), "");
  EXPECT_EQ(html.find("<script"), std::string::npos);
  EXPECT_EQ(html.find("onload=\""), std::string::npos);
  EXPECT_NE(html.find("&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;&amp;amp;&#39;"), std::string::npos);
  EXPECT_EQ(test::read_bytes(folder_ / "out" / "summary.md").find("<script"), std::string::npos);
  EXPECT_FALSE(fs::exists(folder_ / "out" / "plots" / "pwned"));
  EXPECT_FALSE(fs::exists("pwned"));
  for (const auto& entry : fs::recursive_directory_iterator(folder_))  // a name is no way out of the folder
    EXPECT_EQ(entry.path().filename().string().find_first_of("<>`$|&"), std::string::npos) << entry.path();
}

TEST_F(Report, SeveralResultsShareOneReport) {
  ordered_json other = sample_result();
  other["verdict"] = {{"word", "INCONCLUSIVE"}, {"reason", "too noisy"}, {"exit_code", 2}};
  write_report({save(sample_result().dump(), "a.json"), save(other.dump(), "b.json")}, folder_ / "out", false);
  const std::string html = test::read_bytes(folder_ / "out" / "report.html");
  EXPECT_NE(html.find("too noisy"), std::string::npos);
  EXPECT_NE(html.find("all gates passed"), std::string::npos);
  EXPECT_TRUE(fs::exists(folder_ / "out" / "plots" / "planted-samples.gp"));
  EXPECT_TRUE(fs::exists(folder_ / "out" / "plots" / "planted-2-samples.gp"));
  EXPECT_EQ(first_unbalanced(html), "");
}

TEST_F(Report, AbsentValuesAreDashesNeverZero) {
  ordered_json result = sample_result();
  for (const char* part : {"analysis", "knobs", "environment", "build", "tool", "plan"}) result.erase(part);
  result["samples"] = ordered_json::array();
  EXPECT_NE(html_of(result).find("FASTER"), std::string::npos);
  result["analysis"]["cells"] = {{{"metrics", {{"t_s", ordered_json::object()}}}}};
  const std::string html = html_of(result);
  EXPECT_NE(html.find("<td>t_s</td><td class=\"n\">–</td><td class=\"n\">–</td>"), std::string::npos);
  EXPECT_EQ(html.find("<td class=\"n\">0</td>"), std::string::npos);
}

TEST_F(Report, RefusesBrokenFilesInOneLine) {
  ordered_json newer = sample_result(), shapeless = sample_result(), unjudged = sample_result();
  newer["schema"] = "crossover.result/999";
  shapeless["samples"] = 5;
  unjudged.erase("verdict");
  const std::string whole = sample_result().dump();
  const std::vector<std::string> broken{"",
                                        "{",
                                        "[]",
                                        "null",
                                        "{}",
                                        whole.substr(0, whole.size() / 2),
                                        std::string(1'000'000, '['),
                                        "{\"schema\": \"crossover.result/1\", \"x\": 1e999}",
                                        "{\"schema\": \"crossover.result/-1\"}",
                                        "{\"schema\": \"crossover.scenario/1\"}",
                                        std::string("\x7f"
                                                    "ELF\x02\0\0",
                                                    7),
                                        newer.dump(),
                                        shapeless.dump(),
                                        unjudged.dump()};
  for (const std::string& text : broken) {
    const std::string error = error_of(text);
    EXPECT_NE(error.find("result.json"), std::string::npos) << text.substr(0, 60);
    EXPECT_EQ(error.find('\n'), std::string::npos) << error;
  }
  EXPECT_NE(error_of(newer.dump()).find("newer version"), std::string::npos);
  EXPECT_THROW(write_report({folder_ / "missing.json"}, folder_ / "out", false), std::runtime_error);
  EXPECT_THROW(write_report({folder_}, folder_ / "out", false), std::runtime_error);
  EXPECT_THROW(write_report({}, folder_ / "out", false), std::invalid_argument);
  EXPECT_THROW(write_report({save(whole)}, save("", "file") / "below", false), std::runtime_error);
}

TEST_F(Report, WrongTypesInsideDoNotCrash) {
  const ordered_json good = sample_result();
  for (const auto& [key, part] : good.items()) {
    if (key == "schema") continue;
    for (const ordered_json& wrong : {ordered_json(), ordered_json(-1), ordered_json("x"),
                                      ordered_json::array({1, nullptr, "x"}), ordered_json{{"A", 1}}}) {
      ordered_json result = good;
      result[key] = wrong;
      try {
        write_report({save(result.dump())}, folder_ / "out", true);
        EXPECT_EQ(first_unbalanced(test::read_bytes(folder_ / "out" / "report.html")), "") << key << " = " << wrong;
      } catch (const std::runtime_error& error) {
        EXPECT_NE(std::string(error.what()).find("result.json"), std::string::npos) << error.what();
      }
    }
  }
}

}  // namespace
}  // namespace crossover
