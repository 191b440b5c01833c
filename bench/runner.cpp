#include "bench/runner.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>
#include <thread>

#include "bench/journal.h"
#include "bench/judge/looks.h"
#include "bench/judge/speed_limits.h"
#include "bench/machine/environment.h"
#include "bench/machine/sample_conditions.h"
#include "bench/machine/usable_cores.h"
#include "bench/page_cache.h"
#include "bench/process/interrupt.h"
#include "bench/process/process.h"
#include "bench/progress.h"
#include "bench/result.h"
#include "kernels/trace.h"

namespace crossover {

namespace {

using nlohmann::json;

class Run {
 public:
  Run(const Scenario& scenario, Target& target, const RunOptions& options)
      : scenario_(scenario), target_(target), options_(options), record_(record_of(options)),
        plan_(make_plan(scenario, record_.extends ? record_.extends->plan_hash : "")),
        environments_(sample_environments(scenario, plan_, options.ambient)), environment_before_(environment_json()),
        progress_(options.quiet) {}

  RunOutcome operator()() {
    Journal journal(options_.out, {plan_.hash, scenario_.json}, options_.resume);
    check_planned(journal);
    if (journal.samples().empty()) write_plan_record(options_.out, plan_.hash, record_);
    prepare();
    announce(journal);
    take_samples(journal);
    RunOutcome outcome{plan_, in_planned_order(journal), take_traces(), {}, rates_, options_.out / "result.json", ceilings_, {}, record_.extends};
    outcome.verdict = judge(scenario_, outcome.samples, record_.noise);
    finish_looks(outcome);
    keeping_samples(journal, [&] { write_result(scenario_, outcome, environment_before_, options_.ambient.dropped); });
    return outcome;
  }

  double rehearse_s() {
    prepare();
    const Sample sample = take(plan_.samples.front());
    stop_if_asked();
    if (!sample.ok()) throw std::runtime_error(fmt::format("a rehearsal of {} failed: {}", scenario_.name, sample.failure));
    check_primary(sample);
    return last_s_;
  }

 private:
  static PlanRecord record_of(const RunOptions& options) {
    return options.resume ? read_plan_record(options.out).value_or(options.record) : options.record;
  }

  void say(const std::string& line) const {
    if (options_.say) options_.say(line);
  }

  SampleRequest request_for(const PlannedSample& planned) const {
    const ArmSettings& arm = scenario_.cells[static_cast<std::size_t>(planned.cell)].arm(planned.arm);
    const json workload = json::parse(arm.workload);
    return {planned.arm, planned.cell, planned.pair, planned.position, planned.control, arm.workload, arm.knobs,
            environments_[static_cast<std::size_t>(planned.position)], planned.prompt_seed, nonce_of(plan_, planned), arm.program,
            scenario_.sample_timeout_s, parse_cpu_list(workload.value("cpus", "")), workload.value("priority", 0)};
  }

  // Once for every cell and arm; untimed.
  void prepare() {
    std::set<std::pair<int, char>> seen;
    std::int64_t done = 0;
    for (const PlannedSample& planned : plan_.samples) {
      if (!seen.insert({planned.cell, planned.arm}).second) continue;
      progress_.show("preparing", done++, static_cast<std::int64_t>(2 * scenario_.cells.size()));
      SampleRequest request = request_for(planned);
      request.position = -1;
      target_.prepare(request);
      stop_if_asked();
      if (const auto rates = target_.rates(request)) rates_[{planned.cell, planned.arm}] = *rates;
    }
    ceilings_ = target_.ceilings();
  }

  void announce(const Journal& journal) const {
    const std::size_t left = plan_.samples.size() - journal.samples().size();
    say(fmt::format("{}: plan {} with {} pairs in {} cell{}, {}{} samples to take", scenario_.name, plan_.hash.substr(0, 12),
                    scenario_.pairs, scenario_.cells.size(), scenario_.cells.size() == 1 ? "" : "s",
                    scenario_.looks.size() > 1 ? "at most " : "", left));
    if (left == 0) return;
    for (const std::string& name : options_.ambient.dropped) say(name + " of the environment is not passed on to the samples");
    if (const auto each_s = journal_seconds_per_sample(options_.out))
      say(fmt::format("about {:.0f} s (mean distance of the samples in the journal)", *each_s * static_cast<double>(left)));
    else
      say(fmt::format("at most {:.0f} s (the time limit of every sample); an estimate follows the first pair",
                      static_cast<double>(left) * scenario_.sample_timeout_s));
  }

