#include "engine/tests/reference_model.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/checkpoint/safetensors.h"
#include "engine/tests/checkpoint_files.h"
#include "engine/tests/reference_checkpoints.h"

namespace crossover::test {
namespace {

std::map<std::string, Expected> read_expected(const fs::path& path) {
  std::map<std::string, Expected> all;
  if (!fs::exists(path)) return all;
  std::ifstream file(path, std::ios::binary);
  for (const StoredTensor& tensor : read_safetensors_header(path)) {
    Expected expected{tensor.shape, std::vector<float>(tensor.bytes / sizeof(float))};
    file.seekg(static_cast<std::streamoff>(tensor.offset));
    file.read(reinterpret_cast<char*>(expected.values.data()), static_cast<std::streamsize>(tensor.bytes));
    all.emplace(tensor.name, std::move(expected));
  }
  return all;
}

ReferenceModel read_model(const fs::path& checkpoint, const fs::path& golden) {
  ReferenceModel model{checkpoint.filename(), checkpoint, read_expected(golden / "golden.safetensors"), read_expected(golden / "q6_k.safetensors"), {}, {}, {}, {}};
  const auto tokens = nlohmann::json::parse(std::ifstream(golden / "tokens.json"));
  auto ids = [&](const char* key) { return tokens.value(key, std::vector<std::int32_t>{}); };
  model.prompt = ids("prompt"), model.prompt_short = ids("prompt_short"), model.prompt_long = ids("prompt_long"), model.greedy = ids("greedy");
  return model;
}

// Checkpoints of the references in the tree, written once in a process and removed at its end.
std::vector<ReferenceModel> kept_models() {
  static const TempFolder folder;
  std::vector<ReferenceModel> models;
  for (const ReferenceCheckpoint& kept : reference_checkpoints()) {
    const fs::path checkpoint = folder / ("synth-" + kept.name);
    write_synth(kept.options, checkpoint);
    models.push_back(read_model(checkpoint, reference_folder(kept.name)));
  }
  return models;
}

}  // namespace

const std::vector<ReferenceModel>& reference_models() {
  static const std::vector<ReferenceModel> models = [] {
    std::vector<ReferenceModel> found = kept_models();
    const char* root = std::getenv("CROSSOVER_GOLDEN");
    if (!root) return found;
    const auto first_golden = static_cast<std::ptrdiff_t>(found.size());
    for (const auto& entry : fs::directory_iterator(fs::path(root) / "models")) found.push_back(read_model(entry.path(), entry.path() / "golden"));
    std::sort(found.begin() + first_golden, found.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
    return found;
  }();
  return models;
}

EngineOptions options_for(const ReferenceModel& model) {
  EngineOptions options;
  options.model = model.checkpoint;
  options.weights = DType::kF32;
  options.keys = options.values = DType::kF32;
  options.knobs.set("CROSSOVER_GDN_PREFILL", "chunked-f32", "test");
  options.capacity_tokens = static_cast<std::int64_t>(std::max(model.prompt.size() + model.greedy.size(), model.prompt_long.size()));
  return options;
}

std::vector<float> run_logits(Engine& engine, const std::vector<std::int32_t>& prompt, const std::vector<std::int32_t>& follow) {
  std::vector<float> all;
  const RowSink keep = [&](std::int64_t, ConstRows rows) { all.insert(all.end(), rows.data, rows.data + rows.rows * rows.dim); };
  engine.reset();
  engine.feed(prompt, keep);
  for (std::int32_t id : follow) engine.feed({&id, 1}, keep);
  return all;
}

double max_error(const float* found, const std::vector<float>& expected) {
  double difference = 0, scale = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (!std::isfinite(found[i])) return INFINITY;
    difference = std::max(difference, std::abs(static_cast<double>(found[i]) - expected[i]));
    scale = std::max(scale, std::abs(static_cast<double>(expected[i])));
  }
  return difference / scale;
}

double median_row_nmse(const float* found, const std::vector<float>& expected, std::int64_t dim) {
  std::vector<double> rows;
  for (std::size_t first = 0; first < expected.size(); first += static_cast<std::size_t>(dim)) {
    double error = 0, power = 0;
    for (std::size_t i = first; i < first + static_cast<std::size_t>(dim); ++i) {
      error += std::pow(static_cast<double>(found[i]) - expected[i], 2);
      power += std::pow(static_cast<double>(expected[i]), 2);
    }
    rows.push_back(std::isfinite(error) ? error / power : INFINITY);
  }
  std::nth_element(rows.begin(), rows.begin() + static_cast<std::ptrdiff_t>(rows.size() / 2), rows.end());
  return rows[rows.size() / 2];
}

std::int32_t argmax(const float* row, std::int64_t dim) { return static_cast<std::int32_t>(std::max_element(row, row + dim) - row); }

}  // namespace crossover::test
