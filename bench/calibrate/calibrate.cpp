#include "bench/calibrate/calibrate.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <stdexcept>
#include <string_view>
#include <thread>

#include "bench/calibrate/usual_habits.h"
#include "bench/judge/verdict.h"
#include "bench/process/interrupt.h"
#include "engine/knobs.h"

namespace crossover {

namespace {

constexpr double kSigma = 0.01;
constexpr double kPlantedOverMde = 1.5;
constexpr const char* kEquivalence = "equivalence";  // groups of checks that are no shape of noise
constexpr const char* kControl = "control";

// What a run of the simulated program would have as its file. The command is never started.
constexpr const char* kScenario = R"json({
  "schema": "crossover.scenario/1", "name": "calibrate",
  "workload": {"kind": "external", "command": ["true"], "metrics": {"wall_s": {}, "control_s": {"regex": "([0-9.]+)"}}},
  "arms": {"A": {}, "B": {}},
  "plan": {"primary": "wall_s", "threshold_percent": 0},
  "expect": {"outputs": "identical"}
})json";

// One output of SplitMix64 (Steele, Lea, Flood 2014).
std::uint64_t mix(std::uint64_t z) {
  z += 0x9e3779b97f4a7c15U;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
  return z ^ (z >> 31);
}

// FNV-1a: a shape's experiments stay the same when others come or go.
std::uint64_t number_of(std::string_view name) {
  std::uint64_t hash = 0xcbf29ce484222325U;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
  return hash;
}

// What a batch of experiments has in common.
struct Setting {
  Scenario scenario;
  SimulatedProgram program;
  std::string stream;  // names the random numbers: equal streams draw equal ones
};

struct Trial {
  Word word = Word::kInconclusive;
  bool covered = false;     // the interval holds program.effect_ln
  bool order_seen = false;  // the order effect's interval excludes 0
};

Trial run_trial(Scenario& scenario, SimulatedProgram& program, std::uint64_t seed) {
  scenario.seed = mix(seed), program.seed = mix(seed + 1);
  const Verdict verdict = judge(scenario, simulate(make_plan(scenario), program));
  const MetricAnalysis& primary = verdict.cells.at(0).metrics.at(scenario.primary);
  const auto inside = [](const Interval& interval, double value) { return interval.low <= value && value <= interval.high; };
  const CrossoverEstimate& estimate = primary.estimate.value();
  return {verdict.word, inside(estimate.interval.value(), program.effect_ln), !inside(estimate.order_interval.value(), 0)};
}

class Calibrator {
 public:
  explicit Calibrator(const CalibrationOptions& options) : base_(parse_scenario(kScenario, "calibrate", {{}, options.pairs})) {
    out_.options = options;
    for (NoiseShape& shape : noise_shapes(options.pairs))
      if (wanted(shape.name)) out_.shapes.push_back(std::move(shape));
    constexpr int kBatchesOfShape = 4, kBatchesOfOrder = 2, kBatchesOfEquivalence = 2, kBatchesOfControl = 3;
    const int batches = kBatchesOfShape * static_cast<int>(out_.shapes.size()) + kBatchesOfOrder * wanted("order") +
                        kBatchesOfEquivalence * wanted(kEquivalence) + kBatchesOfControl * wanted(kControl);
    total_ = std::int64_t{batches} * options.experiments;
  }

  Calibration operator()() {
    for (const NoiseShape& shape : out_.shapes) add_shape(shape);
    if (wanted("order")) add_order_checks();
    if (wanted(kEquivalence)) add_equivalence_checks();
    if (wanted(kControl)) add_control_checks();
    return std::move(out_);
  }

 private:
  bool wanted(const std::string& name) const {
    const auto& names = out_.options.shapes;
    return names.empty() || std::count(names.begin(), names.end(), name) > 0;
  }

