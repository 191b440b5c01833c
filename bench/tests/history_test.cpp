#include "bench/history/history.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <fstream>
#include <functional>
#include <set>
#include <stdexcept>

#include "bench/report/strip.h"
#include "bench/result_file.h"
#include "bench/tests/nights.h"
#include "engine/tests/temp_folder.h"

namespace crossover {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

class HistoryFile : public test::FolderTest {
 protected:
  // The message of a failure to open the file for reading.
  std::string refusal(bool create = false) {
    try {
      History history(file_, create);
    } catch (const std::runtime_error& error) {
      return error.what();
    }
    return "";
  }

  std::string check() {
    Database database(file_, /*create=*/false);
    Statement statement(database, "PRAGMA integrity_check");
    return statement.step() ? statement.text(0) : "";
  }

  // Runs whose points are not those that were added with them.
  std::int64_t torn() {
    Database database(file_, /*create=*/false);
    Statement statement(database, "SELECT count(*) FROM runs WHERE (SELECT count(*) FROM points WHERE run = id) <> 2");
    statement.step();
    return statement.whole(0);
  }

  const fs::path file_ = folder_ / "history.sqlite";
};

// A process of its own; 0 is its good end.
pid_t in_child(const std::function<void()>& work) {
  const pid_t child = fork();
  if (child != 0) return child;
  try {
    work();
    _exit(0);
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    _exit(1);
  }
}

std::string large_text() { return "{\"padding\": \"" + std::string(200000, 'x') + "\"}"; }

TEST_F(HistoryFile, KeepsAResultWholeAndOnce) {
  const ordered_json result = night_result({});
  const std::string text = result.dump(1) + "\n";
  History history(file_, /*create=*/true);
  const auto [id, added] = history.add(make_run_record(result), text);
  EXPECT_EQ(added, Added::kNew);
  EXPECT_EQ(history.add(make_run_record(result), text), std::pair(id, Added::kThere));
  EXPECT_EQ(history.result_text(id), text);
  EXPECT_EQ(history.list({}).size(), 1U);
  ordered_json published = result;
  report::strip_private(published);
  EXPECT_EQ(history.add(make_run_record(published), published.dump()).second, Added::kThere) << "a stripped copy is the same run";
  EXPECT_EQ(history.result_text(id), text);
  EXPECT_THROW(history.result_text(id + 1), std::invalid_argument);
}

TEST_F(HistoryFile, ARunThatWasContinuedTakesThePlaceOfItsBeginning) {
  const ordered_json whole = night_result({});
  ordered_json beginning = whole;
  beginning["samples"].erase(beginning["samples"].size() - 3);
  History history(file_, /*create=*/true);
  history.add(make_run_record(beginning), "beginning");
  const auto [id, added] = history.add(make_run_record(whole), "whole");
  EXPECT_EQ(added, Added::kReplaced);
  EXPECT_EQ(history.add(make_run_record(beginning), "beginning").second, Added::kThere);
  EXPECT_EQ(history.list({}).size(), 1U);
  EXPECT_EQ(history.result_text(id), "whole");
  EXPECT_EQ(history.points("wall_s", {}).size(), 3U);  // A, B, effect: those of the beginning are gone
}

TEST_F(HistoryFile, HasTheMeansOfTheSamples) {
  const ordered_json result = night_result({});
  History history(file_, /*create=*/true);
  history.add(make_run_record(result), "{}");
  for (const HistoryPoint& at : history.points("wall_s", {})) {
    if (at.point.arm == "effect") {
      EXPECT_NEAR(percent(at.point.value_ln), result["analysis"][0]["metrics"]["wall_s"]["effect_percent"].get<double>(), 1e-12);
      EXPECT_TRUE(at.point.interval_ln.has_value());
      EXPECT_EQ(at.point.n, 8);
      continue;
    }
    double sum = 0;
    int n = 0;
    for (const ordered_json& sample : result["samples"])
      if (sample["arm"] == at.point.arm && !sample.contains("control")) sum += std::log(sample["metrics"]["wall_s"].get<double>()), ++n;
    EXPECT_NEAR(at.point.value_ln, sum / n, 1e-12);
    EXPECT_EQ(at.point.n, n);
    EXPECT_EQ(at.point.page_cache, "warm");
  }
}

TEST_F(HistoryFile, ListsByScenarioMachineAndTime) {
  History history(file_, /*create=*/true);
  for (const int night : {3, 1, 2}) {
    RunRecord run = night_run(night, "c", 0, 0);
    if (night == 2) run.scenario = "other", run.machine = "big";
    history.add(run, "{}");
  }
  EXPECT_EQ(history.list({}).at(0).run.started_at, night_time(1));
  HistoryFilter filter;
  filter.scenario = "nightly";
  EXPECT_EQ(history.list(filter).size(), 2U);
  filter.since = night_time(2).substr(0, 10);
  EXPECT_EQ(history.list(filter).size(), 1U);
  filter = {};
  filter.machine = "big";
  EXPECT_EQ(history.list(filter).at(0).run.scenario, "other");
  filter.machine = "' OR 1=1 --";
  EXPECT_TRUE(history.list(filter).empty());
}

TEST_F(HistoryFile, RefusesByNameWhatIsNone) {
  EXPECT_NE(refusal().find("there is no history in"), std::string::npos);
  std::ofstream(file_) << std::string(5000, 'x');
  EXPECT_NE(refusal().find("it is no SQLite file"), std::string::npos) << refusal();
  EXPECT_NE(refusal(/*create=*/true).find(file_.string()), std::string::npos);
  fs::remove(file_);
  { Database(file_, /*create=*/true).run("CREATE TABLE recipes(name)"); }
  EXPECT_NE(refusal(/*create=*/true).find("of another program"), std::string::npos);
  fs::remove(file_);
  fs::create_directory(file_);
  EXPECT_NE(refusal().find("is a folder"), std::string::npos);
}

TEST_F(HistoryFile, RefusesTablesOfANewerVersionAndLeavesThemAlone) {
  { History(file_, /*create=*/true).add(night_run(1, "c", 0, 0), "{}"); }
  { Database(file_, /*create=*/false).run("PRAGMA user_version = 7"); }
  EXPECT_NE(refusal(/*create=*/true).find("newer crossover (version 7"), std::string::npos) << refusal();
  { Database(file_, /*create=*/false).run("PRAGMA user_version = 1"); }
  EXPECT_EQ(History(file_, /*create=*/false).list({}).size(), 1U);
}

TEST_F(HistoryFile, AnEmptyFileBecomesOneAndADamagedOneIsRefused) {
  std::ofstream(file_) << "";
  { History(file_, /*create=*/true).add(night_run(1, "c", 0, 0), large_text()); }
  EXPECT_EQ(check(), "ok");
  {
    std::fstream damaged(file_, std::ios::in | std::ios::out | std::ios::binary);
    damaged.seekp(4096);
    damaged << std::string(8192, '\x55');
  }
  try {
    History history(file_, /*create=*/true);
    history.add(night_run(2, "c", 0, 0), "{}");
    history.list({});
    ADD_FAILURE() << "nothing was noticed";
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("damaged"), std::string::npos) << error.what();
  }
}

