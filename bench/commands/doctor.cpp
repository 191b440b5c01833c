#include <fmt/format.h>
#include <unistd.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "bench/cache_folder.h"
#include "bench/commands/commands.h"
#include "bench/commands/doctor_noise.h"
#include "bench/machine/environment.h"
#include "bench/machine/fitness.h"
#include "bench/machine/gpu_text.h"
#include "bench/machine/machine_facts.h"
#include "bench/machine/usable_cores.h"
#include "bench/profile/counter_sampler.h"
#include "bench/profile/cupti_library.h"
#include "bench/targets/http_stream.h"
#include "engine/knobs.h"
#include "engine/nccl/library.h"
#include "kernels/cuda/cublaslt_library.h"
#include "kernels/cuda/runtime.h"
#include "kernels/nvtx.h"

namespace crossover::commands {

namespace {

using Json = nlohmann::ordered_json;

struct Examined {
  Json json;
  std::vector<Finding> findings;
};

// Where NCCL is and its version, or why it cannot be used. Ranks on several GPUs want it; nothing else does.
Json nccl_facts() {
  try {
    const nccl::Library library;
    return {{"version", library.version()}, {"library", library.path()}};
  } catch (const std::runtime_error& error) {
    return {{"trouble", error.what()}};
  }
}

// Where cuBLASLt is and its version, or why it cannot be used. Products of many tokens by bf16 weights on a GPU want it; nothing else does.
Json cublaslt_facts(bool gpu) {
  try {
    const cuda::lt::Library library(cuda::lt::usual_names(), gpu ? cuda::lt::opens_handle : cuda::lt::Library::Trial());
    return {{"version", library.version()}, {"library", library.path()}};
  } catch (const std::runtime_error& error) {
    return {{"trouble", error.what()}};
  }
}

// Without a GPU there is no driver that could refuse.
Json examine_cupti(bool gpu) {
  const cupti::Library library;
  Json found{{"found", library.found()}};
  if (!library.found()) return found["why"] = library.why(), found;
  found["library"] = library.path(), found["version"] = library.version();
  if (!gpu) return found;
  const std::string refusal = library.refusal();
  found["allowed"] = refusal.empty();
  if (!refusal.empty()) return found["why"] = refusal, found;
  const std::string no_counters = cupti::why_no_counters(library, 0);
  found["counters"] = {{"allowed", no_counters.empty()}};
  if (!no_counters.empty()) found["counters"]["why"] = no_counters;
  return found;
}

// instead: what is done without it
std::string library_words(const Json& library, const char* instead) {
  if (library.contains("version")) return fmt::format("{} ({})", library["version"].get<std::string>(), library["library"].get<std::string>());
  return fmt::format("none that can be used; {} (--json says why)", instead);
}

std::string cupti_words(const Json& cupti) {
  if (!cupti["found"]) return cupti["why"];
  const std::string which = fmt::format("{}, version {}", cupti["library"].get<std::string>(), cupti["version"].dump());
  if (!cupti.contains("allowed")) return which + "; no GPU to try it on";
  if (!cupti["allowed"]) return fmt::format("{}; {}", which, cupti["why"].get<std::string>());
  const Json& counters = cupti["counters"];
  if (counters["allowed"]) return which + "; the driver allows traces and counters";
  return fmt::format("{}; the driver allows traces, no counters: {}", which, counters["why"].get<std::string>());
}

// What the driver tells of the GPUs: `gpus` where there are any, `gpu_driver` with its version or with why there are none.
void add_gpus(Json& found) {
  const cuda::DriverFacts facts = cuda::ask_driver();
  found["gpu_driver"] = Json::object();
  if (!facts.release.empty()) found["gpu_driver"]["version"] = facts.release;
  if (!facts.cuda.empty()) found["gpu_driver"]["cuda"] = facts.cuda;
  if (!facts.why.empty()) found["gpu_driver"]["trouble"] = facts.why;
  for (const cuda::GpuFacts& gpu : facts.gpus)
    found["gpus"].push_back({{"name", gpu.name}, {"compute_capability", capability_text(gpu.compute_capability)}, {"memory_bytes", gpu.memory_bytes},
                             {"multiprocessors", gpu.multiprocessors}});
  if (!facts.gpus.empty()) found["gpu_text"] = gpu_text(facts);
}

// By the driver; by its files where it does not answer.
std::string gpu_words(const Json& found) {
  const Json& environment = found["environment"];
  const std::string gpu = found.contains("gpu_text")     ? found["gpu_text"].get<std::string>()
                          : environment.contains("gpus") ? environment["gpus"][0]["model"].get<std::string>()
                                                         : "none";
  return found.contains("cuda") ? fmt::format("{} (backend cuda: {})", gpu, found["cuda"].get<std::string>()) : gpu;
}

Examined examine() {
  Knobs knobs;
  knobs.set_from_environment(environ);
  MachineFacts facts = read_machine_facts(cores_allowed_here());
  watch_other_load(0.5, facts);
  facts.perf = perf_support(facts.perf_paranoid);
  facts.clock = measure_clock();
  facts.steadiness = measure_steadiness();
  const std::filesystem::path folder = cache_folder(knobs.get("CROSSOVER_CACHE_DIR"));
  facts.page_cache_folder = folder.string();
  facts.page_cache = check_page_cache(folder);
  Json found;
  found["environment"] = Json::parse(environment_json());
  found["ceilings"] = ceilings_to_json(measure_ceilings(usable_cores()));
  found["clock"] = {{"resolution_s", facts.clock->resolution_s}, {"call_s", facts.clock->call_s}};
  found["steadiness"] = {{"chunks", facts.steadiness->chunks},
                         {"spread_percent", facts.steadiness->spread_percent},
                         {"worst_percent", facts.steadiness->worst_percent}};
  found["page_cache"] = {{"folder", facts.page_cache_folder}, {"controllable", facts.page_cache->trouble.empty()}};
  if (!facts.page_cache->trouble.empty()) found["page_cache"]["trouble"] = facts.page_cache->trouble;
  if (facts.page_cache->uncached_read_bytes_per_s)
    found["page_cache"]["uncached_read_bytes_per_s"] = *facts.page_cache->uncached_read_bytes_per_s;
  found["backends"] = {"cpu", "reference"};
  std::string no_gpu;
  if (cuda::device_count(&no_gpu) > 0) found["backends"].push_back("cuda");
  else found["cuda"] = no_gpu;
  add_gpus(found);
  found["nccl"] = nccl_facts();
  found["cublaslt"] = cublaslt_facts(no_gpu.empty());
  found["cupti"] = examine_cupti(no_gpu.empty());
  found["nvtx"] = nvtx::is_built_in();
  found["http_library"] = http_library();
  return {std::move(found), grade_machine(facts)};
}

// The findings in the JSON object: all of them, the worst, what to do, and the one command that helps most.
void add_findings(const std::vector<Finding>& findings, Json& found) {
  found["grade"] = grade_text(overall(findings));
  found["grades"] = findings_to_json(findings);
  found["advice"] = Json::array();
  for (const Finding& finding : findings)
    if (!finding.advice.empty()) found["advice"].push_back(fmt::format("{}: {}", finding.name, finding.advice));
  if (const Finding* best = most_helpful(findings)) found["best_command"] = best->command;
}

void print_findings(const std::vector<Finding>& findings) {
  fmt::print("\n");
  for (const Finding& finding : findings) fmt::print("{:<22}{:<8}{}\n", finding.name, grade_text(finding.grade), finding.found);
  const bool fit = overall(findings) == Grade::kGood;
  fmt::print("\n{}\n", fit ? "Nothing stands in the way of measuring here." : "Before you trust small effects here:");
  for (const Finding& finding : findings)
    if (!finding.advice.empty()) fmt::print("- {} ({}): {}\n", finding.name, grade_text(finding.grade), finding.advice);
  if (const Finding* best = most_helpful(findings)) fmt::print("\nWhat would help most:\n  {}\n", best->command);
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
  line("gpu", gpu_words(found));
  line("nccl", library_words(found["nccl"], "ranks on several GPUs sum by way of the host"));
  line("cuBLASLt", library_words(found["cublaslt"], "our kernel multiplies by bf16 weights on a GPU"));
  line("CUPTI", cupti_words(found["cupti"]));
  line("NVTX", found["nvtx"] ? "ranges are shown to Nsight Systems" : "not in this build (CMake: CROSSOVER_NVTX)");
  line("for endpoints", found["http_library"]);
}

}  // namespace

void add_doctor(Command app, int&) {
  const Command command = app.add_subcommand(
      "doctor", "Is this machine fit to measure on? Its ceilings measured, and a grade for everything that disturbs a comparison");
  command.footer("Examples: crossover doctor --json > machine.json\n          crossover doctor --noise demo_prefill");
  auto json = std::make_shared<bool>(false);
  command.add_flag("--json", *json, "print a JSON object");
  const auto noise = std::make_shared<NoiseCommand>();
  add_noise_options(command, *noise);
  command.callback([json, noise] {
    if (!noise->scenario.empty()) return measure_noise_and_print(*noise, *json);
    Examined examined = examine();
    add_findings(examined.findings, examined.json);
    if (*json) return fmt::print("{}\n", examined.json.dump(2, ' ', false, Json::error_handler_t::replace));
    print_text(examined.json);
    print_findings(examined.findings);
  });
}

}  // namespace crossover::commands
