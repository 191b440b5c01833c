#include "bench/machine/fitness.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace crossover {

namespace {

Finding good(const char* name, std::string found) { return {name, Grade::kGood, std::move(found), "", ""}; }
Finding unknown(const char* name) { return {name, Grade::kUnknown, "not told by this machine", "", ""}; }

Grade by(double value, double fair, double poor) { return value >= poor ? Grade::kPoor : value >= fair ? Grade::kFair : Grade::kGood; }

// A finding whose advice is left out where the grade is good.
Finding graded(const char* name, Grade grade, std::string found, const char* advice, std::string command = "") {
  if (grade == Grade::kGood) return good(name, std::move(found));
  return {name, grade, std::move(found), advice, std::move(command)};
}

Finding quota(const MachineFacts& facts) {
  if (!facts.quota_cores) return good("cgroup quota", "none");
  const double cores = static_cast<double>(std::max<std::size_t>(1, facts.allowed_cores.size()));
  return graded("cgroup quota", *facts.quota_cores >= cores ? Grade::kGood : Grade::kPoor,
                fmt::format("{:.3g} cores' worth of time on {} cores", *facts.quota_cores, cores),
                "threads are stopped for the rest of every period once it is used up: give the container whole cores instead",
                fmt::format("docker update --cpus 0 --cpuset-cpus {} CONTAINER", *facts.quota_cores < 2 ? "0" : fmt::format("0-{}", static_cast<int>(*facts.quota_cores) - 1)));
}

Finding other_load(const MachineFacts& facts) {
  const char* kAdvice = "other programs compete for cores, caches and memory: stop them, or measure when they are done";
  if (facts.others_share)
    return graded("other load", by(*facts.others_share, 0.03, 0.15), fmt::format("{:.0f} % of all cores while this program slept", 100 * *facts.others_share),
                  kAdvice, "top -b -n 1 -o %CPU | head -n 17");
  if (facts.load1) return graded("other load", by(*facts.load1, 0.5, 1.5), fmt::format("load average {:.2f}", *facts.load1), kAdvice, "top -b -n 1 -o %CPU | head -n 17");
  return unknown("other load");
}

Finding steal(const MachineFacts& facts) {
  if (!facts.steal_share) return unknown("stolen time");
  return graded("stolen time", by(*facts.steal_share, 0.005, 0.03), fmt::format("{:.1f} % of all cores", 100 * *facts.steal_share),
                "the host gives this guest's cores to others: ask for dedicated cores, or take more pairs");
}

Finding steadiness(const MachineFacts& facts) {
  if (!facts.steadiness) return unknown("steadiness");
  return graded("steadiness", by(facts.steadiness->spread_percent, 1, 3),
                fmt::format("{:.1f} % spread, {:.1f} % worst of {} equal pieces of work", facts.steadiness->spread_percent, facts.steadiness->worst_percent,
                            facts.steadiness->chunks),
                "one piece in ten takes that much longer: expect to need more pairs, and see which finding explains it");
}

Finding governor(const MachineFacts& facts) {
  if (facts.governors.empty()) return unknown("governor");
  const std::string names = fmt::format("{}", fmt::join(facts.governors, ", "));
  if (names == "performance") return good("governor", names);
  const bool sets_itself = facts.clock_driver.starts_with("intel_pstate") || facts.clock_driver.starts_with("amd-pstate");
  return {"governor", sets_itself ? Grade::kFair : Grade::kPoor, facts.clock_driver.empty() ? names : fmt::format("{} ({})", names, facts.clock_driver),
          "the clock follows the load of the moments before: fix the governor", "cpupower frequency-set -g performance"};
}

Finding turbo(const MachineFacts& facts) {
  if (!facts.turbo) return unknown("turbo");
  if (!*facts.turbo) return good("turbo", "off");
  return {"turbo", Grade::kFair, "on", "clocks above the base depend on temperature and on how many cores are busy: turn them off for small effects",
          fmt::format("echo {} > {}", facts.turbo_file.ends_with("no_turbo") ? 1 : 0, facts.turbo_file)};
}

Finding throttling(const MachineFacts& facts) {
  if (!facts.throttle_events) return unknown("throttling");
  return graded("throttling", *facts.throttle_events > 0 ? Grade::kFair : Grade::kGood, fmt::format("{:.0f} times since the start", *facts.throttle_events),
                "the clock was lowered by heat or power: cool the machine, or set workload.cooldown_s; a sample in which it happens is void");
}

Finding siblings(const MachineFacts& facts) {
  if (facts.allowed_cores.empty()) return unknown("core siblings");
  if (facts.siblings.empty()) return good("core siblings", "none among the allowed cores");
  std::vector<std::string> firsts;
  for (const int core : facts.allowed_cores) {
    const std::string text = std::to_string(core);
    const bool second = std::any_of(facts.siblings.begin(), facts.siblings.end(),
                                    [&](const std::string& group) { return ("," + group + ",").find("," + text + ",") != std::string::npos && group.substr(0, group.find(',')) != text; });
    if (!second) firsts.push_back(text);
  }
  return {"core siblings", Grade::kFair, fmt::format("{} groups share a physical core ({})", facts.siblings.size(), facts.siblings.front()),
          "two threads on one physical core slow each other down by what the other does: use one of each",
          fmt::format("crossover run SCENARIO --set /workload/cpus={}", fmt::join(firsts, ","))};
}

Finding clock_source(const MachineFacts& facts) {
  if (facts.clock_source.empty()) return unknown("clock source");
  std::string found = facts.clock_source;
  if (facts.clock) found += fmt::format(", {:.0f} ns a reading, steps of {:.0f} ns", facts.clock->call_s * 1e9, facts.clock->resolution_s * 1e9);
  if (facts.steady_tsc && !*facts.steady_tsc) found += ", counter not constant";
  const bool fast = facts.clock_source == "tsc" || facts.clock_source == "arch_sys_counter";
  const bool shared = facts.clock_source == "kvm-clock" || facts.clock_source == "hyperv_clocksource_tsc_page";
  const bool slow_reading = facts.clock && facts.clock->call_s > 2e-7;
  const Grade grade = slow_reading || (!fast && !shared) ? Grade::kPoor : shared || !facts.steady_tsc.value_or(true) ? Grade::kFair : Grade::kGood;
  const bool has_tsc = std::count(facts.other_clock_sources.begin(), facts.other_clock_sources.end(), "tsc") > 0;
  return graded("clock source", grade, found, "the clock is kept by the host or slow to read: short phases are uncertain",
                has_tsc ? "echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource" : "");
}

Finding pressure(const MachineFacts& facts) {
  if (!facts.memory_pressure_percent && !facts.io_pressure_percent) return unknown("pressure");
  const double memory = facts.memory_pressure_percent.value_or(0), io = facts.io_pressure_percent.value_or(0);
  return graded("pressure", std::max(by(memory, 0.1, 5), by(io, 2, 20)),
                fmt::format("something waited for memory {:.1f} % and for the disk {:.1f} % of the last 10 s", memory, io),
                "programs wait for memory or the disk: free some, and keep others off the disk of the models", "cat /proc/pressure/memory /proc/pressure/io");
}

Finding swap(const MachineFacts& facts) {
  if (!facts.swap_bytes) return unknown("swap");
  if (*facts.swap_bytes == 0) return good("swap", "none");
  const double used = facts.swap_used_bytes.value_or(0);
  return {"swap", used > 0 ? Grade::kPoor : Grade::kFair, fmt::format("{:.1f} GiB, {:.1f} used", *facts.swap_bytes / (1 << 30), used / (1 << 30)),
          "a page that was swapped out comes back in the middle of a sample: turn it off", "swapoff -a"};
}

Finding huge_pages(const MachineFacts& facts) {
  if (facts.huge_pages.empty()) return unknown("huge pages");
  return graded("huge pages", facts.huge_pages == "madvise" ? Grade::kGood : Grade::kFair, facts.huge_pages,
                facts.huge_pages == "never" ? "the weights get no huge pages, so CROSSOVER_PIN=huge changes nothing: allow them on demand"
                                            : "whether memory lies in huge pages depends on how fragmented it is: give them on demand only",
                "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled");
}

Finding nodes(const MachineFacts& facts) {
  if (facts.numa_nodes.empty()) return unknown("memory nodes");
  if (facts.numa_nodes.size() == 1) return good("memory nodes", "1");
  const std::string first = facts.numa_nodes.front();
  const std::string moved = facts.numa_balancing.value_or(false) ? ", and the kernel moves pages between them" : "";
  return {"memory nodes", Grade::kFair, fmt::format("{} ({})", facts.numa_nodes.size(), fmt::join(facts.numa_nodes, "; ")) + moved,
          "where memory lies differs from process to process: stay on the cores of one node",
          fmt::format("crossover run SCENARIO --set /workload/cpus={}", first.substr(first.find(": ") + 2))};
}

Finding page_cache(const MachineFacts& facts) {
  if (!facts.page_cache) return unknown("page cache");
  if (!facts.page_cache->trouble.empty())
    return {"page cache", Grade::kPoor, fmt::format("not controllable in {}: {}", facts.page_cache_folder, facts.page_cache->trouble),
            "cold and warm samples cannot be taken there: keep the models on a disk", "export CROSSOVER_CACHE_DIR=/var/tmp/crossover"};
  std::string found = fmt::format("evicts and reads back, verified, in {}", facts.page_cache_folder);
  if (facts.page_cache->uncached_read_bytes_per_s) found += fmt::format("; {:.2f} GB/s uncached", *facts.page_cache->uncached_read_bytes_per_s / 1e9);
  return good("page cache", found);
}

Finding perf(const MachineFacts& facts) {
  if (!facts.perf) return unknown("perf counters");
  const PerfSupport& support = *facts.perf;
  if (support.missing.empty() && !support.user_only) return good("perf counters", fmt::format("all {}", support.counted.size()));
  std::string found = fmt::format("{} of {}", support.counted.size(), support.counted.size() + support.missing.size());
  if (!support.missing.empty()) found += fmt::format("; {}: {}", support.missing.begin()->first, support.missing.begin()->second);
  if (support.user_only) found += "; without the kernel's part";
  const bool forbidden = found.find("not allowed") != std::string::npos || support.user_only;
  return {"perf counters", support.counted.empty() ? Grade::kPoor : Grade::kFair, found,
          "samples carry only what can be counted: the clock that they ran at may not be known", forbidden ? "sysctl kernel.perf_event_paranoid=1" : ""};
}

// Fixed addresses are no help: one layout may favour one arm in every sample (Mytkowicz et al., ASPLOS 2009); drawn anew, it is noise.
Finding addresses(const MachineFacts& facts) {
  if (!facts.address_randomisation) return unknown("address layout");
  return graded("address layout", *facts.address_randomisation > 0 ? Grade::kGood : Grade::kFair,
                *facts.address_randomisation > 0 ? "drawn anew for every process" : "the same in every process",
                "a difference between the arms may be one of memory layout alone: draw it anew", "sysctl kernel.randomize_va_space=2");
}

Finding virtual_machine(const MachineFacts& facts) {
  const std::string inside = facts.container.empty() ? "" : " in a container (" + facts.container + ")";
  if (!facts.guest) return good("machine", "bare" + inside);
  return {"machine", Grade::kFair, "virtual" + inside, "its host may hold in memory what is cold here, and neighbours are not visible: mind the order effect", ""};
}

}  // namespace

