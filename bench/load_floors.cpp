#include "bench/load_floors.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "engine/checkpoint/source.h"
#include "engine/checkpoint/synth.h"
#include "engine/checkpoint/tensor_slots.h"

namespace crossover {
namespace {

using nlohmann::json;

std::optional<double> median(std::vector<double> values) {
  if (values.empty()) return std::nullopt;
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

std::optional<double> median_of(const std::vector<const Sample*>& samples, std::map<std::string, double> Sample::*numbers, const char* name) {
  std::vector<double> values;
  for (const Sample* sample : samples)
    if (const auto found = (sample->*numbers).find(name); found != (sample->*numbers).end()) values.push_back(found->second);
  return median(values);
}

// Of samples that know both; rows that stay as they are stored are not packed.
std::optional<double> median_rest_s(const std::vector<const Sample*>& samples) {
  std::vector<double> rests_s;
  for (const Sample* sample : samples) {
    const auto total = sample->metrics.find("load.total_s"), touch = sample->metrics.find("load.first_touch_s"), pack = sample->metrics.find("load.pack_s");
    if (total != sample->metrics.end() && touch != sample->metrics.end())
      rests_s.push_back(total->second - touch->second - (pack == sample->metrics.end() ? 0 : pack->second));
  }
  return median(rests_s);
}

// "cold" or "warm" where every sample was that; empty otherwise.
std::string page_cache_of(const std::vector<const Sample*>& samples) {
  std::string state;
  for (const Sample* sample : samples) {
    if (!sample->page_cache || (!state.empty() && state != sample->page_cache->state)) return "";
    state = sample->page_cache->state;
  }
  return state == "cold" || state == "warm" ? state : "";
}

std::optional<double> over(const std::optional<double>& amount, const std::optional<double>& rate) {
  if (!amount || !rate || *amount <= 0 || *rate <= 0) return std::nullopt;
  return *amount / *rate;
}

std::optional<double> times(const std::optional<double>& value, double factor) {
  if (!value) return std::nullopt;
  return *value * factor;
}

ModelSize size_of(const ModelConfig& config, DType stored, std::optional<DType> weights) {
  ModelSize size{config.layers, config.vocab, 0, 0};
  for (const TensorSlot& slot : tensor_slots(config, "model.")) {
    const double values = static_cast<double>(slot.shape[0]) * static_cast<double>(slot.shape[1]) * static_cast<double>(slot.shape[2]);
    size.stored_bytes += values * static_cast<double>(info(stored).block_bytes);
    SourceTensor tensor;
    tensor.name = slot.name, tensor.dtype = stored, tensor.shape = slot.shape;
    if (weights && is_block_format(target_type(tensor, *weights))) size.quantized_values += values;
  }
  return size;
}

std::optional<ModelSize> size_of(const std::string& workload, bool cut) {
  const json parsed = json::parse(workload);
  const json& model = parsed.at("model");
  if (!model.contains("synth")) return std::nullopt;
  SynthOptions options;
  options.preset = model.at("synth").get<std::string>();
  if (cut && model.contains("layers")) options.layers = model.at("layers").get<std::int64_t>();
  if (cut && model.contains("vocab")) options.vocab = model.at("vocab").get<std::int64_t>();
  if (cut && model.contains("experts")) options.experts = model.at("experts").get<std::int64_t>();
  const DType stored = parse_dtype(model.value("dtype", "bf16")).value();
  return size_of(synth_config(options), stored, parse_dtype(parsed.at("weights").get<std::string>()));
}

void put(json& out, const char* name, const std::optional<double>& value) {
  if (value) out[name] = *value;
}

}  // namespace

std::optional<double> LoadFloors::floor_s() const {
  if (!read_floor_s || !quantize_floor_s) return read_floor_s ? read_floor_s : quantize_floor_s;
  return std::max(*read_floor_s, *quantize_floor_s);
}

std::optional<double> LoadFloors::ratio() const { return over(total_s, floor_s()); }
std::optional<double> LoadFloors::rest_ratio() const { return over(rest_s, floor_s()); }

std::optional<ModelSize> made_size(const std::string& workload) { return size_of(workload, true); }
std::optional<ModelSize> whole_size(const std::string& workload) { return size_of(workload, false); }

std::optional<LoadFloors> load_floors(const std::vector<const Sample*>& samples, const std::string& workload, const LoadRates& rates) {
  const std::optional<double> total_s = median_of(samples, &Sample::metrics, "load.total_s");
  if (!total_s) return std::nullopt;
  const json parsed = json::parse(workload);
  LoadFloors floors;
  floors.total_s = *total_s;
  floors.bytes_read = median_of(samples, &Sample::counters, "bytes.read");
  const std::string state = page_cache_of(samples);
  // Ranks that share rows of a file ask for them twice, but only the first time they come from the disk.
  const std::optional<double> file_bytes = median_of(samples, &Sample::counters, "bytes.files");
  if (state == "cold" && floors.bytes_read && file_bytes) floors.bytes_read = std::min(*floors.bytes_read, *file_bytes);
  if (!state.empty()) floors.read_bytes_per_s = state == "cold" ? rates.cold_read_bytes_per_s : rates.warm_read_bytes_per_s;
  floors.read_floor_s = over(floors.bytes_read, floors.read_bytes_per_s);
  floors.quantized_values = median_of(samples, &Sample::counters, "values.quantized");
  floors.quantize_values_per_s = times(rates.quantize_values_per_s, std::min(parsed.at("threads").get<int>(), rates.cores));
  floors.quantize_floor_s = over(floors.quantized_values, floors.quantize_values_per_s);
  floors.pack_s = median_of(samples, &Sample::metrics, "load.pack_s");
  floors.first_touch_s = median_of(samples, &Sample::metrics, "load.first_touch_s");
  floors.rest_s = median_rest_s(samples);
  floors.busy_share = median_of(samples, &Sample::metrics, "load.busy_share");
  floors.peak_memory_bytes = median_of(samples, &Sample::metrics, "memory.peak_bytes");
  floors.held_bytes = median_of(samples, &Sample::counters, "bytes.held");
  const std::optional<ModelSize> made = made_size(workload), whole = whole_size(workload);
  if (!made || !whole || made->stored_bytes <= 0) return floors;
  const double bytes_ratio = whole->stored_bytes / made->stored_bytes;
  const double values_ratio = made->quantized_values > 0 ? whole->quantized_values / made->quantized_values : bytes_ratio;
  floors.whole = WholeModel{parsed.at("model").at("synth").get<std::string>(), *whole, times(floors.total_s, bytes_ratio),
                            times(floors.read_floor_s, bytes_ratio), times(floors.quantize_floor_s, values_ratio)};
  return floors;
}

json floors_to_json(const LoadFloors& floors) {
  json out{{"total_s", floors.total_s}};
  put(out, "bytes_read", floors.bytes_read);
  put(out, "read_bytes_per_s", floors.read_bytes_per_s);
  put(out, "read_floor_s", floors.read_floor_s);
  put(out, "quantized_values", floors.quantized_values);
  put(out, "quantize_values_per_s", floors.quantize_values_per_s);
  put(out, "quantize_floor_s", floors.quantize_floor_s);
  put(out, "floor_s", floors.floor_s());
  put(out, "total_over_floor", floors.ratio());
  put(out, "pack_s", floors.pack_s);
  put(out, "first_touch_s", floors.first_touch_s);
  put(out, "rest_over_floor", floors.rest_ratio());
  put(out, "busy_share", floors.busy_share);
  put(out, "peak_memory_bytes", floors.peak_memory_bytes);
  put(out, "held_bytes", floors.held_bytes);
  if (!floors.whole) return out;
  const WholeModel& whole = *floors.whole;
  json derived{{"model", whole.preset}, {"layers", whole.size.layers}, {"vocab", whole.size.vocab}, {"stored_bytes", whole.size.stored_bytes}};
  if (whole.size.quantized_values > 0) derived["quantized_values"] = whole.size.quantized_values;
  put(derived, "total_s", whole.total_s);
  put(derived, "read_floor_s", whole.read_floor_s);
  put(derived, "quantize_floor_s", whole.quantize_floor_s);
  out["derived"] = derived;
  return out;
}

}  // namespace crossover
