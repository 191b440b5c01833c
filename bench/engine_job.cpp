#include "bench/engine_job.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>

#include "bench/cache_folder.h"
#include "bench/profile/gpu_trace.h"
#include "bench/sha256.h"
#include "bench/timed_generation.h"
#include "bench/timeline.h"
#include "engine/load/quantize_file.h"

namespace crossover {
namespace {

using nlohmann::json;

Knobs knobs_of(const json& job) {
  Knobs knobs;
  knobs.set_from_environment(environ);
  for (const auto& [name, value] : job.at("knobs").items()) knobs.set(name, value.get<std::string>(), "scenario");
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
  options.cache_folder = quantized_folder(options.knobs);
  return options;
}

// mt19937_64 is specified bit by bit, so a seed gives the same ids on every machine.
std::vector<std::int32_t> make_tokens(std::mt19937_64& random, std::int64_t count, std::int64_t vocab) {
  std::vector<std::int32_t> ids(static_cast<std::size_t>(count));
  for (std::int32_t& id : ids) id = static_cast<std::int32_t>(random() % static_cast<std::uint64_t>(vocab));
  return ids;
}

// Every rank's phases below a parent of the metric's length; the mean over ranks as metric PREFIX.NAME_s, so that these metrics
// sum to the wall time. The prefill and decode ones are times of the rank's own thread, so busy time says nothing new there.
void add_phases(Sample& sample, const std::vector<RankPhases>& ranks, const std::string& prefix, double total_s, bool with_busy) {
  std::map<std::string, double> share_s, busy_s;
  for (const RankPhases& rank : ranks) {
    sample.phases.push_back({prefix, rank.rank, 0, total_s, std::nullopt, -1});
    const int parent = static_cast<int>(sample.phases.size()) - 1;
    for (const PhaseShare& phase : rank.phases) {
      sample.phases.push_back({prefix + "." + phase.name, rank.rank, 0, phase.share_s, std::nullopt, parent});
      if (with_busy) sample.phases.back().busy_s = phase.busy_s;
      share_s[phase.name] += phase.share_s / static_cast<double>(ranks.size());
      busy_s[phase.name] += phase.busy_s;
    }
  }
  for (const auto& [name, seconds] : share_s) sample.metrics[fmt::format("{}.{}_s", prefix, name)] = seconds;
  if (!with_busy) return;
  for (const auto& [name, seconds] : busy_s) sample.metrics[fmt::format("{}.{}_busy_s", prefix, name)] = seconds;
}

// Of all workers, [threads]: seconds not spent waiting, and their share of the wall time.
void add_busy(Sample& sample, const std::vector<double>& busy_s, double total_s) {
  sample.series["load.thread_busy_s"] = busy_s;
  sample.metrics["load.busy_share"] = std::accumulate(busy_s.begin(), busy_s.end(), 0.0) / (static_cast<double>(busy_s.size()) * total_s);
}

double bytes_of_files(const std::filesystem::path& model) {
  const std::vector<std::uint64_t> bytes = open_checkpoint(model).file_bytes;
  return static_cast<double>(std::accumulate(bytes.begin(), bytes.end(), std::uint64_t{0}));
}

void add_load(Sample& sample, const Engine& engine, const std::filesystem::path& model) {
  const LoadReport& load = engine.load_report();
  sample.metrics["load.total_s"] = load.total_s;
  add_phases(sample, load.ranks, "load", load.total_s, true);
  sample.timeline = coarse_timeline(load.timeline, load.total_s);
  std::vector<double> busy_s;
  double buffer_bytes = 0;
  for (std::size_t rank = 0; rank < load.details.size(); ++rank) {
    const RankLoadDetails& part = load.details[rank];
    sample.counters[fmt::format("bytes.weights.rank{}", rank)] = static_cast<double>(part.weight_bytes);
    sample.counters["bytes.read"] += static_cast<double>(part.bytes_read);
    sample.counters["values.quantized"] += static_cast<double>(part.quantized_values);
    buffer_bytes += static_cast<double>(part.peak_buffer_bytes);
    busy_s.insert(busy_s.end(), part.thread_busy_s.begin(), part.thread_busy_s.end());
  }
  sample.counters["bytes.held"] = static_cast<double>(engine.total_weight_bytes() + engine.state_bytes()) + buffer_bytes;
  add_busy(sample, busy_s, load.total_s);
  if (load.read.fell_back) sample.flags.push_back("read: " + load.read.reason);
  sample.counters["bytes.files"] = bytes_of_files(load.cache.state == "hit" ? load.cache.file : model);
  if (load.cache.state == "hit" || load.cache.state == "built") sample.quantized_file = load.cache.file.string();
  else if (!load.cache.sentence.empty()) sample.flags.push_back("quantized cache: " + load.cache.sentence);
}

void add_generation(Sample& sample, const Engine& engine, const TimedGeneration& run, std::int64_t prompt_tokens) {
  sample.metrics["prefill.total_s"] = run.prefill_s;
  sample.metrics["prefill.tokens_per_s"] = static_cast<double>(prompt_tokens) / run.prefill_s;
  if (run.ttft_s) sample.metrics["ttft_s"] = *run.ttft_s;
  sample.counters["prefill.flops"] = run.prefill_work.flops, sample.counters["prefill.bytes"] = run.prefill_work.bytes;
  add_phases(sample, engine.phases(run.submitted_s, run.prefilled_s), "prefill", run.prefill_s, false);
  if (const auto rate = run.decode_tokens_per_s()) sample.metrics["decode.tokens_per_s"] = *rate;
  if (run.decode_s) {
    sample.series["decode.token_s"] = run.token_s;
    sample.metrics["decode.total_s"] = *run.decode_s;
    sample.counters["decode.flops"] = run.decode_work.flops, sample.counters["decode.bytes"] = run.decode_work.bytes;
    add_phases(sample, engine.phases(run.last_token_s - *run.decode_s, run.last_token_s), "decode", *run.decode_s, false);
  }
  for (std::size_t i = 0; i < run.choices.size(); ++i) {
    const Choice& choice = run.choices[i];
    sample.output_tokens.push_back(choice.id);
    LogitRow row{{choice.id, choice.runner_up}, {choice.logit, choice.runner_up_logit}};
    for (std::size_t p = 0; p < run.probe_ids.size(); ++p) {
      if (run.probe_ids[p] == choice.id || run.probe_ids[p] == choice.runner_up) continue;
      row.ids.push_back(run.probe_ids[p]);
      row.logits.push_back(run.probes[i][p]);
    }
    sample.top_logits.push_back(std::move(row));
  }
  sample.output_hash = sha256_text(json(sample.output_tokens).dump());
}

void run_passes(const json& job, Engine& engine, Sample& sample) {
  const std::int64_t vocab = engine.config().vocab, depth = job.at("depth_tokens").get<std::int64_t>();
  std::mt19937_64 random(job.at("token_seed").get<std::uint64_t>());
  if (depth > 0) engine.feed(make_tokens(random, depth, vocab));
  const auto prompt_tokens = job.at("prompt_tokens").get<std::int64_t>();
  GenerateOptions options{make_tokens(random, prompt_tokens, vocab), job.at("generate_tokens").get<std::int64_t>(), {}, /*ignore_end_of_text=*/true};
  options.max_tokens = std::max<std::int64_t>(1, options.max_tokens);  // the first id is what time to first token ends with
  engine.clear_phases();
  std::optional<GpuTrace> trace;
  if (job.value("trace", false)) trace.emplace().begin(engine, job.value("trace_counters", true));
  const TimedGeneration run = timed_generate(engine, options);
  if (trace) trace->end(engine, sample);
  add_generation(sample, engine, run, prompt_tokens);
  sample.counters["tokens.capacity"] = job.at("kv_capacity_tokens").get<double>();
  sample.counters["tokens.used"] = static_cast<double>(engine.tokens());
  sample.counters["bytes.state"] = static_cast<double>(engine.state_bytes());
}

void run_engine(const json& job, Sample& sample, const std::function<void(const std::string&)>& phase) {
  const EngineOptions options = options_of(job);
  sample.knobs = {options.knobs.all().begin(), options.knobs.all().end()};
  phase("load");
  Engine engine(options);
  add_load(sample, engine, options.model);
  phase("passes");
  run_passes(job, engine, sample);
  const Counters counters = engine.counters();
  for (const auto& [name, n] : counters.counts) sample.counters[name] = static_cast<double>(n);
  sample.path.insert(counters.paths.begin(), counters.paths.end());
  sample.path["backend"] = options.backend;
  sample.path["cache"] = engine.load_report().cache.state;
  sample.path["isa"] = engine.isa();
  sample.path["kv"] = fmt::format("{}/{}", name(options.keys), name(options.values));
}

void run_quantize(const json& job, Sample& sample, const std::function<void(const std::string&)>& phase) {
  QuantizeOptions options;
  options.type = dtype_at(job, "weights");
  options.threads = job.at("threads").get<int>();
  options.knobs = knobs_of(job);
  sample.knobs = {options.knobs.all().begin(), options.knobs.all().end()};
  const std::string out = job.at("out").get<std::string>();
  phase("quantize");
  const QuantizeReport quantized = quantize_checkpoint(job.at("model").get<std::string>(), out, options);
  sample.metrics["load.total_s"] = quantized.total_s;
  sample.metrics["quantize.weights_per_s"] = static_cast<double>(quantized.weights) / quantized.total_s;
  add_phases(sample, {{0, quantized.phases}}, "load", quantized.total_s, true);
  sample.timeline = coarse_timeline(quantized.timeline, quantized.total_s);
  add_busy(sample, quantized.thread_busy_s, quantized.total_s);
  for (const auto& [name, n] : quantized.counters.counts) sample.counters[name] = static_cast<double>(n);
  sample.counters["bytes.read"] = static_cast<double>(quantized.bytes_read);
  sample.counters["values.quantized"] = static_cast<double>(quantized.quantized_values);
  sample.counters["bytes.held"] = static_cast<double>(quantized.peak_buffer_bytes);
  if (quantized.read.fell_back) sample.flags.push_back("read: " + quantized.read.reason);
  sample.counters["bytes.files"] = bytes_of_files(job.at("model").get<std::string>());
  sample.path = {quantized.counters.paths.begin(), quantized.counters.paths.end()};
  phase("hash");
  sample.output_hash = sha256_file(out);
  std::filesystem::remove(out);
}

}  // namespace

Sample run_engine_job(const std::string& text, const std::function<void(const std::string&)>& phase) {
  const json job = json::parse(text);
  Sample sample;
  if (job.at("kind") == "quantize") run_quantize(job, sample, phase);
  else run_engine(job, sample, phase);
  return sample;
}

}  // namespace crossover