  // experiment(i) for every i, dealt to the threads; which thread it was changes nothing.
  template <typename MakeExperiment>
  void for_each_experiment(const std::string& what, const MakeExperiment& make_experiment) {
    const int threads = std::max(1, out_.options.threads);
    std::vector<std::exception_ptr> errors(static_cast<std::size_t>(threads));
    std::atomic<std::int64_t> next{0};
    const auto work = [&](int worker) {
      try {
        auto experiment = make_experiment();
        for (std::int64_t i = next++; i < out_.options.experiments; i = next++) {
          if (interrupted()) throw std::runtime_error("interrupted; a calibration keeps nothing, start it again with fewer --experiments");
          experiment(i);
          if (worker == 0 && out_.options.progress) out_.options.progress(what, done_ + i, total_);
        }
      } catch (...) {
        errors[static_cast<std::size_t>(worker)] = std::current_exception();
        next = out_.options.experiments;
      }
    };
    std::vector<std::thread> others;
    for (int worker = 1; worker < threads; ++worker) others.emplace_back(work, worker);
    work(0);
    for (std::thread& other : others) other.join();
    for (const std::exception_ptr& error : errors)
      if (error) std::rethrow_exception(error);
    done_ += out_.options.experiments;
  }

  std::vector<Trial> run(const Setting& setting) {
    std::vector<Trial> trials(static_cast<std::size_t>(out_.options.experiments));
    const std::uint64_t stream = mix(out_.options.seed) ^ number_of(setting.stream);
    for_each_experiment(setting.stream, [&] {
      return [&, scenario = setting.scenario, program = setting.program](std::int64_t i) mutable {
        trials[static_cast<std::size_t>(i)] = run_trial(scenario, program, stream + 2 * static_cast<std::uint64_t>(i));
      };
    });
    return trials;
  }

  Scenario scenario(double threshold_ln) const {
    Scenario out = base_;
    out.threshold_percent = percent(threshold_ln);
    return out;
  }

  template <typename Predicate>
  static Proportion count(const std::vector<Trial>& trials, const Predicate& predicate) {
    return {std::count_if(trials.begin(), trials.end(), predicate), static_cast<std::int64_t>(trials.size())};
  }
  static Proportion count(const std::vector<Trial>& trials, Word word) {
    return count(trials, [word](const Trial& trial) { return trial.word == word; });
  }

  double mde_ln(const SimulatedProgram& program) const {
    return minimum_detectable_effect(population_standard_error(program, base_.pairs), base_.pairs - 2, 0);
  }

  void add_shape(const NoiseShape& shape) {
    const auto add = [&](const char* measure, const char* says, Proportion counted, double limit, bool at_most) {
      out_.rates.push_back({shape.name, measure, says, counted, limit, at_most});
    };
    const std::vector<Trial> same = run({scenario(0), shape.program, shape.name});
    add("false_verdict", "FASTER or SLOWER without an effect",
        count(same, [](const Trial& t) { return t.word == Word::kFaster || t.word == Word::kSlower; }), kFalseVerdictLimit, true);
    add("covered", "the interval holds 0", count(same, [](const Trial& t) { return t.covered; }), kCoverageLimit, false);
    add("invalid", "INVALID without a reason", count(same, Word::kInvalid), kInvalidLimit, true);
    SimulatedProgram faster = shape.program;
    faster.effect_ln = -kPlantedOverMde * mde_ln(shape.program);
    out_.planted_ln.push_back(faster.effect_ln);
    const std::vector<Trial> planted = run({scenario(0), faster, shape.name + ", planted"});
    add("found", "FASTER where B is", count(planted, Word::kFaster), kFoundLimit, false);
    add("covered_planted", "the interval holds the effect", count(planted, [](const Trial& t) { return t.covered; }), kCoverageLimit, false);
    add_habit(shape, Habit::kBlocks, "blocks", "all of A, then all of B, Welch's t test: a difference at 5 %");
    add_habit(shape, Habit::kAlternating, "alternating", "A B A B in fixed order, paired t test: a difference at 5 %");
  }

