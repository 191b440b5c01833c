#include "bench/targets/engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "bench/cache_folder.h"
#include "bench/machine/machine.h"
#include "bench/machine/usable_cores.h"
#include "bench/sha256.h"
#include "bench/targets/child.h"
#include "engine/checkpoint/source.h"
#include "engine/checkpoint/synth.h"
#include "engine/load/load_knobs.h"
#include "engine/load/quantize_file.h"
#include "kernels/cuda/runtime.h"

namespace crossover {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

// A load or a quantization is what these measure; the others start from a file that is ready.
bool reads_checkpoint(const json& workload) { return workload.at("kind") == "cold_load" || workload.at("kind") == "quantize"; }

SynthOptions synth_options(const json& model) {
  SynthOptions options;
  options.preset = model.at("synth").get<std::string>();
  if (model.contains("layers")) options.layers = model.at("layers").get<std::int64_t>();
  if (model.contains("vocab")) options.vocab = model.at("vocab").get<std::int64_t>();
  if (model.contains("experts")) options.experts = model.at("experts").get<std::int64_t>();
  options.seed = model.value("seed", std::uint64_t{1});
  if (model.contains("dtype")) {
    const std::optional<DType> dtype = parse_dtype(model.at("dtype").get<std::string>());
    if (!dtype) throw std::invalid_argument(fmt::format("/workload/model/dtype is '{}'; use bf16 or f32", model.at("dtype").get<std::string>()));
    options.dtype = *dtype;
  }
  return options;
}

// The name says what is inside; the hash covers every field, so an unlike model never shares a folder.
std::string synth_name(const json& model) {
  json key = model;
  key["generator"] = kSynthVersion;
  return fmt::format("{}-{}", model.at("synth").get<std::string>(), sha256_text(key.dump()).substr(0, 12));
}

fs::path checkpoint_path(const json& workload, const fs::path& cache) {
  const json& model = workload.at("model");
  return model.contains("path") ? fs::path(model.at("path").get<std::string>()) : cache / synth_name(model);
}

fs::path model_path(const json& workload, const fs::path& cache) {
  const fs::path checkpoint = checkpoint_path(workload, cache);
  if (workload.at("model").contains("path") || reads_checkpoint(workload)) return checkpoint;
  return fs::path(checkpoint.string() + "-" + workload.at("weights").get<std::string>() + ".gguf");
}

DType gguf_type(const json& workload) {
  const auto weights = workload.at("weights").get<std::string>();
  if (weights == "as-is") return synth_options(workload.at("model")).dtype;
  const std::optional<DType> type = parse_dtype(weights);
  if (!type) throw std::invalid_argument(fmt::format("/workload/weights is '{}'; use as-is, q6_k, q8_0, bf16 or f32", weights));
  return *type;
}

bool keeps_quantized(const SampleRequest& request, const json& workload) {
  const auto knob = request.knobs.find("CROSSOVER_QUANT_CACHE");
  return workload.at("kind") != "quantize" && knob != request.knobs.end() && knob->second != "off";
}

// Another program than this one may have been built with more.
void check_backend(const SampleRequest& request, const json& workload) {
  std::string why;
  if (workload.at("backend") == "cuda" && request.program.empty() && cuda::device_count(&why) == 0)
    throw std::runtime_error(fmt::format("arm {} asks for the backend cuda: {}", request.arm, why));
}

}  // namespace

void EngineTarget::prepare(const SampleRequest& request) {
  const json workload = json::parse(request.workload);
  check_backend(request, workload);  // before a checkpoint is made
  if (workload.at("model").contains("path")) {
    open_checkpoint(workload.at("model").at("path").get<std::string>());  // a wrong one is refused before the first sample
  } else {
    make_cache_folder(cache_);
    const fs::path checkpoint = checkpoint_path(workload, cache_);
    if (!fs::exists(checkpoint)) write_synth(synth_options(workload.at("model")), checkpoint);
    if (const fs::path model = model_path(workload, cache_); !fs::exists(model)) {
      QuantizeOptions options;
      options.type = gguf_type(workload);
      options.threads = usable_cores();
      quantize_checkpoint(checkpoint, model, options);
    }
  }
  if (keeps_quantized(request, workload)) fill_quantized_cache(request);
}

