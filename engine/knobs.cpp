#include "engine/knobs.h"

#include <algorithm>
#include <charconv>
#include <numeric>
#include <stdexcept>

namespace crossover {

std::span<const KnobInfo> all_knobs() {
  static const std::vector<KnobInfo> kKnobs{
      {"CROSSOVER_CACHE_DIR", "path", "", {}, "folder of prepared models; default $XDG_CACHE_HOME/crossover or ~/.cache/crossover"},
      {"CROSSOVER_COMM",
       "choice",
       "auto",
       {"auto", "local", "nccl"},
       "how ranks sum on GPUs: by NCCL, or by way of the host; auto is nccl where every rank has a GPU of its own and the library is found "
       "(a result says what was done as path.comm)"},
      {"CROSSOVER_COMM_LIMIT_S",
       "integer",
       "60",
       {"1", "86400"},
       "seconds that a rank may wait for the others, to join or in one sum of NCCL; then all ranks stop with an error"},
      {"CROSSOVER_CUDA_GEMM",
       "choice",
       "auto",
       {"auto", "own", "cublaslt"},
       "products of many tokens by bf16 weights on a GPU: by our kernel or by cuBLASLt; auto is cuBLASLt where the library is found, and our kernel "
       "for what it refuses; cublaslt: or it is an error (a result says what was done as path.gemm and path.matmul.bf16)"},
      {"CROSSOVER_CUDA_GRAPH",
       "choice",
       "auto",
       {"auto", "on", "off"},
       "passes of one token on a GPU: their launches as CUDA graphs, which are kept and changed where the next token's differ, or one by one "
       "(off); auto: graphs where no range inside the pass is timed or traced, and one by one from then on where CUDA refuses them; on: always, "
       "or it is an error (a result says what was done as path.decode)"},
      {"CROSSOVER_CUDA_OVERLAP",
       "choice",
       "auto",
       {"auto", "on", "off"},
       "a launch on a GPU of compute capability 9.0 begins while the one before it ends, and waits for it on the device (programmatic dependent "
       "launch); auto: off (a result says what was done as path.launch)"},
      {"CROSSOVER_CUDA_PRODUCTS",
       "choice",
       "auto",
       {"auto", "warp", "warpgroup"},
       "which instructions of a GPU's tensor cores multiply: those of a warp, or those of a warpgroup (compute capability 9.0) where a kernel has "
       "them, as attention over many tokens and our products of many tokens have; auto: warp (a result says what was done as path.attention and "
       "path.matmul.*)"},
      {"CROSSOVER_GDN_DECODE", "choice", "auto", {"auto", "recurrent", "chunked", "chunked-f32"}, "Gated DeltaNet for passes of one token; auto: recurrent"},
      {"CROSSOVER_GDN_PREFILL",
       "choice",
       "auto",
       {"auto", "recurrent", "chunked", "chunked-f32"},
       "Gated DeltaNet for passes of several tokens: token by token, or chunks of tokens with products in bf16 where the CPU has them, or "
       "in f32; auto: chunked from that number of tokens on from which it is faster"},
      {"CROSSOVER_GPU_PHASES",
       "choice",
       "auto",
       {"auto", "events", "off"},
       "phases of passes on a GPU as its own clock tells them, by an event for every range; off: a pass is one phase; auto: events in passes "
       "of several tokens, not in passes of one, where they cost as much as launches do"},
      {"CROSSOVER_ISA", "choice", "auto", {"auto", "portable", "avx2", "avx512", "avx512bf16", "amx"}, "highest instruction set the cpu backend may use"},
      {"CROSSOVER_K_ROTATION",
       "choice",
       "none",
       {"none", "fwht", "signed"},
       "orthogonal map of every key head before it is cached, and of the queries: Walsh-Hadamard over the head, or over blocks of 128 between "
       "two fixed vectors of signs"},
      {"CROSSOVER_LM_HEAD",
       "choice",
       "sharded",
       {"sharded", "rank0", "every-rank-quantized", "every-rank-plain"},
       "who holds the output head: vocabulary rows dealt over the ranks, all on rank 0, or rank 0 and a whole copy on every other rank "
       "(in the type of the weights, or as stored)"},
      {"CROSSOVER_LOAD_BUFFER_MIB", "integer", "64", {"1", "65536"}, "checkpoint bytes of one rank that are read ahead of their conversion"},
      {"CROSSOVER_LOAD_DELAY", "delay", "none", {}, "test hook: PHASE:MILLISECONDS sleeps once in every thread that enters this load phase"},
      {"CROSSOVER_LOAD_ORDER", "choice", "together", {"together", "in-turn"}, "ranks load at the same time, or one after the other"},
      {"CROSSOVER_LOGITS", "choice", "last", {"last", "all"}, "prompt rows that go through the output head: the last one of the prompt, or every one"},
      {"CROSSOVER_MOE",
       "choice",
       "grouped",
       {"grouped", "per-token"},
       "experts of a pass: each multiplies all its tokens at once, or one token after the other with its experts"},
      {"CROSSOVER_PIN", "choice", "huge", {"plain", "huge", "mlock"}, "memory of the weights: ordinary pages, huge pages, or huge pages locked in memory"},
      {"CROSSOVER_PIN_THREADS",
       "choice",
       "auto",
       {"auto", "on", "off"},
       "every worker stays on a cpu of its own: auto where exactly as many cpus are allowed as there are workers; on also where more are "
       "(the lowest ones); off nowhere. Never with more workers than cpus"},
      {"CROSSOVER_QUANT_CACHE",
       "choice",
       "off",
       {"off", "folder", "beside"},
       "keep what in-situ quantization makes as a GGUF file and load from it next time: in the cache folder, or beside the checkpoint"},
      {"CROSSOVER_QUANT_PLACE",
       "choice",
       "host",
       {"host", "device"},
       "where a load on a GPU quantizes: on the host, whose blocks are uploaded, or on the device, to which rows are uploaded as they are "
       "stored; types other than q6_k stay with the host"},
      {"CROSSOVER_QUANT_SCHEDULE",
       "choice",
       "pool",
       {"serial", "expert-spawn", "expert-per-thread", "chunk-queue", "pool"},
       "in-situ quantization: one thread of the process at a time; threads started for every expert; threads started for every tensor that "
       "take whole experts; the same taking chunks of rows; or the standing threads of every rank"},
      {"CROSSOVER_READ",
       "choice",
       "auto",
       {"auto", "mmap", "pread", "direct", "uring"},
       "how checkpoint files are read: mapped, through the page cache, past it (O_DIRECT), or past it by io_uring; auto maps what is in the "
       "page cache and reads past it what is not (a result says what was done as path.read)"},
      {"CROSSOVER_READ_AHEAD", "bool", "1", {}, "reader threads fetch what will be converted next; 0: every worker reads for itself"},
      {"CROSSOVER_READ_THREADS", "integer", "2", {"1", "64"}, "reader threads of a rank; requests in flight with uring are 8 for each"},
      {"CROSSOVER_REDUCE_TYPE",
       "choice",
       "f32",
       {"f32", "bf16"},
       "what NCCL sums: activations as they are, or rounded to bf16, half the bytes (the embedding stays f32)"},
      {"CROSSOVER_ROTATION_KERNEL",
       "choice",
       "fused",
       {"fused", "separate"},
       "where caches are rotated: inside the cache write and the attention, or by operations of their own (counted as launches.rotate)"},
      {"CROSSOVER_V_ROTATION",
       "choice",
       "none",
       {"none", "fwht", "signed"},
       "the same map of every value head before it is cached; the attention's result is mapped back before the output gate"},
      {"CROSSOVER_WEIGHT_LAYOUT",
       "choice",
       "auto",
       {"auto", "rows", "panels"},
       "how weights lie in memory: rows as in the file, or panels in the order in which the products of the cpu backend take them, packed "
       "while they are loaded; auto is panels where a vector instruction set multiplies them, for the types that have them (q6_k)"},
  };
  return kKnobs;
}

const KnobInfo* find_knob(std::string_view name) {
  for (const KnobInfo& knob : all_knobs())
    if (name == knob.name) return &knob;
  return nullptr;
}

std::string nearest(std::string_view word, const std::vector<std::string>& candidates) {
  std::string best;
  std::size_t best_distance = std::max<std::size_t>(2, word.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    std::vector<std::size_t> row(candidate.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 1; i <= word.size(); ++i) {
      std::size_t diagonal = row[0];
      row[0] = i;
      for (std::size_t j = 1; j <= candidate.size(); ++j) {
        const std::size_t substituted = diagonal + (word[i - 1] == candidate[j - 1] ? 0 : 1);
        diagonal = row[j];
        row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
      }
    }
    if (row.back() < best_distance) best_distance = row.back(), best = candidate;
  }
  return best;
}

namespace {

std::string join(const std::vector<std::string>& words, const char* separator) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : separator) + word;
  return text;
}

