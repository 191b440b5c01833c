// A checkpoint with expected tensors made by an independent implementation (tools/oracle), and ways to compare with them.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace crossover::test {

struct Expected {
  std::vector<std::int64_t> shape;
  std::vector<float> values;
};

struct ReferenceModel {
  std::string name;
  std::filesystem::path checkpoint;                     // Hugging Face directory
  std::map<std::string, Expected> golden, q6_k;         // q6_k may be empty
  std::vector<std::int32_t> prompt, prompt_short, prompt_long, greedy;
};

// Those of engine/tests/data/reference, whose checkpoints synth makes, and the models under $CROSSOVER_GOLDEN/models.
const std::vector<ReferenceModel>& reference_models();

EngineOptions options_for(const ReferenceModel& model);  // f32 weights, caches and products, one rank, one thread, room for every prompt

// Prompt rows, then one row per token of `follow` fed one at a time: [prompt + follow, V].
std::vector<float> run_logits(Engine& engine, const std::vector<std::int32_t>& prompt, const std::vector<std::int32_t>& follow);

// max |difference| / max |expected|
double max_error(const float* found, const std::vector<float>& expected);
// Per row: sum of squared differences / sum of squared expected; the median over rows of `dim`.
double median_row_nmse(const float* found, const std::vector<float>& expected, std::int64_t dim);
std::int32_t argmax(const float* row, std::int64_t dim);

}  // namespace crossover::test