TEST_F(HistoryFile, TwoWritersAtOnceLoseNothing) {
  constexpr int kEach = 25;
  std::vector<pid_t> writers;
  for (const int writer : {0, 1, 2})  // the third adds what the first does
    writers.push_back(in_child([&] {
      for (int i = 0; i < kEach; ++i) {
        History history(file_, /*create=*/true);  // anew each time, as commands do: all three may find no tables
        RunRecord run = night_run(i, "c", 0, 0);
        run.plan_hash = writer == 1 ? "second" : "first";
        history.add(run, large_text());
      }
    }));
  for (const pid_t writer : writers) {
    int status = -1;
    ASSERT_EQ(waitpid(writer, &status, 0), writer);
    EXPECT_EQ(status, 0);
  }
  EXPECT_EQ(check(), "ok");
  EXPECT_EQ(torn(), 0);
  EXPECT_EQ(History(file_, /*create=*/false).list({}).size(), 2U * kEach);
}

// What an add reported is there, and nothing is there in part, wherever the writer was killed.
TEST_F(HistoryFile, SurvivesAWriterThatIsKilled) {
  Random random{42};
  std::set<std::int64_t> reported;
  for (int round = 0; round < 12; ++round) {
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    const pid_t writer = in_child([&] {
      close(ends[0]);
      History history(file_, /*create=*/true);
      for (int i = 0;; ++i) {
        RunRecord run = night_run(i, "c", 0, 0);
        run.plan_hash = std::to_string(round);
        const std::int64_t id = history.add(run, large_text()).first;
        if (write(ends[1], &id, sizeof id) != sizeof id) _exit(1);
      }
    });
    close(ends[1]);
    std::int64_t id = 0;
    for (auto wait = random.below(6); wait > 0 && read(ends[0], &id, sizeof id) == sizeof id; --wait) reported.insert(id);
    usleep(static_cast<useconds_t>(random.below(4000)));
    kill(writer, SIGKILL);
    while (read(ends[0], &id, sizeof id) == sizeof id) reported.insert(id);
    close(ends[0]);
    int status = 0;
    ASSERT_EQ(waitpid(writer, &status, 0), writer);
    EXPECT_TRUE(WIFSIGNALED(status));
  }
  EXPECT_EQ(check(), "ok");
  EXPECT_EQ(torn(), 0);
  std::set<std::int64_t> there;
  History history(file_, /*create=*/false);
  for (const HistoryRun& row : history.list({})) {
    there.insert(row.id);
    EXPECT_EQ(history.result_text(row.id).size(), large_text().size());
  }
  for (const std::int64_t id : reported) EXPECT_TRUE(there.contains(id)) << id;
  EXPECT_GT(reported.size(), 3U);
}