  void add_habit(const NoiseShape& shape, Habit habit, const char* measure, const char* says) {
    std::vector<char> seen(static_cast<std::size_t>(out_.options.experiments));
    const std::uint64_t stream = mix(out_.options.seed) ^ number_of(shape.name + measure);
    for_each_experiment(shape.name + ", " + measure, [&] {
      return [&, program = shape.program](std::int64_t i) mutable {
        program.seed = mix(stream + static_cast<std::uint64_t>(i));
        seen[static_cast<std::size_t>(i)] = habit_sees_difference(habit, program, out_.options.pairs);
      };
    });
    out_.habits.push_back({shape.name, measure, says, {std::count(seen.begin(), seen.end(), 1), out_.options.experiments}, {}, true});
  }

  // A test at 5 % calls 5 % of equal arms different, whatever their order effect. What the order effect itself may not do is change a
  // verdict: the same experiments with and without it must end in the same word, every one.
  void add_order_checks() {
    SimulatedProgram ordered;
    ordered.noise_ln = kSigma, ordered.second_ln = 3 * kSigma;
    const std::vector<Trial> with = run({scenario(0), ordered, "order, twice"});
    ordered.second_ln = 0;
    const std::vector<Trial> without = run({scenario(0), ordered, "order, twice"});
    Proportion changed{0, out_.options.experiments};
    for (std::size_t i = 0; i < with.size(); ++i) changed.count += with[i].word != without[i].word ? 1 : 0;
    out_.checks.push_back({"order", "order_changed", "an order effect of 3 sigma: verdicts that differ from those without it", changed, 0.0, true});
    out_.checks.push_back({"order", "order_seen", "an order effect of 3 sigma: its own interval excludes 0",
                           count(with, [](const Trial& t) { return t.order_seen; }), kFoundLimit, false});
  }

  void add_equivalence_checks() {
    SimulatedProgram program;
    program.noise_ln = kSigma;
    const double tau = kPlantedOverMde * mde_ln(program);
    out_.checks.push_back({kEquivalence, "equivalent", "equal arms, a threshold of 1.5 x the population MDE: EQUIVALENT",
                           count(run({scenario(tau), program, "equivalence"}), Word::kEquivalent), kFoundLimit, false});
    program.effect_ln = tau;
    out_.checks.push_back({kEquivalence, "false_equivalent", "B slower by exactly the threshold: EQUIVALENT",
                           count(run({scenario(tau), program, "equivalence, at the threshold"}), Word::kEquivalent), kFalseVerdictLimit, true});
  }

  void add_control_checks() {
    constexpr double kThreshold = 0.02;
    SimulatedProgram program;
    program.noise_ln = kSigma, program.control_share = 0.3;
    Scenario watched = scenario(kThreshold);
    watched.expect.controls = {"control_s"};
    out_.checks.push_back({kControl, "false_invalid", "a control of 30 % of the time, threshold 2 sigma: INVALID without a reason",
                           count(run({watched, program, "control"}), Word::kInvalid), kInvalidLimit, true});
    SimulatedProgram noisy = program;
    noisy.noise_ln = 5 * kSigma, noisy.control_share = 1;
    out_.checks.push_back({kControl, "false_invalid_noisy", "a control as long as the primary, threshold 0.4 sigma: INVALID without a reason",
                           count(run({watched, noisy, "control, noisy"}), Word::kInvalid), kInvalidLimit, true});
    program.control_effect_ln = 3 * kThreshold / program.control_share;  // in seconds three times what is let pass
    out_.checks.push_back({kControl, "control_moved", "that control moves by 6 % of the primary's time: INVALID",
                           count(run({watched, program, "control, moved"}), Word::kInvalid), kFoundLimit, false});
  }

  Calibration out_;
  const Scenario base_;
  std::int64_t done_ = 0, total_ = 0;
};

