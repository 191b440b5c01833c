#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "bench/cache_folder.h"
#include "bench/commands/commands.h"
#include "bench/environment.h"
#include "bench/machine.h"
#include "bench/page_cache_check.h"
#include "bench/usable_cores.h"
#include "engine/knobs.h"

namespace crossover::commands {

namespace {

using Json = nlohmann::ordered_json;

// Beyond these a difference of a few percent drowns.
constexpr double kSpreadLimitPercent = 3;
constexpr double kLoadLimit = 0.5;

Json measure() {
  Knobs knobs;
  knobs.set_from_environment(environ);
  Json found;
  found["environment"] = Json::parse(environment_json());
  const Ceilings ceilings = measure_ceilings(usable_cores());
  found["ceilings"] = {{"isa", ceilings.isa},
                       {"threads", ceilings.threads},
                       {"read_buffer_bytes", ceilings.read_buffer_bytes},
                       {"read_1_bytes_per_s", ceilings.read_1_bytes_per_s},
                       {"read_all_bytes_per_s", ceilings.read_all_bytes_per_s},
                       {"fma_f32_1_flop_per_s", ceilings.fma_1_flop_per_s},
                       {"fma_f32_all_flop_per_s", ceilings.fma_all_flop_per_s}};
  if (ceilings.int8_1_op_per_s > 0) {
    found["ceilings"]["dot_int8_1_op_per_s"] = ceilings.int8_1_op_per_s;
    found["ceilings"]["dot_int8_all_op_per_s"] = ceilings.int8_all_op_per_s;
  }
  if (ceilings.bf16_1_flop_per_s > 0) {
    found["ceilings"]["dot_bf16_1_flop_per_s"] = ceilings.bf16_1_flop_per_s;
    found["ceilings"]["dot_bf16_all_flop_per_s"] = ceilings.bf16_all_flop_per_s;
  }
  const Clock clock = measure_clock();
  found["clock"] = {{"resolution_s", clock.resolution_s}, {"call_s", clock.call_s}};
  const Steadiness steadiness = measure_steadiness();
  found["steadiness"] = {{"chunks", steadiness.chunks},
                         {"spread_percent", steadiness.spread_percent},
                         {"worst_percent", steadiness.worst_percent}};
  const std::filesystem::path folder = cache_folder(knobs.get("CROSSOVER_CACHE_DIR"));
  const PageCacheCheck check = check_page_cache(folder);
  found["page_cache"] = {{"folder", folder.string()}, {"controllable", check.trouble.empty()}};
  if (!check.trouble.empty()) found["page_cache"]["trouble"] = check.trouble;
  if (check.uncached_read_bytes_per_s)
    found["page_cache"]["uncached_read_bytes_per_s"] = *check.uncached_read_bytes_per_s;
  found["backends"] = {"cpu", "reference"};
  return found;
}

// What makes this machine less fit, each with what to do about it.
std::vector<std::string> advice(const Json& found) {
  std::vector<std::string> list;
  const Json& cpu = found["environment"]["cpu"];
  if (cpu.contains("governor") && cpu["governor"] != "performance")
    list.push_back(
        fmt::format("the clock governor is {}: set it to performance (cpupower frequency-set -g performance)",
                    cpu["governor"].get<std::string>()));
  if (cpu.value("turbo", false))
    list.push_back("turbo clocks are on: they depend on temperature; turn them off for small effects");
  if (cpu.contains("cgroup_quota_cores"))
    list.push_back(
        fmt::format("a cgroup limits this process to {} cores' worth of time: threads beyond it are stopped in turns",
                    cpu["cgroup_quota_cores"].get<double>()));
  if (const double load = found["environment"].value("load_before", 0.0); load > kLoadLimit)
    list.push_back(fmt::format("the load was {:.2f} before this began: stop what else runs", load));
  if (const double spread = found["steadiness"]["spread_percent"]; spread > kSpreadLimitPercent)
    list.push_back(
        fmt::format("equal pieces of work took {:.1f} % longer one time in ten: other work or changing clocks; expect "
                    "to need more pairs",
                    spread));
  if (found["environment"]["virtualisation"].value("guest", false))
    list.push_back(
        "this is a virtual machine: its host may hold in memory what is cold here, and neighbours are not visible");
  if (found["page_cache"].contains("trouble"))
    list.push_back("cold and warm samples cannot be taken in the cache folder: " +
                   found["page_cache"]["trouble"].get<std::string>());
  return list;
}

void print_text(const Json& found) {
  const Json &environment = found["environment"], &ceilings = found["ceilings"];
  const auto line = [](const char* name, const std::string& value) { fmt::print("{:<22}{}\n", name, value); };
  const auto giga = [&](const char* key) { return ceilings[key].get<double>() / 1e9; };
  line("cpu", environment["cpu"].value("model", "unknown"));
  line("instruction set", ceilings["isa"]);
  line("usable cores", ceilings["threads"].dump());
  line("memory", fmt::format("{:.1f} GiB", environment["memory"].value("total_bytes", 0.0) / (1 << 30)));
  line("read bandwidth", fmt::format("{:.1f} GB/s on one thread, {:.1f} on all", giga("read_1_bytes_per_s"),
                                     giga("read_all_bytes_per_s")));
  line("f32 multiply-add", fmt::format("{:.0f} GFLOP/s on one thread, {:.0f} on all", giga("fma_f32_1_flop_per_s"),
                                       giga("fma_f32_all_flop_per_s")));
  if (ceilings.contains("dot_int8_1_op_per_s"))
    line("int8 dot products", fmt::format("{:.0f} GOP/s on one thread, {:.0f} on all", giga("dot_int8_1_op_per_s"), giga("dot_int8_all_op_per_s")));
  if (ceilings.contains("dot_bf16_1_flop_per_s"))
    line("bf16 dot products", fmt::format("{:.0f} GFLOP/s on one thread, {:.0f} on all", giga("dot_bf16_1_flop_per_s"), giga("dot_bf16_all_flop_per_s")));
  line("timer",
       fmt::format("steps of {:.0f} ns, {:.0f} ns a reading", found["clock"]["resolution_s"].get<double>() * 1e9,
                   found["clock"]["call_s"].get<double>() * 1e9));
  line("steadiness",
       fmt::format("{:.1f} % spread, {:.1f} % worst of {} equal pieces",
                   found["steadiness"]["spread_percent"].get<double>(),
                   found["steadiness"]["worst_percent"].get<double>(), found["steadiness"]["chunks"].get<int>()));
  line("page cache", fmt::format("{} in {}",
                                 found["page_cache"]["controllable"].get<bool>() ? "evicts and reads back, verified,"
                                                                                 : "not controllable",
                                 found["page_cache"]["folder"].get<std::string>()));
  if (found["page_cache"].contains("uncached_read_bytes_per_s"))
    line("uncached read",
         fmt::format("{:.2f} GB/s there", found["page_cache"]["uncached_read_bytes_per_s"].get<double>() / 1e9));
  line("gpu", environment.contains("gpus")
                  ? environment["gpus"][0]["model"].get<std::string>() + " (this build has no backend for it)"
                  : "none");
  if (found["advice"].empty())
    fmt::print("\nNothing stands in the way of measuring here.\n");
  else
    fmt::print("\nBefore you trust small effects here:\n");
  for (const Json& item : found["advice"]) fmt::print("- {}\n", item.get<std::string>());
}

}  // namespace

void add_doctor(CLI::App& app, int&) {
  CLI::App* command = app.add_subcommand(
      "doctor", "Is this machine fit to measure on? Its ceilings, clocks, noise and page-cache control, measured");
  command->footer("Example: crossover doctor --json > machine.json");
  auto json = std::make_shared<bool>(false);
  command->add_flag("--json", *json, "print a JSON object");
  command->callback([json] {
    Json found = measure();
    found["advice"] = advice(found);
    *json ? fmt::print("{}\n", found.dump(2, ' ', false, Json::error_handler_t::replace)) : print_text(found);
  });
}

}  // namespace crossover::commands