TEST(UsualHistory, FollowsTheXdgRule) {
  const char* old_xdg = getenv("XDG_DATA_HOME");
  const std::string kept = old_xdg ? old_xdg : "";
  setenv("XDG_DATA_HOME", "/data", 1);
  EXPECT_EQ(usual_history_file(), fs::path("/data/crossover/history.sqlite"));
  setenv("XDG_DATA_HOME", "relative", 1);
  EXPECT_NE(usual_history_file(), fs::path("relative/crossover/history.sqlite"));
  if (old_xdg) setenv("XDG_DATA_HOME", kept.c_str(), 1);
  else unsetenv("XDG_DATA_HOME");
}

std::string complaint(const ordered_json& result) {
  try {
    make_run_record(result);
  } catch (const std::exception& error) {
    return error.what();
  }
  return "";
}

TEST(RunRecords, HostileResultsAreRefusedByWhatIsWrong) {
  const ordered_json good = night_result({});
  const auto with = [&](const std::function<void(ordered_json&)>& change) {
    ordered_json bad = good;
    change(bad);
    return complaint(bad);
  };
  EXPECT_EQ(complaint(good), "");
  EXPECT_NE(with([](auto& r) { r["samples"][0]["arm"] = "C"; }).find("neither A nor B"), std::string::npos);
  EXPECT_NE(with([](auto& r) { r["samples"][0]["cell"] = 1e18; }).find("no place in a sweep"), std::string::npos);
  EXPECT_NE(with([](auto& r) { r["samples"][0]["cell"] = -1; }).find("no place in a sweep"), std::string::npos);
  EXPECT_NE(with([](auto& r) { r["samples"][3] = 17; }).find("no object"), std::string::npos);
  EXPECT_NE(with([](auto& r) { r["samples"][0]["started_at"] = "yesterday"; }).find("no time"), std::string::npos);
  EXPECT_NE(with([](auto& r) { r["samples"][0].erase("started_at"); }).find("started_at"), std::string::npos);
  EXPECT_NE(with([](auto& r) { r["samples"] = ordered_json::array(); }).find("none of its samples"), std::string::npos);
  EXPECT_NE(with([](auto& r) { r["verdict"]["word"] = "GREAT"; }).find("GREAT"), std::string::npos);
  EXPECT_NE(with([](auto& r) { r["plan"]["hash"] = 3; }).find("/plan/hash"), std::string::npos);
  EXPECT_NE(with([](auto& r) { r["plan"]["threshold_percent"] = "2"; }).find("threshold"), std::string::npos);
  EXPECT_NE(with([](auto& r) { r["scenario"] = "all"; }).find("/scenario/name"), std::string::npos);
  for (const char* part : {"analysis", "environment", "build", "knobs"})
    for (const ordered_json& nonsense : {ordered_json(3), ordered_json("x"), ordered_json::array({1, ordered_json::array()}), ordered_json()})
      EXPECT_EQ(with([&](auto& r) { r[part] = nonsense; }), "") << part;  // what only describes may be absent
}

