// Whatever a sample process does becomes a record. The processes here are shell scripts that stand for builds of crossover.
#include "bench/targets/child.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "engine/tests/temp_folder.h"

namespace crossover {
namespace {

class Child : public test::FolderTest {
 protected:
  Sample take(const std::string& script, const std::string& job = "{}") {
    const std::filesystem::path program = folder_ / "program";
    std::ofstream(program) << "#!/bin/sh\n" << script << "\n";
    chmod(program.c_str(), 0755);
    SampleRequest request;
    request.program = program;
    request.environment = {"PATH=/usr/bin:/bin"};
    request.timeout_s = 5;
    return take_child_sample(request, job);
  }
};

constexpr const char* kGood = R"({"schema":"crossover.sample/1","metrics":{"load.total_s":1.5},"path":{"gdn":"chunked"}})";

TEST_F(Child, ReadsTheLastLineAsTheSample) {
  const Sample sample = take("echo chatter; echo '{\"phase\":\"load.read\"}' >&3; echo '" + std::string(kGood) + "' >&3");
  EXPECT_TRUE(sample.ok()) << sample.failure;
  EXPECT_EQ(sample.metrics.at("load.total_s"), 1.5);
  EXPECT_EQ(sample.path.at("gdn"), "chunked");
}

TEST_F(Child, GetsItsJobAndArguments) {
  const Sample sample = take(
      "[ \"$*\" = 'sample --job 0 --result 3' ] || exit 9\nread job\n"
      "echo \"{\\\"schema\\\":\\\"crossover.sample/1\\\",\\\"output_hash\\\":\\\"$job\\\"}\" >&3",
      "the-job\n");
  EXPECT_EQ(sample.output_hash, "the-job") << sample.failure;
}

TEST_F(Child, CountsItsStartFromTheSpawn) {
  const Sample sample = take(
      "now=$(cut -d' ' -f1 /proc/uptime)\necho '{\"schema\":\"crossover.sample/1\",\"main_started_s\":'$now'}' >&3");
  ASSERT_TRUE(sample.metrics.contains("process.start_s")) << sample.failure;
  EXPECT_LT(sample.metrics.at("process.start_s"), 5);
  EXPECT_GT(sample.metrics.at("process.start_s"), -0.1);
}

TEST_F(Child, RecordsACrashWithItsPhaseAndStderr) {
  const Sample sample = take("echo '{\"phase\":\"load.read\"}' >&3; echo '{\"phase\":\"load.quantize\"}' >&3; echo dying >&2; kill -SEGV $$");
  EXPECT_EQ(sample.signal, SIGSEGV);
  EXPECT_EQ(sample.last_phase, "load.quantize");
  EXPECT_EQ(sample.stderr_tail, "dying\n");
  EXPECT_NE(sample.failure.find("signal 11"), std::string::npos);
}

TEST_F(Child, RecordsAnExitCodeEvenAfterASample) {
  const Sample sample = take("echo '" + std::string(kGood) + "' >&3; exit 4");
  EXPECT_EQ(sample.exit, 4);
  EXPECT_EQ(sample.failure, "ended with exit code 4");
  EXPECT_TRUE(sample.metrics.empty());
}

TEST_F(Child, RecordsAHang) {
  const double limit_s = 5;
  const Sample sample = take("echo '{\"phase\":\"wait\"}' >&3; sleep 60");
  EXPECT_NE(sample.failure.find("limit of 5 s"), std::string::npos) << limit_s;
  EXPECT_EQ(sample.last_phase, "wait");
}

TEST_F(Child, RecordsGarbage) {
  const std::pair<const char*, const char*> kGarbage[] = {
      {"true", "without a sample"},
      {"echo hello >&3", "is not JSON"},
      {"echo 5 >&3", "not an object"},
      {"echo '{}' >&3", "schema is null"},
      {"echo '{\"schema\":\"crossover.sample/2\"}' >&3", "this build reads crossover.sample/1"},
      {"echo '{\"schema\":\"crossover.sample/1\",\"metrics\":{\"x_s\":\"fast\"}}' >&3", "metrics.x_s"},
      {"echo '{\"schema\":\"crossover.sample/1\",\"metrics\":{\"x_s\":1e999}}' >&3", "garbage"},
      {"echo '{\"schema\":\"crossover.sample/1\",\"output_tokens\":[1.5]}' >&3", "output_tokens"},
      {"echo '{\"schema\":\"crossover.sample/1\",\"top_logits\":[{\"ids\":[1],\"logits\":[]}]}' >&3", "top_logits"},
      {"head -c 100000 /dev/zero | tr '\\0' '[' >&3", "nests deeper"},
      {"head -c 100000 /dev/urandom >&3", "garbage"},
  };
  for (const auto& [script, why] : kGarbage) {
    const Sample sample = take(script);
    EXPECT_NE(sample.failure.find(why), std::string::npos) << script << ": " << sample.failure;
  }
}

}  // namespace
}  // namespace crossover
