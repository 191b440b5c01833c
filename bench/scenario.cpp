#include "bench/scenario.h"

#include <fmt/format.h>
#include <sched.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "bench/endpoint_workload.h"
#include "bench/json_text.h"
#include "bench/judge/looks.h"
#include "bench/process/process.h"
#include "bench/scenario_schema.h"
#include "engine/knobs.h"

namespace crossover {

namespace {

using nlohmann::json;

constexpr std::size_t kMaxCells = 10000;
constexpr std::size_t kMaxPairs = 100000;          // of all cells
constexpr std::size_t kMaxCellsWithVerdicts = 8;  // with the default number of pairs

int allowed_cores() {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

json::json_pointer pointer(const std::string& text, const std::string& who) {
  try {
    if (text.empty() || text[0] != '/') throw std::invalid_argument("");
    return json::json_pointer(text);
  } catch (const std::exception&) {
    throw std::invalid_argument(fmt::format("{}: '{}' is no JSON pointer; write it like /workload/prompt_tokens", who, text));
  }
}

void put(json& document, const std::string& where, json value, const std::string& who) {
  try {
    document[pointer(where, who)] = std::move(value);
  } catch (const json::exception&) {
    throw std::invalid_argument(fmt::format("{}: the scenario has no place {}; something above it is no object", who, where));
  }
}

void apply_sets(json& document, const std::vector<std::string>& sets) {
  for (const std::string& set : sets) {
    const std::size_t equals = set.find('=');
    if (equals == std::string::npos)
      throw std::invalid_argument(fmt::format("--set '{}' has no '='; write it like --set /plan/pairs=8", set));
    const std::string text = set.substr(equals + 1);
    json value;
    try {
      value = parse_json(text, "--set");
    } catch (const std::runtime_error&) {
      value = text;  // VALUE is JSON, else a string
    }
    put(document, set.substr(0, equals), value, "--set");
  }
}

// `over` wins field by field; what is a set of names is merged by name, so that an arm can change one variable.
json merge_workload(json base, const json& over) {
  for (const auto& [field, value] : over.items()) {
    const bool set = field == "env" || field == "metrics" || field == "headers" || field == "request";
    const bool by_name = set && base.contains(field);
    if (by_name) base[field].update(value);
    else base[field] = value;
  }
  return base;
}

void fill(json& object, const char* field, json value) {
  if (!object.contains(field)) object[field] = std::move(value);
}

// Defaults that do not hang on another field.
void fill_workload(json& workload, const std::string& kind) {
  fill(workload, "cpus", "");
  fill(workload, "priority", 0);
  fill(workload, "cooldown_s", 0);
  if (kind == "endpoint") return fill_endpoint_workload(workload);
  fill(workload, "page_cache", kind == "external" ? "as-is" : "warm");
  if (kind == "external") {
    fill(workload, "env", json::object());
    fill(workload, "files", json::array());
    fill(workload, "metrics", {{"wall_s", json::object()}});
    return;
  }
  fill(workload, "weights", kind == "quantize" ? "q6_k" : "as-is");
  fill(workload, "ranks", 1);
  fill(workload, "threads", allowed_cores());
  fill(workload, "backend", "cpu");
  fill(workload, "kv_k", "f16");
  fill(workload, "kv_v", "f16");
  fill(workload, "chunk", 2048);
  const bool prompts = kind == "prefill" || kind == "decode" || kind == "generate";
  fill(workload, "prompt_tokens", prompts ? 512 : 1);
  fill(workload, "generate_tokens", kind == "decode" || kind == "generate" ? 32 : 0);
  fill(workload, "depth_tokens", 0);
}

std::string default_primary(const json& workload, const std::string& kind, const std::string& source) {
  if (kind == "cold_load") return "load.total_s";
  if (kind == "prefill") return "prefill.total_s";
  if (kind == "decode") return "decode.tokens_per_s";
  if (kind == "generate" || kind == "endpoint") return "ttft_s";
  if (kind == "quantize") return "quantize.weights_per_s";
  if (workload["metrics"].size() == 1) return workload["metrics"].begin().key();
  throw std::invalid_argument(source + ": /plan/primary is missing; name one of the metrics");
}

void check_model(const json& workload, const std::string& where, const std::string& source) {
  const auto model = workload.find("model");
  if (model == workload.end())
    throw std::invalid_argument(fmt::format("{}: {} has no model; give {{\"synth\": PRESET}} or {{\"path\": FILE}}", source, where));
  if (model->contains("synth") == model->contains("path"))
    throw std::invalid_argument(fmt::format("{}: {}/model needs either synth or path", source, where));
  if (model->contains("path") && model->size() > 1)
    throw std::invalid_argument(fmt::format("{}: {}/model has a path, so it takes no other field", source, where));
}

void check_external(const json& workload, const std::string& where, const std::string& source) {
  if (!workload.contains("command"))
    throw std::invalid_argument(fmt::format("{}: {} has no command; an external kind runs one", source, where));
  for (const auto& [name, metric] : workload.at("metrics").items()) {
    const bool clock = name == "wall_s" || name == "user_s" || name == "system_s";
    if (metric.contains("json") && metric.contains("regex"))
      throw std::invalid_argument(fmt::format("{}: metric '{}' has json and regex; keep one", source, name));
    if (!metric.contains("json") && !metric.contains("regex") && !clock)
      throw std::invalid_argument(
          fmt::format("{}: metric '{}' says not where it comes from; give it a json pointer or a regex", source, name));
  }
}

void check_kind(json& workload, const std::string& where, const std::string& source) {
  if (workload["kind"] == "endpoint") return check_endpoint_workload(workload, where, source);
  refuse_endpoint_fields(workload, where, source);
  if (workload["kind"] == "external") check_external(workload, where, source);
  else check_model(workload, where, source);
}

ArmSettings resolve_arm(const json& document, const char* name, const std::string& source) {
  const json& arm = document["arms"][name];
  const std::string where = fmt::format("arm {}", name), kind = document["workload"]["kind"];
  json workload = merge_workload(document["workload"], arm["workload"]);
  if (workload["kind"] != kind)
    throw std::invalid_argument(fmt::format("{}: {} has another kind than the workload; both arms answer one question", source, where));
  check_kind(workload, where, source);
  if (kind != "external" && kind != "endpoint") {
    const auto tokens = [&](const char* field) { return workload[field].get<std::int64_t>(); };
    const std::int64_t needed = tokens("prompt_tokens") + tokens("generate_tokens") + tokens("depth_tokens");
    fill(workload, "kv_capacity_tokens", needed);
    if (tokens("kv_capacity_tokens") < needed)
      throw std::invalid_argument(fmt::format("{}: {} asks for {} tokens in a cache of {}; raise kv_capacity_tokens", source, where,
                                              needed, tokens("kv_capacity_tokens")));
  }
  parse_cpu_list(workload["cpus"].get<std::string>());
  ArmSettings settings{workload.dump(), {}, arm["program"].get<std::string>()};
  if (kind == "endpoint" && !arm["knobs"].empty())
    throw std::invalid_argument(fmt::format("{}: {} sets knobs, which cannot reach a server; start one with them and give its url", source, where));
  Knobs registry;
  for (const auto& [knob, value] : arm["knobs"].items()) {
    const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
    registry.set(knob, text, source + ", " + where);
    settings.knobs[knob] = text;
  }
  return settings;
}

void fill_document(json& document, const std::string& source) {
  if (!document["workload"].contains("kind"))
    throw std::invalid_argument(source + ": /workload/kind is missing; use cold_load, prefill, decode, generate, quantize, external or endpoint");
  const std::string kind = document["workload"]["kind"];
  fill(document, "question", "");
  fill_workload(document["workload"], kind);
  for (const char* arm : {"A", "B"}) {
    json& settings = document["arms"][arm];
    fill(settings, "knobs", json::object());
    fill(settings, "workload", json::object());
    fill(settings, "program", "");
  }
  for (const char* part : {"plan", "expect", "limits"}) fill(document, part, json::object());
  json& plan = document["plan"];
  fill(plan, "seed", 1);
  fill(plan, "threshold_percent", 2);
  if (!plan.contains("primary"))
    plan["primary"] = default_primary(merge_workload(document["workload"], document["arms"]["A"]["workload"]), kind, source);
  const bool comparable = kind != "endpoint" && (kind != "external" || document["workload"].contains("output"));
  fill(document["expect"], "outputs", comparable ? "identical" : "ignore");
  fill(document["expect"], "controls", json::array());
  fill(document["expect"], "differs", json::array());
  fill(document["expect"], "path", json::object());
  fill(document["limits"], "sample_timeout_s", 600);
  fill(document["limits"], "max_failed", 0);
}

struct CellDocument {
  std::string name;
  json document;
};

// The places that a sweep changes: `*` as the arm stands for both.
std::vector<std::string> swept_places(const std::string& where) {
  constexpr std::string_view kBoth = "/arms/*/";
  if (!where.starts_with(kBoth)) return {where};
  const std::string rest = where.substr(kBoth.size());
  return {"/arms/A/" + rest, "/arms/B/" + rest};
}

std::vector<CellDocument> expand(const json& document, const std::string& source) {
  std::vector<CellDocument> cells{{"", document}};
  const json sweep = document.value("sweep", json::object());
  for (const auto& [where, values] : sweep.items()) {
    const std::vector<std::string> places = swept_places(where);
    for (const std::string& place : places)
      if (!place.starts_with("/workload/") && !place.starts_with("/arms/A/") && !place.starts_with("/arms/B/"))
        throw std::invalid_argument(
            fmt::format("{}: sweep over '{}' is not possible; a sweep changes /workload/..., /arms/B/... or both arms as /arms/*/...",
                        source, where));
    std::vector<CellDocument> more;
    for (const CellDocument& cell : cells)
      for (const json& value : values) {
        CellDocument next = cell;
        for (const std::string& place : places) put(next.document, place, value, source + ": sweep");
        const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
        next.name += (next.name.empty() ? "" : " ") + where.substr(where.rfind('/') + 1) + "=" + text;
        more.push_back(std::move(next));
        if (more.size() > kMaxCells)
          throw std::invalid_argument(fmt::format("{}: the sweep has more than {} cells", source, kMaxCells));
      }
    cells = std::move(more);
  }
  return cells;
}

// Each look closes a block in which AB and BA balance, so looks are even; below two pairs in each order nothing can be decided.
void read_looks(const json& looks, Scenario& scenario, const std::string& source) {
  constexpr int kFirstLook = 4;
  scenario.looks = looks.get<std::vector<int>>();
  const auto refuse = [&](const std::string& why) {
    throw std::invalid_argument(fmt::format("{}: /plan/looks is {}; {}", source, looks.dump(), why));
  };
  if (scenario.looks.size() > kMostLooks) refuse(fmt::format("at most {} looks are possible", kMostLooks));
  for (std::size_t i = 0; i < scenario.looks.size(); ++i) {
    if (scenario.looks[i] % 2 != 0) refuse(fmt::format("{} pairs are odd, so AB and BA cannot balance there", scenario.looks[i]));
    if (i > 0 && scenario.looks[i] <= scenario.looks[i - 1]) refuse("looks must rise");
  }
  if (scenario.looks.back() != scenario.pairs)
    refuse(fmt::format("the last look must be at /plan/pairs, which is {}; set both, or the looks alone", scenario.pairs));
  if (scenario.looks.size() > 1 && scenario.looks.front() < kFirstLook)
    refuse(fmt::format("below {} pairs nothing can be decided; look at 8 first", kFirstLook));
}

void read_plan(const json& document, Scenario& scenario, const std::string& source) {
  const json& plan = document["plan"];
  scenario.seed = plan["seed"], scenario.primary = plan["primary"], scenario.threshold_percent = plan["threshold_percent"];
  scenario.pairs = plan["pairs"];
  if (scenario.pairs % 2 != 0)
    throw std::invalid_argument(fmt::format("{}: {} pairs are odd, so AB and BA cannot balance; use {} or {}", source, scenario.pairs,
                                            scenario.pairs - 1, scenario.pairs + 1));
  read_looks(plan["looks"], scenario, source);
}

void read_expect(const json& expect, Expectations& out) {
  if (expect["outputs"] == "ignore") out.outputs = OutputRule::kIgnore;
  if (expect["outputs"].is_object()) {
    out.outputs = OutputRule::kTolerance;
    out.logit_nmse = expect["outputs"]["tolerance"]["logit_nmse"];
  }
  out.controls = expect["controls"].get<std::vector<std::string>>();
  out.differs = expect["differs"].get<std::vector<std::string>>();
  out.path = expect["path"].get<std::map<std::string, std::string>>();
  for (const std::string& what : out.differs)
    if (!what.starts_with("path.") && !what.starts_with("counters.") && !what.starts_with("knobs."))
      throw std::invalid_argument(
          fmt::format("expect.differs holds '{}'; it takes path.NAME, counters.NAME or knobs.NAME", what));
}

void read_directions(const json& workload, Scenario& scenario) {
  const json metrics = workload.value("metrics", json::object());
  for (const auto& [name, metric] : metrics.items())
    if (metric.contains("better")) scenario.higher_is_better[name] = metric["better"] == "higher";
}

}  // namespace

Scenario parse_scenario(const std::string& text, const std::string& source, const ScenarioChanges& changes) {
  json document = parse_json(text, source, /*comments=*/true);
  apply_sets(document, changes.sets);
  check_scenario_shape(document, source);
  fill_document(document, source);
  Scenario scenario;
  std::vector<CellDocument> cells = expand(document, source);
  json& plan = document["plan"];
  if (changes.pairs) {
    plan["pairs"] = *changes.pairs;
    plan.erase("looks");
  }
  if (plan.contains("looks")) fill(plan, "pairs", plan["looks"].back());
  scenario.exploratory = !plan.contains("pairs") && cells.size() > kMaxCellsWithVerdicts;
  fill(plan, "pairs", scenario.exploratory ? 2 : 8);
  fill(plan, "looks", json::array({plan["pairs"]}));
  check_scenario_shape(document, source);
  read_plan(document, scenario, source);
  if (cells.size() * static_cast<std::size_t>(scenario.pairs) > kMaxPairs)
    throw std::invalid_argument(fmt::format("{}: {} pairs in each of {} cells are more than {} in all; take fewer", source, scenario.pairs,
                                            cells.size(), kMaxPairs));
  read_expect(document["expect"], scenario.expect);
  for (const CellDocument& cell : cells) {
    check_scenario_shape(cell.document, cell.name.empty() ? source : source + " (" + cell.name + ")");
    scenario.cells.push_back({cell.name, resolve_arm(cell.document, "A", source), resolve_arm(cell.document, "B", source)});
    for (const ArmSettings* arm : {&scenario.cells.back().a, &scenario.cells.back().b})
      read_directions(json::parse(arm->workload), scenario);
  }
  scenario.name = document["name"], scenario.question = document["question"];
  scenario.kind = document["workload"]["kind"];
  scenario.sample_timeout_s = document["limits"]["sample_timeout_s"], scenario.max_failed = document["limits"]["max_failed"];
  higher_is_better(scenario, scenario.primary);
  for (const std::string& control : scenario.expect.controls) higher_is_better(scenario, control);
  scenario.json = document.dump();
  return scenario;
}

bool higher_is_better(const Scenario& scenario, const std::string& metric) {
  const auto stated = scenario.higher_is_better.find(metric);
  if (stated != scenario.higher_is_better.end()) return stated->second;
  if (metric.ends_with("_per_s")) return true;
  if (metric.ends_with("_s") || metric.ends_with("_bytes")) return false;
  throw std::invalid_argument(
      fmt::format("the name of metric '{}' does not say whether more is better; end it in _s or _per_s, or give it "
                  "\"better\": \"lower\" or \"higher\"",
                  metric));
}

}  // namespace crossover
