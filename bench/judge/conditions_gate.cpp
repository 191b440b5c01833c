// Were both arms measured under the conditions that were asked for, and can the numbers be true at all?
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "bench/judge/gates.h"
#include "bench/process/process.h"

namespace crossover {

namespace {

using nlohmann::json;

constexpr double kSumTolerance = 0.02, kSumSlack_s = 1e-4;  // phases against the time that they are parts of
constexpr double kOutsideSlack_s = 0.005;                   // between the clocks inside and outside of a process

GateResult passed(const char* gate) { return {gate, "pass", ""}; }
GateResult failed(const char* gate, std::string finding) { return {gate, "fail", std::move(finding)}; }
GateResult unknown(const char* gate) { return {gate, "not recorded", ""}; }

std::optional<double> number(const std::map<std::string, double>& numbers, const std::string& name) {
  const auto it = numbers.find(name);
  return it == numbers.end() ? std::nullopt : std::optional(it->second);
}

std::optional<std::string> flag_of(const Sample& sample, const char* kind) {
  for (const std::string& flag : sample.flags)
    if (flag.starts_with(kind)) return flag;
  return std::nullopt;
}

std::string cores_text(const std::vector<int>& cpus) {
  std::string text;
  for (std::size_t i = 0; i < cpus.size();) {
    std::size_t end = i;
    while (end + 1 < cpus.size() && cpus[end + 1] == cpus[end] + 1) ++end;
    text += fmt::format("{}{}{}", text.empty() ? "" : ",", cpus[i], end > i ? fmt::format("-{}", cpus[end]) : "");
    i = end + 1;
  }
  return text;
}

std::string resident_text(const PageCacheState& state) {
  return state.bytes_total > 0 ? fmt::format("{} ({:.1f} % resident)", state.state,
                                             100 * static_cast<double>(state.bytes_resident_before) / static_cast<double>(state.bytes_total))
                               : state.state;
}

// What the arm asked for and the kernel did not give.
std::string wrong_grant(const json& workload, const Sample& sample) {
  const std::vector<int> wanted = parse_cpu_list(workload.value("cpus", ""));
  const int priority = workload.value("priority", 0);
  if (!wanted.empty() && !sample.cpus.empty() && sample.cpus != wanted)
    return fmt::format("sample {} should have run on cores {} and was given {}; free these cores for it", sample.position, cores_text(wanted),
                       cores_text(sample.cpus));
  if (priority != 0 && sample.priority && *sample.priority != priority)
    return fmt::format("sample {} should have run with priority {} and was given {}; run as a user who may set it", sample.position, priority,
                       *sample.priority);
  return "";
}

// More time inside a process of ours than it lived; what an external program reports may have passed in a server.
std::string longer_than_its_life(const Sample& sample) {
  const auto wall_s = number(sample.counters, "process.wall_s");
  if (!wall_s || !sample.main_started_s) return "";
  double inside_s = 0;
  for (const char* part : {"load.total_s", "prefill.total_s", "decode.total_s"}) inside_s += number(sample.metrics, part).value_or(0);
  if (inside_s <= *wall_s + kOutsideSlack_s) return "";
  return fmt::format("sample {} reports {:.4g} s of load, prefill and decode, and its process lived {:.4g} s; correct its clock or what it counts",
                     sample.position, inside_s, *wall_s);
}

// Parts against the whole, rank by rank, and the whole against the metric of its name.
std::string wrong_sum(const Sample& sample) {
  for (std::size_t parent = 0; parent < sample.phases.size(); ++parent) {
    const SamplePhase& whole = sample.phases[parent];
    if (whole.parent != -1) continue;
    double sum_s = 0;
    bool has_parts = false;
    for (const SamplePhase& part : sample.phases)
      if (part.parent == static_cast<int>(parent)) sum_s += part.duration_s, has_parts = true;
    const double allowed_s = kSumTolerance * whole.duration_s + kSumSlack_s;
    if (has_parts && std::abs(sum_s - whole.duration_s) > allowed_s)
      return fmt::format("the phases of {} in sample {} (rank {}) sum to {:.4g} s and it took {:.4g} s; time was moved across its boundary: "
                         "correct where it starts and ends",
                         whole.name, sample.position, whole.rank, sum_s, whole.duration_s);
    const auto metric_s = number(sample.metrics, whole.name + ".total_s");
    if (metric_s && std::abs(*metric_s - whole.duration_s) > allowed_s)
      return fmt::format("{}.total_s of sample {} is {:.4g} s and its phases cover {:.4g} s; correct where it starts and ends", whole.name,
                         sample.position, *metric_s, whole.duration_s);
  }
  return "";
}

// Whether the arms ask for the same in everything but the field.
bool alike_except(const Cell& cell, const char* field) {
  json a = json::parse(cell.a.workload), b = json::parse(cell.b.workload);
  a.erase(field), b.erase(field);
  return a == b && cell.a.knobs == cell.b.knobs && cell.a.program == cell.b.program;
}

bool asks_for_equal_tokens(const Cell& cell) {
  const json a = json::parse(cell.a.workload), b = json::parse(cell.b.workload);
  for (const char* field : {"prompt_tokens", "generate_tokens", "depth_tokens"})
    if (a.value(field, json()) != b.value(field, json())) return false;
  return true;
}

}  // namespace

GateResult page_cache_gate(const Cell& cell, const CellSamples& samples) {
  for (const SamplePair& pair : samples.pairs)
    if (pair.a->page_cache && pair.b->page_cache && pair.a->page_cache->state != pair.b->page_cache->state)
      return failed("page_cache", fmt::format("in pair {} the page cache was {} for A and {} for B, so they are not compared; give both arms the "
                                              "same page_cache, cold or warm",
                                              pair.a->pair, pair.a->page_cache->state, pair.b->page_cache->state));
  bool known = false;
  for (const Sample* sample : samples.good) {
    const std::string wanted = json::parse(cell.arm(sample->arm).workload).value("page_cache", "as-is");
    known = known || sample->page_cache;
    if (wanted == "as-is" || (sample->page_cache && sample->page_cache->bytes_total == 0)) continue;  // empty files are in any state
    if (!sample->page_cache)
      return failed("page_cache", fmt::format("sample {} should have started with a {} page cache and what it found is not recorded; take it again",
                                              sample->position, wanted));
    if (sample->page_cache->state != wanted)
      return failed("page_cache", fmt::format("sample {} should have started with a {} page cache and found it {}; keep other programs off its "
                                              "files, or ask for as-is",
                                              sample->position, wanted, resident_text(*sample->page_cache)));
  }
  return known ? passed("page_cache") : unknown("page_cache");
}

GateResult conditions_gate(const Cell& cell, const CellSamples& samples) {
  const json workload_a = json::parse(cell.a.workload), workload_b = json::parse(cell.b.workload);
  const bool pinned = workload_a.value("cpus", "") != "" || workload_b.value("cpus", "") != "";
  const Sample* first = nullptr;  // of those whose cores are known
  for (const Sample* sample : samples.good) {
    if (const auto flag = flag_of(*sample, "throttled"))
      return failed("conditions", fmt::format("sample {} ran on a throttled machine ({}); cool it or raise cooldown_s", sample->position, *flag));
    const std::string trouble = wrong_grant(sample->arm == 'A' ? workload_a : workload_b, *sample);
    if (!trouble.empty()) return failed("conditions", trouble);
    if (sample->cpus.empty() || pinned) continue;
    if (!first) first = sample;
    if (sample->cpus != first->cpus)
      return failed("conditions", fmt::format("sample {} was allowed cores {} and sample {} cores {}; set workload.cpus, so that nothing else moves them",
                                              first->position, cores_text(first->cpus), sample->position, cores_text(sample->cpus)));
  }
  return passed("conditions");
}

GateResult reuse_gate(const CellSamples& samples) {
  bool known = false;
  for (const Sample* sample : samples.good) {
    const auto reused = number(sample->counters, "reused_tokens");
    known = known || reused;
    if (reused && *reused > 0)
      return failed("reuse", fmt::format("sample {} took {} tokens from a prefix cache, so it did less than it was asked; every prompt must be fresh: "
                                         "start it with {{nonce}}, or turn the cache off",
                                         sample->position, *reused));
  }
  return known ? passed("reuse") : unknown("reuse");
}

GateResult limits_gate(const Scenario& scenario, const CellSamples& samples) {
  for (const Sample* sample : samples.good) {
    if (const auto flag = flag_of(*sample, "impossible"))
      return failed("limits", fmt::format("sample {} reports what is {}; a bug in its timing or work left out is likelier than the speed: find it, and "
                                          "see the ceilings of `crossover doctor`",
                                          sample->position, *flag));
    if (const auto primary = number(sample->metrics, scenario.primary); primary && *primary <= 0)
      return failed("limits", fmt::format("sample {} reports an impossible {} of {}; correct what measures it", sample->position, scenario.primary, *primary));
    if (const std::string trouble = longer_than_its_life(*sample); !trouble.empty()) return failed("limits", trouble);
  }
  return passed("limits");
}

GateResult boundaries_gate(const CellSamples& samples) {
  bool known = false;
  for (const Sample* sample : samples.good) {
    known = known || !sample->phases.empty();
    if (const std::string trouble = wrong_sum(*sample); !trouble.empty()) return failed("boundaries", trouble);
  }
  return known ? passed("boundaries") : unknown("boundaries");
}

GateResult capacity_gate(const Cell& cell, const CellSamples& samples) {
  bool known = false;
  for (const Sample* sample : samples.good) {
    const auto capacity = number(sample->counters, "tokens.capacity"), used = number(sample->counters, "tokens.used");
    if (!capacity && !used) continue;
    known = true;
    if (!capacity || !used)
      return failed("capacity", fmt::format("sample {} records tokens.{} and not tokens.{}; allocated and used context belong together: record both",
                                            sample->position, capacity ? "capacity" : "used", capacity ? "used" : "capacity"));
    if (*used > *capacity)
      return failed("capacity", fmt::format("sample {} used {} tokens of context and allocated {}; correct what counts them", sample->position, *used, *capacity));
  }
  for (const SamplePair& pair : samples.pairs) {
    const auto a = number(pair.a->counters, "tokens.capacity"), b = number(pair.b->counters, "tokens.capacity");
    if (a && b && *a != *b && !alike_except(cell, "kv_capacity_tokens"))
      return failed("capacity", fmt::format("A allocates {} tokens of context and B {}, and they differ in other settings too; give both the same "
                                            "kv_capacity_tokens, or ask about the capacity alone",
                                            *a, *b));
    const auto used_a = number(pair.a->counters, "tokens.used"), used_b = number(pair.b->counters, "tokens.used");
    if (used_a && used_b && *used_a != *used_b && asks_for_equal_tokens(cell))
      return failed("capacity", fmt::format("in pair {} A processed {} tokens and B {}, though the same was asked of both; see which one stopped early",
                                            pair.a->pair, *used_a, *used_b));
  }
  return known ? passed("capacity") : unknown("capacity");
}

}  // namespace crossover