  void take_samples(Journal& journal) {
    std::set<int> finished;
    int failed = 0;
    for (const Sample& sample : journal.samples()) {
      finished.insert(sample.position);
      failed += sample.ok() ? 0 : 1;
    }
    check_failures(failed, journal);
    started_s_ = monotonic_s();
    std::int64_t done = static_cast<std::int64_t>(finished.size());
    for (const PlannedSample& planned : plan_.samples) {
      if (!planned.control && ended_before(planned, journal)) continue;
      if (finished.contains(planned.position)) continue;
      stop_if_asked();
      stop_if_late();
      progress_.show(fmt::format("{} {}", scenario_.name, planned.arm), done, static_cast<std::int64_t>(plan_.samples.size()));
      keeping_samples(journal, [&] { journal.reserve(); });
      Sample sample = take(planned);
      stop_if_asked();  // an interrupted sample is not finished and leaves no line
      if (split_by_a_stop(planned, finished)) sample.flags.push_back("split_pair");
      keeping_samples(journal, [&] { journal.append(sample); });
      if (!sample.ok()) check_failures(++failed, journal);
      else check_primary(sample);
      ++taken_, ++done;
      if (taken_ == 2) estimate(static_cast<std::int64_t>(plan_.samples.size()) - done);
    }
  }

  // Looks at the data where `planned` is the first sample beyond a declared look; true once a look has decided.
  bool ended_before(const PlannedSample& planned, const Journal& journal) {
    while (!ended_ && looks_.size() + 1 < scenario_.looks.size() && planned.pair >= scenario_.looks[looks_.size()]) take_look(journal);
    return ended_;
  }

  void take_look(const Journal& journal) {
    const int pairs = scenario_.looks[looks_.size()];
    std::vector<Sample> samples = in_planned_order(journal);
    std::erase_if(samples, [](const Sample& sample) { return sample.control; });  // taken after the last look
    const std::size_t all = samples.size();
    std::erase_if(samples, [pairs](const Sample& sample) { return sample.pair >= pairs; });
    const bool went_on = samples.size() < all;  // before it was interrupted; what was taken counts
    const Verdict verdict = judge(scenario_, samples, record_.noise);
    add_look(pairs, verdict);
    ended_ = is_decided(verdict) && !went_on;
    say(fmt::format("look at {} pairs: {}; {}", pairs, word_text(verdict.word), ended_ ? "no further pairs are needed" : "going on"));
  }

  void add_look(int pairs, const Verdict& verdict) {
    const std::vector<int> so_far(scenario_.looks.begin(), scenario_.looks.begin() + static_cast<std::ptrdiff_t>(looks_.size()) + 1);
    looks_.push_back({pairs, verdict.word, chance_over_looks(verdict.look_level, so_far)});
  }

  void finish_looks(RunOutcome& outcome) {
    Verdict& verdict = outcome.verdict;
    if (ended_) {
      looks_.back().word = verdict.word;  // now with the determinism control
      verdict.reason += fmt::format("; decided at the look at {} of {} pairs", looks_.back().pairs, scenario_.pairs);
    } else {
      add_look(scenario_.pairs, verdict);
    }
    if (record_.extends)
      verdict.reason += fmt::format("; unplanned extension of plan {} ({} pairs), judged on its own samples alone",
                                    record_.extends->plan_hash.substr(0, 12), record_.extends->pairs);
    outcome.looks = looks_;
  }

  // After the plan, with the prompts of pair 0, and not kept in the journal: a run that goes on takes them again. One that fails is a trace
  // that says so; the verdict needs none.
  std::vector<Sample> take_traces() {
    constexpr std::size_t kMostCells = 8;
    std::vector<Sample> traces;
    for (const PlannedSample& planned : plan_.samples) {
      const bool wanted = planned.pair == 0 && !planned.control && (planned.cell == 0 || scenario_.cells.size() <= kMostCells);
      if (!wanted || !target_.can_trace(request_for(planned)) || is_late()) continue;
      stop_if_asked();
      progress_.show(fmt::format("{} {} traced", scenario_.name, planned.arm), static_cast<std::int64_t>(traces.size()), 2);
      traces.push_back(take_trace(planned));
    }
    return traces;
  }

  // A driver may fail at counters in ways that end the process; one without them tells the rest.
  Sample take_trace(const PlannedSample& planned) {
    Sample trace = take(planned, /*traced=*/true);
    if (trace.ok() || is_late()) return trace;
    Sample without = take(planned, /*traced=*/true, /*counters=*/false);
    if (!without.ok()) return trace;
    without.flags.push_back("trace: without counters, as the sample that counted failed: " + trace.failure);
    return without;
  }

