#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "bench/report/kernel_page.h"
#include "engine/tests/temp_folder.h"

namespace crossover {
namespace {

using nlohmann::json;

struct KernelPage : test::FolderTest {
  std::filesystem::path save(const json& value, const std::string& name = "kernels-zen4.json") {
    std::ofstream(folder_ / name) << value;
    return folder_ / name;
  }
  const json row_{{"name", "matmul/q6_k/avx2/M:16/threads:1"}, {"run_type", "iteration"}, {"label", "f32"}, {"flop/s", 25e9}, {"s/call", 2}};
  const json run_{{"context", {{"date", "2026-01-01"}, {"host_name", "secret"}}},
                  {"ceilings", {{"threads", 4}, {"fma_f32_1_flop_per_s", 100e9}, {"fma_f32_all_flop_per_s", 400e9}}},
                  {"benchmarks", {row_}},
                  {"peers", {{"<other>", json::array()}}}};
};

TEST_F(KernelPage, ShowsTheTableAndTheMachine) {
  const auto file = save(run_);
  ASSERT_TRUE(is_kernel_run(file));
  const auto page = write_kernel_page(file, folder_ / "out");
  EXPECT_EQ(page, folder_ / "out" / "kernels-zen4.html");
  const std::string html = test::read_bytes(page);
  const auto has = [&](const char* text) { return html.find(text) != std::string::npos; };
  EXPECT_TRUE(has("<td>matmul/q6_k</td><td>M:16</td><td>1</td><td>f32</td><td class=\"n\">25 (25 %)</td>")) << html;
  EXPECT_TRUE(has("fastest / &lt;other&gt;"));
  EXPECT_TRUE(has("fma_f32_1_flop_per_s"));
  EXPECT_TRUE(has("2026-01-01"));
  EXPECT_FALSE(has("secret"));
}

TEST_F(KernelPage, ShowsARunOfAGpu) {
  const json row{{"name", "ceiling/read/manual_time"}, {"run_type", "iteration"}, {"label", "memory"}, {"flop/s", 0}, {"bytes/s", 4e12},
                 {"real_time", 3}, {"time_unit", "us"}};
  const auto page = write_kernel_page(save({{"context", json::object()}, {"benchmarks", {row}}}, "report.json"), folder_ / "out");
  EXPECT_EQ(page.filename(), "report-kernels.html");  // report.html is the page of results
  EXPECT_NE(test::read_bytes(page).find("<td>ceiling/read</td><td class=\"n\">3 us</td>"), std::string::npos);
}

TEST_F(KernelPage, WhatIsNoneIsLeftToOthersAndABadRowIsNamed) {
  EXPECT_FALSE(is_kernel_run(folder_ / "missing.json"));
  EXPECT_FALSE(is_kernel_run(save({{"schema", "crossover.result/1"}, {"samples", json::array()}})));
  EXPECT_FALSE(is_kernel_run(save(json::array({1}))));
  json bad = run_;
  bad["benchmarks"][0].erase("s/call");
  try {
    write_kernel_page(save(bad), folder_ / "out");
    FAIL();
  } catch (const std::runtime_error& error) {
    const std::string line = error.what();
    EXPECT_NE(line.find("kernels-zen4.json: benchmark matmul/q6_k/avx2/M:16/threads:1 has no number s/call"), std::string::npos) << line;
  }
}

}  // namespace
}  // namespace crossover