void EngineTarget::fill_quantized_cache(const SampleRequest& request) {
  const Sample first = take(request);
  if (!first.ok()) throw std::runtime_error(fmt::format("the load that fills the quantized cache failed: {} {}", first.failure, first.stderr_tail));
  if (first.quantized_file.empty()) {
    const auto why = std::find_if(first.flags.begin(), first.flags.end(), [](const std::string& flag) { return flag.starts_with("quantized cache: "); });
    throw std::runtime_error(fmt::format("arm {} is to load with CROSSOVER_QUANT_CACHE={}, but no file was kept{}", request.arm,
                                         request.knobs.at("CROSSOVER_QUANT_CACHE"), why == first.flags.end() ? "" : "; " + *why));
  }
  quantized_[{request.cell, request.arm}] = first.quantized_file;
}

std::optional<LoadRates> EngineTarget::rates(const SampleRequest& request) {
  const json workload = json::parse(request.workload);
  if (!reads_checkpoint(workload)) return std::nullopt;
  const Source source = open_checkpoint(model_path(workload, cache_));
  const int cores = request.cpus.empty() ? usable_cores() : static_cast<int>(request.cpus.size());
  if (!reads_) {
    const auto largest = std::max_element(source.file_bytes.begin(), source.file_bytes.end());
    reads_ = measure_reads(source.files.at(static_cast<std::size_t>(largest - source.file_bytes.begin())), cores);
  }
  LoadRates rates{reads_->cold_bytes_per_s, reads_->warm_bytes_per_s, std::nullopt, cores};
  const std::optional<DType> to = parse_dtype(workload.at("weights").get<std::string>());
  if (!to || !is_block_format(*to) || workload.at("backend") != "cpu") return rates;
  Knobs knobs;
  for (const auto& [name, value] : request.knobs) knobs.set(name, value, "scenario");
  const cpu::Micro& micro = *load_micro(knobs);
  const DType from = source.tensors.front().dtype;  // the token embedding, stored as the matrices are
  const auto [known, fresh] = conversions_per_s_.try_emplace(fmt::format("{} {} {}", cpu::name(micro.isa), name(from), name(*to)));
  if (fresh) known->second = measure_conversion(micro, from, *to);
  rates.quantize_values_per_s = known->second;
  return rates;
}

bool EngineTarget::can_trace(const SampleRequest& request) {
  const json workload = json::parse(request.workload);
  return workload.at("backend") == "cuda" && workload.at("kind") != "quantize" && request.program.empty();
}

std::vector<fs::path> EngineTarget::files(const SampleRequest& request) {
  std::vector<fs::path> files = open_checkpoint(model_path(json::parse(request.workload), cache_)).files;
  // A load from the kept file still reads the checkpoint's headers, to see that it is the same.
  if (const auto kept = quantized_.find({request.cell, request.arm}); kept != quantized_.end()) files.push_back(kept->second);
  return files;
}

Sample EngineTarget::take(const SampleRequest& request) {
  json job = json::parse(request.workload);
  const fs::path model = model_path(job, cache_);
  job["model"] = model.string();
  job["out"] = (cache_ / fmt::format("quantize-{}.gguf", request.nonce)).string();
  job["token_seed"] = request.prompt_seed;
  job["knobs"] = request.knobs;
  job["knobs"].emplace("CROSSOVER_CACHE_DIR", cache_.string());
  if (request.traced) job["trace"] = true, job["trace_counters"] = request.counters, job["knobs"].emplace("CROSSOVER_GPU_PHASES", "events");
  Sample sample = take_child_sample(request, job.dump());
  const std::size_t cores = request.cpus.empty() ? static_cast<std::size_t>(usable_cores()) : request.cpus.size();
  if (std::max(job["threads"].get<std::size_t>(), job["ranks"].get<std::size_t>()) > cores) sample.flags.push_back("oversubscribed");
  return sample;
}

}  // namespace crossover