  Sample take(const PlannedSample& planned, bool traced = false, bool counters = true) {
    SampleRequest request = request_for(planned);
    request.traced = traced, request.counters = counters;
    const json workload = json::parse(request.workload);
    const double begin_s = monotonic_s();
    cool_down(workload.value("cooldown_s", 0.0));
    target_.before(request);
    const std::optional<PageCacheState> page_cache = condition(workload, target_.files(request));
    const std::string started_at = utc_now();
    const MachineTicks before = read_machine_ticks();
    Sample sample = target_.take(request);
    note_machine(before, read_machine_ticks(), request.cpus.empty() ? usable_cores() : static_cast<int>(request.cpus.size()), sample);
    if (scenario_.kind == "endpoint")  // a server on this machine is another program by its nature
      std::erase_if(sample.flags, [](const std::string& flag) { return flag.starts_with("interference"); });
    target_.after(request);
    sample.arm = planned.arm, sample.cell = planned.cell, sample.pair = planned.pair, sample.position = planned.position;
    sample.control = planned.control, sample.started_at = started_at;
    sample.page_cache = page_cache;
    if (sample.clocks.empty()) sample.clocks = clocks_json();
    flag_impossible(sample);
    if (planned.pair != 0 || planned.control) sample.timeline.clear();
    if (traced) sample.flags.push_back("traced");
    else if (planned.position == 0) sample.flags.push_back("first");
    last_s_ = monotonic_s() - begin_s;
    return sample;
  }

  // The ceilings may have been taken while something else ran, so they get a few more chances before the sample is called impossible.
  void flag_impossible(Sample& sample) {
    constexpr int kChances = 3;
    if (!ceilings_) return;
    const auto rates = rates_.find({sample.cell, sample.arm});
    const auto flags = [&] { return impossible_speeds(sample, {*ceilings_, rates == rates_.end() ? std::nullopt : std::optional(rates->second)}); };
    for (int chance = 0; chance < kChances && !flags().empty(); ++chance) ceilings_ = highest(*ceilings_, target_.ceilings().value_or(*ceilings_));
    for (std::string& flag : flags()) sample.flags.push_back(std::move(flag));
  }

  static std::optional<PageCacheState> condition(const json& workload, const std::vector<std::filesystem::path>& files) {
    if (files.empty()) return std::nullopt;
    const std::string wanted = workload.value("page_cache", "as-is");
    Residency found;
    if (wanted == "as-is") {
      try {
        found = residency(files);
      } catch (const std::runtime_error&) {
        return std::nullopt;  // not asked for, so not known is not an error
      }
    } else {
      found = wanted == "cold" ? make_cold(files) : make_warm(files);
    }
    const char* state = found.fraction() <= kColdFraction ? "cold" : found.fraction() >= kWarmFraction ? "warm" : "partial";
    return PageCacheState{state, found.bytes_resident, found.bytes_total};
  }

  static void cool_down(double seconds) {
    const double end_s = monotonic_s() + seconds;
    while (monotonic_s() < end_s && !interrupted())
      std::this_thread::sleep_for(std::chrono::duration<double>(std::min(0.05, std::max(0.0, end_s - monotonic_s()))));
  }

  // A pair whose first sample was taken by an earlier run.
  bool split_by_a_stop(const PlannedSample& planned, const std::set<int>& finished_before) const {
    for (const PlannedSample& other : plan_.samples)
      if (!planned.control && !other.control && other.cell == planned.cell && other.pair == planned.pair && other.arm != planned.arm)
        return finished_before.contains(other.position);
    return false;
  }

  void check_failures(int failed, const Journal& journal) const {
    if (failed <= scenario_.max_failed) return;
    const auto& samples = journal.samples();
    const auto last = std::find_if(samples.rbegin(), samples.rend(), [](const Sample& sample) { return !sample.ok(); });
    std::string tail = last->stderr_tail.substr(0, last->stderr_tail.find_last_not_of(" \n") + 1);
    tail = tail.substr(tail.rfind('\n') == std::string::npos ? 0 : tail.rfind('\n') + 1);
    throw std::runtime_error(fmt::format(
        "sample {} (arm {}) failed: {}{}{}; {} failed and limits.max_failed is {}; see {}", last->position, last->arm, last->failure,
        last->last_phase.empty() ? "" : " in phase " + last->last_phase, tail.empty() ? "" : " (stderr: " + tail + ")", failed,
        scenario_.max_failed, journal.path().string()));
  }

