#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "bench/cache_folder.h"
#include "bench/commands/commands.h"
#include "bench/load_watch.h"
#include "bench/machine/usable_cores.h"
#include "bench/npy_writer.h"
#include "bench/timed_generation.h"
#include "engine/tokenizer.h"

namespace crossover::commands {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

struct Arguments {
  std::string model, tokens, tokens_file, prompt, logits, weights = "as-is", keys = "f16", values = "f16", backend = "cpu";
  std::int64_t max_tokens = 16, chunk = 2048;
  int ranks = 1, threads = 0;
  bool prints_json = false, ignore_end_of_text = false, shard_plan = false;
  SamplerOptions sampler;
  std::optional<Option> tokens_given, file_given, prompt_given;
};

DType dtype_of(const std::string& option, const std::string& name) {
  const std::optional<DType> dtype = parse_dtype(name);
  if (!dtype) throw std::invalid_argument(fmt::format("{} takes an element type such as f32, f16, bf16, q8_0 or q6_k, not '{}'", option, name));
  return *dtype;
}

std::optional<DType> weights_of(const std::string& name) {
  if (name == "as-is") return std::nullopt;
  return dtype_of("--weights", name);
}

fs::path tokenizer_path(const fs::path& model) {
  const fs::path found = find_tokenizer(model);
  if (found.empty())
    throw std::runtime_error(fmt::format("--prompt needs a tokenizer, but {} has none, nor is there a tokenizer.json {} it; give ids with --tokens instead",
                                         model.string(), fs::is_directory(model) ? "in" : "beside"));
  return found;
}

std::vector<std::int32_t> parse_ids(const std::string& text, const std::string& from) {
  json ids;
  try {
    ids = json::parse(text);
  } catch (const json::exception&) {
  }
  const bool fits = ids.is_array() && std::all_of(ids.begin(), ids.end(), [](const json& id) {
    return id.is_number_integer() && id.get<std::int64_t>() >= 0 && id.get<std::int64_t>() <= INT32_MAX;
  });
  if (!fits) throw std::invalid_argument(fmt::format("{} must be whole numbers from 0 to {}, as in [1, 2, 3]", from, INT32_MAX));
  return ids.get<std::vector<std::int32_t>>();
}

std::vector<std::int32_t> prompt_ids(const Arguments& arguments) {
  if (arguments.tokens_given->is_given()) return parse_ids("[" + arguments.tokens + "]", "--tokens");
  if (arguments.prompt_given->is_given()) return Tokenizer::from_file(tokenizer_path(arguments.model)).encode(arguments.prompt);
  std::ifstream file(arguments.tokens_file);
  if (!file) throw std::runtime_error(fmt::format("cannot read the tokens file {}", arguments.tokens_file));
  return parse_ids({std::istreambuf_iterator<char>(file), {}}, "the tokens file " + arguments.tokens_file);
}

EngineOptions engine_options(const Arguments& arguments, std::size_t prompt_tokens) {
  EngineOptions options;
  options.model = arguments.model;
  options.weights = weights_of(arguments.weights);
  options.ranks = arguments.ranks;
  options.threads = arguments.threads ? arguments.threads : usable_cores();
  options.backend = arguments.backend;
  options.keys = dtype_of("--kv-k", arguments.keys);
  options.values = dtype_of("--kv-v", arguments.values);
  options.chunk_tokens = arguments.chunk;
  options.capacity_tokens = static_cast<std::int64_t>(prompt_tokens) + arguments.max_tokens;
  options.knobs.set_from_environment(environ);
  options.cache_folder = quantized_folder(options.knobs);
  return options;
}

json phases_json(const std::vector<RankPhases>& ranks, const char* prefix) {
  json list = json::array();
  for (const RankPhases& rank : ranks)
    for (const PhaseShare& phase : rank.phases)
      list.push_back({{"name", prefix + phase.name}, {"rank", rank.rank}, {"duration_s", phase.share_s}, {"busy_s", phase.busy_s}});
  return list;
}

json describe_run(const Engine& engine, const EngineOptions& options, const TimedGeneration& run, std::size_t prompt_tokens) {
  json timings{{"load_s", engine.load_report().total_s}, {"prefill_s", run.prefill_s},
               {"prefill_tokens_per_s", static_cast<double>(prompt_tokens) / run.prefill_s}};
  if (run.ttft_s) timings["ttft_s"] = *run.ttft_s;
  if (run.decode_s) timings["decode_s"] = *run.decode_s;
  if (const auto rate = run.decode_tokens_per_s()) timings["decode_tokens_per_s"] = *rate;
  json phases = phases_json(engine.load_report().ranks, "load.");
  for (json& phase : phases_json(engine.phases(run.submitted_s, std::max(run.prefilled_s, run.last_token_s)), "")) phases.push_back(std::move(phase));
  json knobs;
  for (const auto& [name, knob] : options.knobs.all()) knobs[name] = {{"value", knob.value}, {"origin", knob.origin}};
  const CacheOutcome& cache = engine.load_report().cache;
  const Counters counters = engine.counters();
  json counts = counters.counts;
  counts["paths"] = counters.paths;
  return {{"timings", timings}, {"phases", phases}, {"counters", counts}, {"knobs", knobs}, {"backend", options.backend}, {"isa", engine.isa()},
          {"cache", {{"state", cache.state}, {"file", cache.file.string()}, {"sentence", cache.sentence}}},
          {"read", {{"mode", name(engine.load_report().read.mode)}, {"reason", engine.load_report().read.reason}}}};
}

// Of ids that were given as ids nobody needs the text: a tokenizer that this program cannot use is then no error.
std::optional<std::string> text_of(const Arguments& arguments, const std::vector<std::int32_t>& tokens) {
  try {
    if (const fs::path found = find_tokenizer(arguments.model); !found.empty())
      return Tokenizer::from_file(found).decode(tokens, /*skip_special=*/true);
  } catch (const std::runtime_error&) {
    if (arguments.prompt_given->is_given()) throw;
  }
  return std::nullopt;
}

void print_result(const Arguments& arguments, const std::vector<std::int32_t>& prompt, const std::vector<std::int32_t>& tokens, json details) {
  const std::optional<std::string> text = text_of(arguments, tokens);
  if (!arguments.prints_json) {
    if (text && arguments.prompt_given->is_given()) fmt::print("{}\n", *text);
    else fmt::print("{}\n", json(tokens).dump());
    return;
  }
  details["prompt_tokens"] = prompt;
  details["tokens"] = tokens;
  if (text) details["text"] = *text;
  fmt::print("{}\n", details.dump(-1, ' ', false, json::error_handler_t::replace));
}

void run(const Arguments& arguments) {
  if (arguments.tokens_given->is_given() + arguments.file_given->is_given() + arguments.prompt_given->is_given() != 1)
    throw std::invalid_argument("generate takes exactly one of --tokens, --tokens-file and --prompt");
  if (arguments.shard_plan) {
    const Source source = open_checkpoint(arguments.model);
    fmt::print("{}", describe(source, make_shard_plan(source, weights_of(arguments.weights), arguments.ranks)));
    return;
  }
  const std::vector<std::int32_t> prompt = prompt_ids(arguments);
  const bool needs_model = arguments.max_tokens > 0 || !arguments.logits.empty();
  if (!needs_model) {
    if (arguments.prints_json) fmt::print("{}\n", json{{"prompt_tokens", prompt}, {"tokens", json::array()}}.dump());
    else fmt::print("{}\n", json(prompt).dump());
    return;
  }
  if (prompt.empty()) throw std::invalid_argument("the prompt is empty: logits need at least one token");
  EngineOptions options = engine_options(arguments, prompt.size());
  LoadProgress progress;
  options.progress = &progress;
  auto watch = std::make_unique<LoadWatch>("load", progress);
  Engine engine(options);
  watch.reset();
  std::optional<NpyWriter> npy;
  if (!arguments.logits.empty()) npy.emplace(arguments.logits, engine.config().vocab);
  RowSink rows;
  if (npy) rows = [&](std::int64_t, ConstRows logits) { npy->append(logits); };
  const TimedGeneration run = timed_generate(engine, {prompt, arguments.max_tokens, arguments.sampler, arguments.ignore_end_of_text}, rows);
  if (npy) npy->finish();
  print_result(arguments, prompt, run.tokens, describe_run(engine, options, run, prompt.size()));
}

}  // namespace

