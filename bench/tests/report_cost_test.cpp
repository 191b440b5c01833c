// What a report costs: its limits are asked of a quiet machine and checked as processor time, which a busy one changes
// little.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "bench/report/report.h"
#include "bench/tests/sample_result.h"

namespace crossover {
namespace {

namespace fs = std::filesystem;

std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

class ReportCost : public testing::Test {
 protected:
  fs::path folder_ = fs::temp_directory_path() / ("crossover-cost-" + std::to_string(getpid()));

  void SetUp() override { fs::create_directories(folder_); }
  void TearDown() override { fs::remove_all(folder_); }
};

struct Cost {
  int exit = -1;
  double processor_s = 0;
  double peak_bytes = 0;
};

// Of a process of its own that writes the report, gnuplot included.
Cost cost_of_report(const fs::path& file, const fs::path& out) {
  const pid_t child = fork();
  if (child == 0) {
    try {
      write_report({file}, out, false);
    } catch (const std::exception&) {
      _exit(1);
    }
    _exit(0);
  }
  int status = 0;
  rusage used{};
  while (wait4(child, &status, 0, &used) < 0 && errno == EINTR) continue;
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, seconds(used.ru_utime) + seconds(used.ru_stime),
          1024.0 * static_cast<double>(used.ru_maxrss)};
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

// 100,000 samples, 500 phases in some of them and in the waterfall, names that would be markup, numbers at the edge and
// strings for numbers.
std::string hostile_result() {
  const std::string name = "<script>alert(1)</script>\u202e \xE6\xB5\x8B \x01";
  ordered_json result = sample_result();
  result["scenario"]["name"] = name, result["scenario"]["question"] = name;
  ordered_json phases = ordered_json::array();
  for (int phase = 0; phase < 500; ++phase) {
    phases.push_back({{"name", "prefill." + name + std::to_string(phase)},
                      {"rank", phase % 3},
                      {"start_s", 1e308},
                      {"duration_s", 1e308},
                      {"parent", phase - 1}});
    result["analysis"]["cells"][0]["waterfall"].push_back(
        {{"phase", name + std::to_string(phase)}, {"delta_s", 1e308}});
  }
  std::string samples;
  for (int i = 0; i < 100'000; ++i) {
    const char* value = i == 7 ? "1e308" : i == 8 ? "\"NaN\"" : nullptr;
    samples += std::string(i ? "," : "") + R"({"arm":")" + (i % 2 ? "B" : "A") + R"(","pair":)" +
               std::to_string(i / 2) + R"(,"position":)" + std::to_string(i) +
               R"(,"cell":0,"metrics":{"prefill.total_s":)" + (value ? value : std::to_string(1 + i % 97 * 0.001)) +
               R"(},"flags":["x"])" + (i % 5000 == 0 ? ",\"phases\":" + phases.dump() : "") + "}";
  }
  result["samples"] = "@";
  std::string text = result.dump();
  return text.replace(text.find("\"@\""), 3, "[" + samples + "]");
}

// Five seconds are asked of a quiet machine and 500 MB of any; threads of one core that other programs keep busy take
// up to twice as long.
TEST_F(ReportCost, HostileFileOfAHundredThousandSamplesIsCheap) {
  std::ofstream(folder_ / "result.json") << hostile_result();
  const Cost cost = cost_of_report(folder_ / "result.json", folder_ / "out");
  EXPECT_EQ(cost.exit, 0);
  if (!kSanitized) {
    EXPECT_LT(cost.processor_s, 10);
    EXPECT_LT(cost.peak_bytes, 500e6);
  }
  const std::string html = read(folder_ / "out" / "report.html");
  EXPECT_LT(html.size(), 3'000'000U);
  EXPECT_NE(html.find("of 100000 rows; the file holds all"), std::string::npos);
  EXPECT_EQ(html.find("<script"), std::string::npos);
  EXPECT_EQ(html.find_first_of("\x01\x1b"), std::string::npos);
  EXPECT_EQ(html.find("000000000000000000000"), std::string::npos) << "no number of 300 digits";
  EXPECT_NE(html.find("\xE6\xB5\x8B"), std::string::npos);
}

// Two seconds are asked of a quiet machine.
TEST_F(ReportCost, FourCellsOfSixteenSamplesAreCheapAndFitAPage) {
  std::ofstream(folder_ / "result.json") << swept_result(4, 8).dump();
  const Cost cost = cost_of_report(folder_ / "result.json", folder_ / "out");
  EXPECT_EQ(cost.exit, 0);
  if (!kSanitized) {
    EXPECT_LT(cost.processor_s, 5);
  }
  EXPECT_LT(fs::file_size(folder_ / "out" / "report.html"), 1'500'000U);
}

}  // namespace
}  // namespace crossover