  void check_primary(const Sample& sample) const {
    if (sample.metrics.contains(scenario_.primary)) return;
    std::string there;
    for (const auto& [name, value] : sample.metrics) there += (there.empty() ? "" : ", ") + name;
    const std::string remedy = scenario_.primary.starts_with("decode.")
                                   ? "raise /workload/generate_tokens until decoding takes 0.2 s"
                                   : "name one of these in /plan/primary: " + there;
    throw std::runtime_error(fmt::format("sample {} (arm {}) has no metric {}; {}", sample.position, sample.arm, scenario_.primary, remedy));
  }

  void estimate(std::int64_t left) const {
    if (left <= 0) return;
    const double each_s = (monotonic_s() - started_s_) / static_cast<double>(taken_);
    say(fmt::format("about {:.0f} s for {} more samples ({:.2f} s each in the first two)", each_s * static_cast<double>(left), left, each_s));
  }

  std::string how_to_resume() const {
    return fmt::format("continue with the same command and --out {} --resume", (options_.resume_out.empty() ? options_.out : options_.resume_out).string());
  }

  void stop_if_asked() const {
    if (interrupted()) throw std::runtime_error(fmt::format("interrupted; every finished sample is kept, {}", how_to_resume()));
  }

  bool is_late() const { return options_.max_time_s && monotonic_s() - started_s_ + last_s_ > *options_.max_time_s; }

  void stop_if_late() const {
    if (is_late())
      throw std::runtime_error(fmt::format("--max-time {} s is up after {} samples; {}", *options_.max_time_s, taken_, how_to_resume()));
  }

  // Runs what fails on a full disk.
  template <typename Write>
  void keeping_samples(const Journal& journal, Write write) const {
    try {
      write();
    } catch (const std::runtime_error& error) {
      throw std::runtime_error(fmt::format("{}; {} finished samples are kept: make room, then {}", error.what(), journal.samples().size(),
                                           how_to_resume()));
    }
  }

  void check_planned(const Journal& journal) const {
    for (const Sample& sample : journal.samples()) {
      const bool inside = sample.position >= 0 && static_cast<std::size_t>(sample.position) < plan_.samples.size();
      const PlannedSample planned = inside ? plan_.samples[static_cast<std::size_t>(sample.position)] : PlannedSample{};
      if (!inside || planned.arm != sample.arm || planned.cell != sample.cell || planned.pair != sample.pair || planned.control != sample.control)
        throw std::runtime_error(fmt::format("{} holds a sample {} of arm {} that is not in its plan; it was changed, choose another --out",
                                             journal.path().string(), sample.position, sample.arm));
    }
  }

  static std::vector<Sample> in_planned_order(const Journal& journal) {
    std::vector<Sample> samples = journal.samples();
    std::stable_sort(samples.begin(), samples.end(), [](const Sample& x, const Sample& y) { return x.position < y.position; });
    return samples;
  }

  const Scenario& scenario_;
  Target& target_;
  const RunOptions& options_;
  const PlanRecord record_;
  const Plan plan_;
  const std::vector<std::vector<std::string>> environments_;
  const std::string environment_before_;
  Progress progress_;
  std::map<std::pair<int, char>, LoadRates> rates_;
  std::optional<Ceilings> ceilings_;
  double started_s_ = 0, last_s_ = 0;
  std::int64_t taken_ = 0;
  std::vector<Look> looks_;  // taken
  bool ended_ = false;       // at a look before the last one
};

}  // namespace

std::optional<double> journal_seconds_per_sample(const std::filesystem::path& folder) {
  std::ifstream journal(folder / "journal.jsonl");
  std::optional<double> first_s, last_s;
  int count = 0;
  for (std::string line; std::getline(journal, line);) {
    const json entry = json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!entry.is_object() || !entry.contains("position") || !entry["started_at"].is_string()) continue;
    last_s = utc_seconds(entry["started_at"].get<std::string>());
    if (!first_s) first_s = last_s;
    ++count;
  }
  if (count < 2 || !last_s || *last_s <= *first_s) return std::nullopt;
  return (*last_s - *first_s) / (count - 1);
}

double rehearse_s(const Scenario& scenario, Target& target, const RunOptions& options) { return Run(scenario, target, options).rehearse_s(); }

RunOutcome run_scenario(const Scenario& scenario, Target& target, const RunOptions& options) {
  return Run(scenario, target, options)();
}

}  // namespace crossover
