// The HTML page and its pictures as promises: nothing outside, everything said in words, numbers as in the result, hostile input.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <regex>
#include <set>

#include "bench/report/html_parts.h"
#include "bench/report/page.h"
#include "bench/report/palette.h"
#include "bench/report/report.h"
#include "bench/report/words.h"
#include "bench/tests/sample_result.h"
#include "engine/tests/temp_folder.h"

namespace crossover {
namespace {

namespace fs = std::filesystem;

int count(const std::string& text, const std::string& what) {
  int found = 0;
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++found;
  return found;
}

class ReportHtml : public test::FolderTest {
 protected:
  std::string html_of(const ordered_json& result, const char* out = "out", bool publish = false) {
    std::ofstream(folder_ / "result.json") << result.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
    write_report({folder_ / "result.json"}, folder_ / out, publish);
    return test::read_bytes(folder_ / out / "report.html");
  }
  static bool drawn(const std::string& html) { return html.find("gnuplot is not installed") == std::string::npos; }
};

TEST_F(ReportHtml, NothingInItLeavesTheFile) {
  const std::string html = html_of(swept_result(3, 2));
  EXPECT_NE(html.find("Content-Security-Policy\" content=\"default-src 'none'"), std::string::npos);
  for (const char* forbidden :
       {"<script", "<link", "<iframe", "<object", "<img", "@import", "url(", "src=", "http:", "https:", "xlink", "javascript:"})
    EXPECT_EQ(html.find(forbidden), std::string::npos) << forbidden;
  EXPECT_FALSE(std::regex_search(html, std::regex(" on[a-z]+="))) << "no handler of events";
  const std::regex reference("href=['\"]([^'\"]*)");
  for (std::sregex_iterator it(html.begin(), html.end(), reference), end; it != end; ++it)
    EXPECT_EQ((*it)[1].str().front(), '#') << (*it)[0];
}

TEST_F(ReportHtml, EveryPictureSaysInWordsWhatItShows) {
  const std::string html = html_of(swept_result(3, 2));
  if (!drawn(html)) GTEST_SKIP() << "gnuplot is not installed";
  const int pictures = count(html, "<svg class=\"wide\"");
  EXPECT_GE(pictures, 3 * 3 + 2) << "effects, curve; samples, pairs, phases, timeline of each cell";
  EXPECT_EQ(count(html, "<svg class=\"narrow\""), pictures);
  EXPECT_EQ(count(html, "role=\"img\" aria-label=\""), 2 * pictures);
  EXPECT_EQ(count(html, "aria-label=\"\""), 0);
  EXPECT_EQ(count(html, "<figcaption>"), pictures);
  EXPECT_EQ(count(html, "The numbers behind this picture"), pictures);
}

// Ids are what the pictures' points refer to: each is there once.
TEST_F(ReportHtml, IdsAreUniqueAndReferencesResolve) {
  const std::string html = html_of(swept_result(2, 2));
  std::multiset<std::string> ids;
  const std::regex id("[ ]id=['\"]([^'\"]*)"), reference("href=['\"]#([^'\"]*)");
  for (std::sregex_iterator it(html.begin(), html.end(), id), end; it != end; ++it) ids.insert((*it)[1]);
  for (const std::string& one : ids) EXPECT_EQ(ids.count(one), 1U) << one;
  for (std::sregex_iterator it(html.begin(), html.end(), reference), end; it != end; ++it) EXPECT_EQ(ids.count((*it)[1]), 1U) << (*it)[0];
}

TEST_F(ReportHtml, NumbersAreThoseOfTheResult) {
  const ordered_json result = sample_result();
  const std::string html = html_of(result);
  const ordered_json& metric = result["analysis"]["cells"][0]["metrics"]["prefill.total_s"];
  const std::size_t row = html.find("<tr class=\"primary\"><td>prefill.total_s</td>");
  ASSERT_NE(row, std::string::npos);
  const std::string line = html.substr(row, html.find("</tr>", row) - row);
  std::vector<double> shown;
  const std::regex data("<data value=\"([^\"]*)\">([^<]*)</data>");
  for (std::sregex_iterator it(line.begin(), line.end(), data), end; it != end; ++it) shown.push_back(std::stod((*it)[1]));
  const std::vector<double> wanted{(1.003 + 1.011) / 2,
                                   0.9075,
                                   metric["effect_percent"],
                                   metric["interval_percent"][0],
                                   metric["interval_percent"][1],
                                   metric["mde_percent"],
                                   metric["hodges_lehmann_percent"],
                                   metric["order_effect_percent"],
                                   metric["order_interval_percent"][0],
                                   metric["order_interval_percent"][1],
                                   metric["n_pairs"]};
  ASSERT_EQ(shown.size(), wanted.size()) << line;
  for (std::size_t i = 2; i < wanted.size(); ++i) EXPECT_DOUBLE_EQ(shown[i], wanted[i]) << i;
  EXPECT_DOUBLE_EQ(shown[1], wanted[1]);
  // What is read differs from the number by its rounding alone: four digits or two places.
  for (std::sregex_iterator it(html.begin(), html.end(), data), end; it != end; ++it) {
    const double value = std::stod((*it)[1]), text = std::stod((*it)[2]);
    const std::string what = (*it)[2];
    if (what.find(" ms") != std::string::npos || what.find("µs") != std::string::npos) continue;
    EXPECT_NEAR(text, value, 0.005 + 1e-3 * std::abs(value)) << (*it)[0];
  }
}

TEST_F(ReportHtml, OneInputGivesOneSetOfBytes) {
  const ordered_json result = swept_result(2, 2);
  const std::string first = html_of(result, "one"), second = html_of(result, "two");
  EXPECT_TRUE(first == second);
  int files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(folder_ / "one")) {
    if (!entry.is_regular_file()) continue;
    EXPECT_TRUE(test::read_bytes(entry.path()) == test::read_bytes(folder_ / "two" / fs::relative(entry.path(), folder_ / "one"))) << entry.path();
    ++files;
  }
  EXPECT_GE(files, 3);
}

TEST(Palette, TextCanBeRead) {
  EXPECT_DOUBLE_EQ(report::contrast("#000000", "#ffffff"), 21);
  EXPECT_NEAR(report::contrast("#777777", "#ffffff"), 4.48, 0.005);  // the classic grey that fails by a hair
  for (const report::Palette& p : {report::kLight, report::kDark})
    for (const char* text : {p.ink, p.soft, p.good, p.bad, p.open, p.a, p.b})
      for (const char* background : {p.page, p.card}) EXPECT_GE(report::contrast(text, background), 4.5) << text << " on " << background;
}

TEST_F(ReportHtml, MatrixOfTwoSettingsHasAPlaceForEachCell) {
  ordered_json result = swept_result(4, 2);
  result["scenario"]["sweep"] = {{"/arms/B/workload/kv_k", {"f16", "q8_0"}}, {"/arms/B/workload/kv_v", {"f16", "q8_0"}}};
  int i = 0;
  for (const char* name : {"kv_k=f16 kv_v=f16", "kv_k=f16 kv_v=q8_0", "kv_k=q8_0 kv_v=f16", "kv_k=q8_0 kv_v=q8_0"}) {
    ordered_json& cell = result["analysis"]["cells"][static_cast<std::size_t>(i)];
    cell["name"] = name, cell["metrics"]["prefill.total_s"]["effect_percent"] = -20 + 10 * i++;
  }
  const std::string html = html_of(result);
  const std::string map = html.substr(html.find("<table class=\"matrix\">"),
                                      html.find("</table>", html.find("<table class=\"matrix\">")) - html.find("<table class=\"matrix\">"));
  for (const char* wanted : {"kv_k \\ kv_v", "<th>q8_0</th>", "-20.00 %", "-10.00 %", "0.00 %", "10.00 %", "FASTER"})
    EXPECT_NE(map.find(wanted), std::string::npos) << wanted << map;
  EXPECT_LT(map.find("-10.00 %"), map.find(">0.00 %"));
  EXPECT_NE(html.find("swept: f16, q8_0"), std::string::npos);
}

// The run's word is that of its worst cell; what each cell says stands beside it.
TEST_F(ReportHtml, FirstScreenOfASweepAnswersForEachCell) {
  ordered_json result = swept_result(3, 2);
  ordered_json& cells = result["analysis"]["cells"];
  cells[2]["verdict"]["word"] = "SLOWER", cells[2]["metrics"]["prefill.total_s"]["effect_percent"] = 12.5;
  cells[2]["metrics"]["prefill.total_s"]["interval_percent"] = {-1.5, 30};
  result["verdict"]["word"] = "SLOWER";
  const std::string html = html_of(result), card = html.substr(html.find("<div class=\"verdict"),
                                                               html.find("</div>") - html.find("<div class=\"verdict"));
  for (const char* wanted :
       {"is the word of the worst cell",
        "B (chunked) against A (recurrent) in 3 cells (settings of chunk): ", "faster in 2, slower in 1",
        "<strong>chunk=1</strong> <span class=\"w FASTER\">FASTER</span>: 10.25 % faster (9.12 to 11.50 % faster)",
        "<strong>chunk=4</strong> <span class=\"w SLOWER\">SLOWER</span>: 12.50 % slower (1.50 % faster to 30.00 % "
        "slower)",
        "8 pairs of fresh processes in each cell"})
    EXPECT_NE(card.find(wanted), std::string::npos) << wanted << " in " << card;
}

TEST_F(ReportHtml, ChecksOfACellSeeItsOwnSamples) {
  ordered_json result = swept_result(2, 2);
  for (ordered_json& sample : result["samples"]) sample["page_cache"]["state"] = sample["cell"] == 0 ? "cold" : "warm";
  ordered_json control = result["samples"][0];
  control["control"] = true, control["path"]["gdn"] = "of the control", control["position"] = 99;
  result["samples"].push_back(control);
  const std::string html = html_of(result);
  EXPECT_NE(html.find("<td>A cold; B cold</td>"), std::string::npos);
  EXPECT_NE(html.find("<td>A warm; B warm</td>"), std::string::npos);
  EXPECT_EQ(html.find("class=\"fail\""), std::string::npos);
  EXPECT_EQ(html.find("of the control"), std::string::npos);
}

TEST_F(ReportHtml, RowsOfLongNamesStayApart) {
  ordered_json result = swept_result(2, 2);
  result["scenario"]["sweep"] = {{"/arms/B/knobs/CROSSOVER_QUANT_SCHEDULE", {"expert-per-thread", "expert-spawn"}}};
  result["analysis"]["cells"][0]["name"] = "CROSSOVER_QUANT_SCHEDULE=expert-per-thread";
  result["analysis"]["cells"][1]["name"] = "CROSSOVER_QUANT_SCHEDULE=expert-spawn";
  html_of(result);
  const std::string script = test::read_bytes(folder_ / "out" / "plots" / "planted-effects.gp");
  for (const char* wanted : {"'expert-per-thread' 2", "'expert-spawn' 1", "Rows: CROSSOVER_QUANT_SCHEDULE"})
    EXPECT_NE(script.find(wanted), std::string::npos) << wanted << script;
}

TEST(Words, SayWhichWayAMetricGoes) {
  EXPECT_EQ(report::change(-12.5, "load.total_s"), "12.50 % faster");
  EXPECT_EQ(report::change(1.5, "decode.tokens_per_s"), "1.50 % slower");
  EXPECT_EQ(report::change(-3, "memory.peak_bytes"), "3.00 % smaller");
  EXPECT_EQ(report::change(3, "perplexity"), "3.00 % worse");
  EXPECT_EQ(report::changes({-14, -12}, "wall_s"), "12.00 to 14.00 % faster");
  EXPECT_EQ(report::changes({1, 2}, "wall_s"), "1.00 to 2.00 % slower");
  EXPECT_EQ(report::changes({-1, 2}, "wall_s"), "1.00 % faster to 2.00 % slower");
  EXPECT_EQ(report::meaning("load.total_s"), "time of the whole load");
  EXPECT_EQ(report::meaning("prefill.gdn.scan_s"), "time in the part gdn.scan of reading the prompt");
  EXPECT_EQ(report::meaning("made_up_s"), "");
}

TEST_F(ReportHtml, CrossingOfASweepIsSaidAndDrawn) {
  ordered_json result = swept_result(3, 2);
  result["crossings"] = {
      {{"axis", "chunk"}, {"sentence", "B is faster above chunk 2.5"}, {"crossings", {{{"at", 2.5}, {"low", 2.25}, {"high", 3}}}}}};
  const std::string html = html_of(result);
  EXPECT_NE(html.find("B is faster above chunk 2.5"), std::string::npos);
  EXPECT_NE(test::read_bytes(folder_ / "out" / "plots" / "planted-curve.gp").find("from first 2.5, graph 0 to first 2.5, graph 1"), std::string::npos);
}

TEST_F(ReportHtml, HostileNumbersAndNamesMakeASafePage) {
  ordered_json result = sample_result();
  const std::string name = "\u202eevil <script>alert(1)</script> \xE6\xB5\x8B\xE8\xAF\x95 \x01\x1b[31m 'quote' `id`";
  result["scenario"]["name"] = name, result["scenario"]["question"] = name;
  int i = 0;
  for (ordered_json& sample : result["samples"]) {
    ++i;
    if (i == 1) sample["metrics"]["prefill.total_s"] = 1e308;
    if (i == 2) sample["metrics"]["prefill.total_s"] = "NaN";
    if (i == 3) sample["metrics"]["prefill.total_s"] = -1e308;
    if (i == 4) sample["metrics"]["prefill.total_s"] = 0;
    for (int phase = 0; phase < 500; ++phase)
      sample["phases"].push_back({{"name", "prefill." + name + std::to_string(phase)},
                                  {"rank", phase % 3},
                                  {"start_s", 1e308},
                                  {"duration_s", 1e308},
                                  {"parent", phase - 1}});
  }
  ordered_json& cell = result["analysis"]["cells"][0];
  cell["metrics"]["prefill.total_s"]["effect_percent"] = 1e308;
  cell["metrics"]["prefill.total_s"]["interval_percent"] = {-1e308, 1e308};
  for (int phase = 0; phase < 500; ++phase) cell["waterfall"].push_back({{"phase", name + std::to_string(phase)}, {"delta_s", 1e308}});
  const std::string html = html_of(result);
  EXPECT_EQ(html.find("<script"), std::string::npos);
  EXPECT_EQ(html.find_first_of("\x01\x1b"), std::string::npos);
  EXPECT_EQ(html.find("\u202e"), std::string::npos) << "text that turns itself around";
  EXPECT_NE(html.find("\xE6\xB5\x8B\xE8\xAF\x95"), std::string::npos) << "names of any script are shown";
  EXPECT_EQ(html.find("000000000000000000000"), std::string::npos) << "no number of 300 digits";
  EXPECT_EQ(html.find("inf"), html.find("info"));
  EXPECT_FALSE(fs::exists(folder_ / "out" / "plots" / "id"));
  EXPECT_TRUE(ordered_json::accept(test::read_bytes(folder_ / "out" / "trace.json")));
}

TEST_F(ReportHtml, AForwardPassStandsBesideItsFloors) {
  ordered_json result = sample_result();
  EXPECT_EQ(html_of(result).find("How far from the floor"), std::string::npos) << "nothing was counted";
  result["environment"]["ceilings"] = {{"read_all_bytes_per_s", 2e10}, {"fma_f32_all_flop_per_s", 1e11}, {"dot_int8_all_op_per_s", 4e11}};
  for (ordered_json& sample : result["samples"]) sample["counters"] = {{"prefill.bytes", 5e9}, {"prefill.flops", 2e11}};
  const std::string html = html_of(result);
  for (const char* wanted : {"How far from the floor", "<td>floor: memory</td><td class=\"n\">250 ms</td>",
                             "<td>floor: arithmetic</td><td class=\"n\">500 ms</td>"})
    EXPECT_NE(html.find(wanted), std::string::npos) << wanted;
  EXPECT_EQ(html.find("No picture: gnuplot failed"), std::string::npos);
}

TEST_F(ReportHtml, QuotesInNamesDoNotEndALabel) {
  ordered_json result = sample_result();
  result["plan"]["primary"] = "it's_s";
  for (ordered_json& sample : result["samples"]) sample["metrics"] = {{"it's_s", 1.5}};
  result["analysis"]["cells"][0]["metrics"] = {{"it's_s", {{"effect_percent", 1}}}};
  result["analysis"]["cells"][0]["name"] = "who's `first`";
  const std::string html = html_of(result);
  EXPECT_EQ(html.find("No picture: gnuplot failed"), std::string::npos);
}

TEST_F(ReportHtml, IndexLinksAPageForEachResult) {
  std::ofstream(folder_ / "a.json") << sample_result().dump();
  ordered_json other = sample_result();
  other["environment"]["cpu"]["model"] = "Another CPU";
  std::ofstream(folder_ / "b.json") << other.dump();
  write_report({folder_ / "a.json", folder_ / "b.json"}, folder_ / "out", false);
  const std::string index = test::read_bytes(folder_ / "out" / "report.html");
  EXPECT_NE(index.find("href=\"planted.html\""), std::string::npos);
  EXPECT_NE(index.find("href=\"planted-2.html\""), std::string::npos);
  EXPECT_NE(index.find("<td>cpu.model</td><td>Some CPU</td><td>Another CPU</td>"), std::string::npos) << "what differs between the files";
  EXPECT_TRUE(fs::exists(folder_ / "out" / "planted.html"));
  EXPECT_NE(test::read_bytes(folder_ / "out" / "planted-2.html").find("Another CPU"), std::string::npos);
}

TEST(Quantities, HaveTheUnitOfTheirName) {
  EXPECT_EQ(report::quantity("load.total_s", 4.3712), "4.371 s");
  EXPECT_EQ(report::quantity("load.open_s", 0.00062), "620 µs");
  EXPECT_EQ(report::quantity("decode.tokens_per_s", 25.414), "25.41 tokens/s");
  EXPECT_EQ(report::quantity("quantize.weights_per_s", 9.5e8), "950 M weights/s");
  EXPECT_EQ(report::quantity("memory.peak_bytes", 1356894208.0), "1.357 GB");
  EXPECT_EQ(report::quantity("load.busy_share", 0.5825), "58.25 %");
  EXPECT_EQ(report::quantity("score", 7.0), "7");
  EXPECT_EQ(report::quantity("load.total_s", std::nullopt), "–");
  EXPECT_EQ(report::shown({"memory.available_bytes", "24609816576"}), "24.61 GB");
  EXPECT_EQ(report::shown({"ceilings.read_all_bytes_per_s", "21500000000.0"}), "21.5 GB/s");
  EXPECT_EQ(report::shown({"cpu.family", "25"}), "25");
  EXPECT_EQ(report::shown({"hash_bytes", "12ab"}), "12ab");
}

}  // namespace
}  // namespace crossover