void add_generate(Command app, int&) {
  auto arguments = std::make_shared<Arguments>();
  const Command generate = app.add_subcommand("generate", "Run a prompt through a model: greedy or sampled tokens, logits, timings");
  generate.footer("Example: crossover generate MODEL --tokens 1,2,3 --max-tokens 8 --json");
  Arguments& a = *arguments;
  generate.add_option("MODEL", a.model, "checkpoint directory or .gguf file").required();
  a.tokens_given = generate.add_option("--tokens", a.tokens, "prompt as ids: 1,2,3");
  a.file_given = generate.add_option("--tokens-file", a.tokens_file, "prompt as a JSON array of ids");
  a.prompt_given = generate.add_option("--prompt", a.prompt, "prompt as text; needs a tokenizer in the model or a tokenizer.json beside it");
  generate.add_option("--max-tokens", a.max_tokens, "tokens to generate; 0 only runs (or, without --logits, only tokenizes) the prompt").not_negative().show_default();
  generate.add_flag("--json", a.prints_json, "everything as one JSON object");
  generate.add_option("--logits", a.logits, "NPY file of float32 [prompt + max(generated - 1, 0), vocab]; row i follows token i");
  generate.add_option("--weights", a.weights, "type matrices are held in: as-is, q6_k, q8_0, bf16, f32").show_default();
  generate.add_option("--ranks", a.ranks, "tensor-parallel ranks (threads of this process)").positive().show_default();
  generate.add_option("--threads", a.threads, "workers over all ranks; default: all allowed cores").positive();
  generate.add_option("--kv-k", a.keys, "type of the key cache").show_default();
  generate.add_option("--kv-v", a.values, "type of the value cache").show_default();
  generate.add_option("--chunk", a.chunk, "prompt tokens per pass").positive().show_default();
  generate.add_option("--backend", a.backend, "cpu, cuda or reference").show_default();
  generate.add_option("--temperature", a.sampler.temperature, "0 = greedy").not_negative().show_default();
  generate.add_option("--top-k", a.sampler.top_k, "0 = all").not_negative().show_default();
  generate.add_option("--top-p", a.sampler.top_p).range(0.0, 1.0).show_default();
  generate.add_option("--seed", a.sampler.seed).show_default();
  generate.add_flag("--ignore-eos", a.ignore_end_of_text, "go on after an end-of-text token");
  generate.add_flag("--shard-plan", a.shard_plan, "print which part of every tensor each rank would hold, and stop");
  generate.callback([arguments] { run(*arguments); });
}

}  // namespace crossover::commands