[[noreturn]] void refuse_name(const std::string& name, const std::vector<std::string>& names) {
  const std::string guess = nearest(name, names);
  throw std::invalid_argument(fmt::format("there is no shape '{}'; {}", name,
                                          guess.empty() ? fmt::format("take of {}", fmt::join(names, ", ")) : "did you mean " + guess + "?"));
}

void check_options(const CalibrationOptions& options) {
  if (options.experiments < 1) throw std::invalid_argument(fmt::format("{} experiments count nothing; take 1 or more", options.experiments));
  if (options.pairs < 4) throw std::invalid_argument(fmt::format("{} pairs have no interval; take 4 or more", options.pairs));
  std::vector<std::string> names{kEquivalence, kControl};
  for (const NoiseShape& shape : noise_shapes(options.pairs)) names.push_back(shape.name);
  for (const std::string& name : options.shapes)
    if (std::count(names.begin(), names.end(), name) == 0) refuse_name(name, names);
}

}  // namespace

std::vector<NoiseShape> noise_shapes(int pairs) {
  std::vector<NoiseShape> shapes;
  const auto add = [&shapes](const char* name, const char* says, auto... changes) {
    SimulatedProgram program;
    program.noise_ln = kSigma;
    (changes(program), ...);
    shapes.push_back({name, says, program});
  };
  const auto drift = [pairs](SimulatedProgram& p) { p.drift_ln = 3 * kSigma / (2 * pairs - 1); };
  const auto warm_up = [](SimulatedProgram& p) { p.warm_up_ln = 3 * kSigma, p.warm_up_samples = 3; };
  const auto order = [](SimulatedProgram& p) { p.second_ln = 3 * kSigma; };
  const auto heavy_tail = [](SimulatedProgram& p) { p.tail_df = 3; };
  const auto sticky = [](SimulatedProgram& p) { p.slow_clock_ln = 5 * kSigma, p.slow_clock_share = 0.3, p.clock_stays = 0.9; };
  add("white", "independent, normal");
  add("drift", "white, and a linear drift of 3 sigma from the first sample to the last", drift);
  add("warm-up", "white, and the first sample 3 sigma slower, falling to 1/e in three samples", warm_up);
  add("ar1", "normal, correlation 0.7 with the sample before", [](SimulatedProgram& p) { p.correlation = 0.7; });
  add("heavy-tail", "Student t with 3 degrees of freedom, scaled to sigma", heavy_tail);
  add("bimodal", "white, and every other sample on average 5 sigma slower", [](SimulatedProgram& p) { p.slow_clock_ln = 5 * kSigma; });
  add("sticky-clocks", "white, and 5 sigma slower for 30 % of the time, in stretches of about 14 samples", sticky);
  add("order", "white, and the second sample of every pair 3 sigma slower", order);
  add("all-at-once", "drift, warm-up, order, heavy tail, sticky clocks and correlation 0.5", drift, warm_up, order, heavy_tail, sticky,
      [](SimulatedProgram& p) { p.correlation = 0.5; });
  return shapes;
}

NoiseShape noise_shape(const std::string& name, int pairs) {
  std::vector<std::string> names;
  for (NoiseShape& shape : noise_shapes(pairs)) {
    if (shape.name == name) return shape;
    names.push_back(shape.name);
  }
  refuse_name(name, names);
}

Holds CalibrationRate::holds() const {
  if (!limit) return Holds::kYes;
  const double share = counted.share();
  if (at_most ? share <= *limit : share >= *limit) return Holds::kYes;
  if (counted.of >= kDecisiveExperiments) return Holds::kNo;
  const Interval interval = exact_interval(counted);
  return (at_most ? interval.low <= *limit : interval.high >= *limit) ? Holds::kOpen : Holds::kNo;
}

Holds worst(const std::vector<CalibrationRate>& rates) {
  Holds found = Holds::kYes;
  for (const CalibrationRate& rate : rates) found = std::max(found, rate.holds());
  return found;
}

Calibration calibrate(const CalibrationOptions& options) {
  check_options(options);
  return Calibrator(options)();
}

}  // namespace crossover