const char* grade_text(Grade grade) {
  constexpr const char* kTexts[] = {"good", "fair", "poor", "unknown"};
  return kTexts[static_cast<int>(grade)];
}

std::vector<Finding> grade_machine(const MachineFacts& facts) {
  return {quota(facts), other_load(facts), steal(facts), governor(facts),   throttling(facts), pressure(facts), swap(facts),  page_cache(facts),
          turbo(facts), siblings(facts),   nodes(facts), clock_source(facts), huge_pages(facts), addresses(facts), perf(facts), steadiness(facts),
          virtual_machine(facts)};
}

Grade overall(const std::vector<Finding>& findings) {
  Grade worst = Grade::kGood;
  for (const Finding& finding : findings)
    if (finding.grade != Grade::kUnknown) worst = std::max(worst, finding.grade);
  return worst;
}

const Finding* most_helpful(const std::vector<Finding>& findings) {
  const Finding* best = nullptr;
  for (const Finding& finding : findings) {
    if (finding.command.empty() || finding.grade == Grade::kGood || finding.grade == Grade::kUnknown) continue;
    if (!best || finding.grade > best->grade) best = &finding;
  }
  return best;
}

nlohmann::ordered_json findings_to_json(const std::vector<Finding>& findings) {
  nlohmann::ordered_json out = nlohmann::ordered_json::array();
  for (const Finding& finding : findings) {
    nlohmann::ordered_json entry{{"name", finding.name}, {"grade", grade_text(finding.grade)}, {"found", finding.found}};
    if (!finding.advice.empty()) entry["advice"] = finding.advice;
    if (!finding.command.empty()) entry["command"] = finding.command;
    out.push_back(std::move(entry));
  }
  return out;
}

}  // namespace crossover