TEST(RunRecords, ValuesThatHaveNoLogarithmAreLeftOut) {
  ordered_json result = night_result({});
  for (ordered_json& sample : result["samples"]) sample["metrics"]["zero_s"] = 0, sample["metrics"]["wrong_s"] = "1", sample["metrics"]["unit"] = 1;
  result["samples"][0]["metrics"]["wall_s"] = -1;
  for (const RunPoint& point : make_run_record(result).points) {
    EXPECT_TRUE(point.metric == "wall_s" || point.metric == "control_s") << point.metric;
    EXPECT_TRUE(std::isfinite(point.value_ln));
  }
}

TEST(RunRecords, NightsDifferInWhatMayDiffer) {
  const RunRecord one = make_run_record(night_result({1}));
  const RunRecord two = make_run_record(night_result({2, "def"}));
  EXPECT_EQ(one.asked, two.asked);  // another seed
  EXPECT_EQ(one.machine, two.machine);
  EXPECT_NE(one.plan_hash, two.plan_hash);
  nlohmann::json larger = scenario_json();
  larger["plan"]["pairs"] = 10;
  const RunRecord other = make_run_record(night_result({1}, larger));
  EXPECT_NE(other.scenario_hash(), one.scenario_hash());
  EXPECT_EQ(differences(one.asked, other.asked), "/plan/looks/0 is 8 in BASE and 10 in NEW, /plan/pairs is 8 in BASE and 10 in NEW");
}

TEST(RunRecords, AHostNameInAContainerIsNoPartOfTheMachine) {
  ordered_json one = night_result({}), two = one;
  two["environment"]["host"] = "other";
  EXPECT_NE(make_run_record(one).machine, make_run_record(two).machine);
  one["environment"]["virtualisation"]["container"] = two["environment"]["virtualisation"]["container"] = "docker";
  EXPECT_EQ(make_run_record(one).machine, make_run_record(two).machine);
  EXPECT_EQ(make_run_record(one, {"ci-large", ""}).machine, "ci-large");
}

TEST(RunRecords, TheBuildIsThatOfWhatWasMeasured) {
  const auto build_in = [](const ordered_json& result, const RecordNames& names = {}) {
    const RunRecord run = make_run_record(result, names);
    return run.points.front().build;
  };
  ordered_json external = night_result({});
  EXPECT_EQ(build_in(external), "");  // crossover's commit says nothing of another program
  EXPECT_EQ(build_in(external, {"", "v2"}), "v2");
  EXPECT_EQ(make_run_record(external, {"", "v2"}).label(), "v2");
  ordered_json own = external;
  own["scenario"]["workload"]["kind"] = "prefill";
  EXPECT_EQ(build_in(own), "abc");
  EXPECT_THROW(build_in(own, {"", "v2"}), std::invalid_argument);
  own["build"]["dirty"] = true;  // two dirty trees of one commit may differ
  EXPECT_EQ(build_in(own), "");
  EXPECT_EQ(make_run_record(own).label(), "abc-dirty");
}

TEST(ResultFiles, AreRefusedByName) {
  const test::TempFolder folder;
  const fs::path file = folder / "r.json";
  const auto refusal = [&](const std::string& text) -> std::string {
    std::ofstream(file, std::ios::trunc) << text;
    try {
      read_result(file, "add");
    } catch (const std::runtime_error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(refusal(night_result({}).dump()), "");
  EXPECT_NE(refusal("{\"schema\": \"crossover.result/2\"}").find("newer version (schema 2"), std::string::npos);
  EXPECT_NE(refusal("{\"schema\": \"crossover.result/1\\u001b[31m\"}").find("schema is"), std::string::npos);
  EXPECT_EQ(refusal("{\"schema\": \"crossover.result/1\\u001b[31m\"}").find('\x1b'), std::string::npos);
  EXPECT_NE(refusal(std::string(100000, '[')).find("nested"), std::string::npos);
  EXPECT_NE(refusal("[]").find("it has no \"schema\""), std::string::npos);
  EXPECT_NE(refusal("").find("cannot add " + file.string()), std::string::npos);
}

}  // namespace
}  // namespace crossover