bool parse_long(std::string_view text, long& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

// What is wrong with the value; empty when it is allowed.
std::string objection(const KnobInfo& knob, std::string_view value) {
  const std::string_view type = knob.type;
  if (value.empty()) return "an empty value; unset the variable or give it a value";
  if (type == "bool" && value != "0" && value != "1") return "'" + std::string(value) + "'; use 0 or 1";
  if (type == "choice" && std::find(knob.values.begin(), knob.values.end(), value) == knob.values.end())
    return "'" + std::string(value) + "'; use one of " + join(knob.values, ", ");
  if (type == "integer") {
    long number = 0, low = 0, high = 0;
    parse_long(knob.values[0], low), parse_long(knob.values[1], high);
    if (!parse_long(value, number) || number < low || number > high)
      return "'" + std::string(value) + "'; use a whole number from " + knob.values[0] + " to " + knob.values[1];
  }
  if (type == "delay" && value != "none") {
    const auto colon = value.find(':');
    long milliseconds = 0;
    if (colon == 0 || colon == std::string_view::npos || !parse_long(value.substr(colon + 1), milliseconds) || milliseconds < 0 ||
        milliseconds > 600'000)
      return "'" + std::string(value) + "'; use none or PHASE:MILLISECONDS, like quantize:200";
  }
  return "";
}

// Name reference data for the project's own tests; the program never reads them.
bool is_for_tests(std::string_view name) { return name == "CROSSOVER_GOLDEN" || name == "CROSSOVER_REFERENCE_CHECKPOINTS"; }

}  // namespace

Knobs::Knobs() {
  for (const KnobInfo& knob : all_knobs()) values_[knob.name] = {knob.default_value, "default"};
}

void Knobs::set(std::string_view name, std::string_view value, std::string_view origin) {
  const KnobInfo* knob = find_knob(name);
  if (!knob) {
    std::vector<std::string> names;
    for (const KnobInfo& known : all_knobs()) names.emplace_back(known.name);
    const std::string guess = nearest(name, names);
    throw std::invalid_argument("unknown knob " + std::string(name) + " (from " + std::string(origin) + ")" +
                                (guess.empty() ? "; `crossover knobs` lists them" : "; did you mean " + guess + "?"));
  }
  if (const std::string wrong = objection(*knob, value); !wrong.empty())
    throw std::invalid_argument(std::string(name) + " (from " + std::string(origin) + ") has " + wrong);
  values_.find(name)->second = {std::string(value), std::string(origin)};
}

void Knobs::set_from_environment(char* const* environment) {
  for (; environment && *environment; ++environment) {
    const std::string_view entry = *environment;
    const std::size_t equals = entry.find('=');
    if (!entry.starts_with("CROSSOVER_") || equals == std::string_view::npos || is_for_tests(entry.substr(0, equals))) continue;
    set(entry.substr(0, equals), entry.substr(equals + 1), "env");
  }
}

const std::string& Knobs::get(std::string_view name) const {
  const auto it = values_.find(name);
  if (it == values_.end()) throw std::invalid_argument("knob " + std::string(name) + " is not registered in engine/knobs.cpp");
  return it->second.value;
}

long Knobs::integer(std::string_view name) const {
  long value = 0;
  parse_long(get(name), value);
  return value;
}

}  // namespace crossover
