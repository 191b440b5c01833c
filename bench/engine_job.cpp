#include "bench/engine_job.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <random>

#include "bench/sha256.h"
#include "bench/timed_generation.h"
#include "engine/load/quantize_file.h"

namespace crossover {
namespace {

using nlohmann::json;

struct Report {
  json metrics = json::object(), series = json::object(), phases = json::array(), counters = json::object(), paths = json::object();
  json tokens = json::array(), top_logits = json::array();
  std::string output_hash;
};

Knobs knobs_of(const json& job) {
  Knobs knobs;
  for (const auto& [name, knob] : job.at("knobs").items()) knobs.set(name, knob.at("value").get<std::string>(), knob.at("origin").get<std::string>());
  return knobs;
}

DType dtype_at(const json& job, const char* field) {
  const auto name = job.at(field).get<std::string>();
  const std::optional<DType> dtype = parse_dtype(name);
  if (!dtype) throw std::invalid_argument(fmt::format("{} '{}' is no element type; use f32, f16, bf16, q8_0, q6_k, q4_0, q4_1, q5_0 or q5_1", field, name));
  return *dtype;
}

EngineOptions options_of(const json& job) {
  EngineOptions options;
  options.model = job.at("model").get<std::string>();
  if (job.at("weights") != "as-is") options.weights = dtype_at(job, "weights");
  options.ranks = job.at("ranks").get<int>();
  options.threads = job.at("threads").get<int>();
  options.backend = job.at("backend").get<std::string>();
  options.keys = dtype_at(job, "kv_k");
  options.values = dtype_at(job, "kv_v");
  options.chunk_tokens = job.at("chunk").get<std::int64_t>();
  options.capacity_tokens = job.at("kv_capacity_tokens").get<std::int64_t>();
  options.knobs = knobs_of(job);
  return options;
}

// mt19937_64 is specified bit by bit, so a seed gives the same ids on every machine.
std::vector<std::int32_t> make_tokens(std::mt19937_64& random, std::int64_t count, std::int64_t vocab) {
  std::vector<std::int32_t> ids(static_cast<std::size_t>(count));
  for (std::int32_t& id : ids) id = static_cast<std::int32_t>(random() % static_cast<std::uint64_t>(vocab));
  return ids;
}

// Per phase: every rank in `phases`, the mean over ranks as metric PREFIX.NAME_s, so that the metrics sum to the wall time.
void add_phases(Report& report, const std::vector<RankPhases>& ranks, const std::string& prefix, double start_s, bool busy) {
  std::map<std::string, double> share_s, busy_s;
  for (const RankPhases& rank : ranks) {
    for (const PhaseShare& phase : rank.phases) {
      report.phases.push_back({{"name", prefix + "." + phase.name}, {"rank", rank.rank}, {"start_s", start_s}, {"duration_s", phase.share_s}, {"parent", prefix}});
      share_s[phase.name] += phase.share_s / static_cast<double>(ranks.size());
      busy_s[phase.name] += phase.busy_s;
    }
  }
  for (const auto& [name, seconds] : share_s) report.metrics[prefix + "." + name + "_s"] = seconds;
  if (busy)
    for (const auto& [name, seconds] : busy_s) report.metrics[prefix + "." + name + "_busy_s"] = seconds;
}

// The two best logits of a row: how near a tie the choice was, should the arms part here.
json best_two(const float* row, std::int64_t vocab) {
  std::int64_t first = 0, second = vocab > 1 ? 1 : 0;
  if (row[second] > row[first]) std::swap(first, second);
  for (std::int64_t i = 2; i < vocab; ++i) {
    if (row[i] > row[first]) second = first, first = i;
    else if (row[i] > row[second]) second = i;
  }
  return {{{"id", first}, {"logit", row[first]}}, {{"id", second}, {"logit", row[second]}}};
}

void run_passes(const json& job, Engine& engine, Report& report) {
  const std::int64_t vocab = engine.config().vocab, depth = job.at("depth_tokens").get<std::int64_t>();
  std::mt19937_64 random(job.at("token_seed").get<std::uint64_t>());
  if (depth > 0) engine.feed(make_tokens(random, depth, vocab));
  const auto prompt_tokens = job.at("prompt_tokens").get<std::int64_t>();
  if (prompt_tokens < 1) throw std::invalid_argument("prompt_tokens must be at least 1: logits need a token");
  GenerateOptions options{make_tokens(random, prompt_tokens, vocab), job.at("generate_tokens").get<std::int64_t>(), {}, /*ignore_end_of_text=*/true};
  options.max_tokens = std::max<std::int64_t>(1, options.max_tokens);  // the first id is what time to first token ends with
  engine.clear_phases();
  const TimedGeneration run = timed_generate(engine, options);
  json& metrics = report.metrics;
  metrics["prefill.total_s"] = run.prefill_s;
  metrics["prefill.tokens_per_s"] = static_cast<double>(prompt_tokens) / run.prefill_s;
  if (run.ttft_s) metrics["ttft_s"] = *run.ttft_s;
  if (const auto rate = run.decode_tokens_per_s()) metrics["decode.tokens_per_s"] = *rate;
  if (!run.token_s.empty()) report.series["decode.token_s"] = run.token_s;
  add_phases(report, engine.phases(run.submitted_s, run.prefilled_s), "prefill", run.submitted_s, false);
  if (!run.token_s.empty()) {
    metrics["decode.total_s"] = *run.decode_s;
    add_phases(report, engine.phases(run.last_token_s - *run.decode_s, run.last_token_s), "decode", run.last_token_s - *run.decode_s, false);
  }
  report.tokens = run.tokens;
  metrics["state.bytes"] = engine.state_bytes();
  report.counters["tokens.capacity"] = job.at("kv_capacity_tokens");
  report.counters["tokens.used"] = engine.tokens();
}

void run_engine(const json& job, Report& report) {
  Engine engine(options_of(job));
  const LoadReport& load = engine.load_report();
  report.metrics["load.total_s"] = load.total_s;
  add_phases(report, load.ranks, "load", load.begin_s, true);
  run_passes(job, engine, report);
  const Counters counters = engine.counters();
  for (const auto& [name, n] : counters.counts) report.counters[name] = n;
  report.paths = counters.paths;
  report.paths["isa"] = engine.isa();
}

void run_quantize(const json& job, Report& report) {
  QuantizeOptions options;
  options.type = dtype_at(job, "weights");
  options.threads = job.at("threads").get<int>();
  options.knobs = knobs_of(job);
  const std::string out = job.at("out").get<std::string>();
  const QuantizeReport quantized = quantize_checkpoint(job.at("model").get<std::string>(), out, options);
  report.metrics["load.total_s"] = quantized.total_s;
  report.metrics["quantize.weights_per_s"] = static_cast<double>(quantized.weights) / quantized.total_s;
  add_phases(report, {{0, quantized.phases}}, "load", monotonic_s() - quantized.total_s, true);
  report.paths = quantized.counters.paths;
  report.output_hash = sha256_file(out);
  std::filesystem::remove(out);
}

}  // namespace

std::string run_engine_job(const std::string& text) {
  const json job = json::parse(text);
  Report report;
  if (job.at("kind") == "quantize") run_quantize(job, report);
  else run_engine(job, report);
  if (report.output_hash.empty()) report.output_hash = sha256_text(report.tokens.dump());
  return json{{"schema", "crossover.sample/1"},
              {"metrics", report.metrics},
              {"series", report.series},
              {"phases", report.phases},
              {"counters", report.counters},
              {"paths", report.paths},
              {"tokens", report.tokens},
              {"top_logits", report.top_logits},
              {"output_hash", report.output_hash}}
      .dump();
}

}  // namespace crossover
