// Caches of every kind under whole models: how far quantized and rotated ones move the logits from exact ones, and that a rotation is a
// property of the state that nothing can get wrong later.
#include <gtest/gtest.h>

#include <cstdio>

#include "engine/tests/reference_model.h"

namespace crossover::test {
namespace {

struct Cache {
  DType keys = DType::kF16, values = DType::kF16;
  const char *key_rotation = "none", *value_rotation = "none", *kernel = "fused";
};

EngineOptions with(const ReferenceModel& model, const Cache& cache) {
  EngineOptions options = options_for(model);
  options.keys = cache.keys, options.values = cache.values;
  options.knobs.set("CROSSOVER_K_ROTATION", cache.key_rotation, "test");
  options.knobs.set("CROSSOVER_V_ROTATION", cache.value_rotation, "test");
  options.knobs.set("CROSSOVER_ROTATION_KERNEL", cache.kernel, "test");
  options.knobs.set("CROSSOVER_GDN_PREFILL", "recurrent", "test");  // f32: what is left is the attention's error
  return options;
}

std::vector<std::int32_t> fed(const ReferenceModel& model) { return {model.greedy.begin(), model.greedy.end() - 1}; }

std::vector<float> logits_of(const ReferenceModel& model, const EngineOptions& options) {
  Engine engine(options);
  return run_logits(engine, model.prompt, fed(model));
}

struct Difference {
  double prompt_nmse, decode_nmse;   // median over rows
  std::int64_t first_divergence;     // greedy step, -1: none
};

Difference difference(const ReferenceModel& model, const EngineOptions& options) {
  const std::int64_t vocab = model.golden.at("logits").shape[1];
  const std::vector<float> found = logits_of(model, options);
  const float* decode = found.data() + static_cast<std::int64_t>(model.prompt.size()) * vocab;
  Difference d{median_row_nmse(found.data(), model.golden.at("logits").values, vocab),
               median_row_nmse(decode, model.golden.at("decode_logits").values, vocab), -1};
  for (std::size_t i = 0; i < model.greedy.size() && d.first_divergence < 0; ++i)
    if (argmax(decode - vocab + static_cast<std::int64_t>(i) * vocab, vocab) != model.greedy[i]) d.first_divergence = static_cast<std::int64_t>(i);
  return d;
}

struct Limit {
  Cache cache;
  double dense, moe;  // of the prompt's median row
};

class KvCaches : public testing::Test {};

// Random weights make flat attention: errors of a cache are averaged away more than in a trained model. The limits are a few times what
// is seen; the numbers are printed because they are a result.
TEST_F(KvCaches, MoveTheLogitsByNoMoreThanTheirTypeExplains) {
  const DType f32 = DType::kF32, f16 = DType::kF16, q8 = DType::kQ8_0, q4 = DType::kQ4_0;
  const Limit limits[] = {
      {{f32, f32, "fwht", "fwht"}, 1e-8, 1e-8},  {{f32, f32, "signed", "signed"}, 1e-8, 1e-8}, {{f16, f16}, 5e-4, 1e-3},
      {{DType::kBF16, DType::kBF16}, 5e-4, 1e-3}, {{f16, f16, "fwht", "fwht"}, 5e-4, 1e-3},     {{q8, q8}, 1e-3, 2e-3},
      {{q8, q8, "fwht", "none"}, 1e-3, 2e-3},     {{q8, q8, "fwht", "fwht"}, 1e-3, 2e-3},       {{q8, q8, "signed", "signed"}, 1e-3, 2e-3},
      {{q4, q4}, 3e-2, 6e-2},                     {{q4, q4, "fwht", "none"}, 3e-2, 6e-2},       {{q4, q4, "fwht", "fwht"}, 3e-2, 6e-2},
      {{q4, q4, "signed", "signed"}, 3e-2, 6e-2}};
  for (const ReferenceModel& model : reference_models())
    for (const Limit& limit : limits) {
      const Cache& c = limit.cache;
      const Difference d = difference(model, with(model, c));
      const bool moe = model.golden.contains("moe0.out");
      const std::string what = model.name + " " + name(c.keys) + "/" + name(c.values) + " " + c.key_rotation + "/" + c.value_rotation;
      EXPECT_LE(d.prompt_nmse, moe ? limit.moe : limit.dense) << what;
      EXPECT_LE(d.decode_nmse, moe ? limit.moe : limit.dense) << what << " decode";
      std::printf("%-44s median row nmse: prompt %.2e, decode %.2e, greedy %s\n", what.c_str(), d.prompt_nmse, d.decode_nmse,
                  d.first_divergence < 0 ? "equal" : ("differs at step " + std::to_string(d.first_divergence)).c_str());
      std::string key = what;
      for (char& letter : key) letter = std::isalnum(static_cast<unsigned char>(letter)) ? letter : '_';
      RecordProperty(key, std::to_string(d.prompt_nmse) + " first_divergence " + std::to_string(d.first_divergence));
    }
}

TEST_F(KvCaches, RotateByOperationsOfTheirOwnToTheSameResult) {
  const ReferenceModel& model = reference_models()[0];
  const std::int64_t vocab = model.golden.at("logits").shape[1];
  for (const char* rotation : {"fwht", "signed"})
    EXPECT_LE(median_row_nmse(logits_of(model, with(model, {DType::kF32, DType::kF32, rotation, rotation, "separate"})).data(),
                              model.golden.at("logits").values, vocab),
              1e-8);
}

// Two launches per attention layer and pass for the keys (k and q), two for the values (v and the result); none when fused.
TEST_F(KvCaches, CountsRotationLaunches) {
  const ReferenceModel& model = reference_models()[0];
  const auto launches = [&](const Cache& cache) {
    EngineOptions options = with(model, cache);
    options.chunk_tokens = 40;
    Engine engine(options);
    engine.feed(model.prompt);
    std::int64_t layers = 0;
    for (const bool attention : engine.config().full_attention) layers += attention;
    const std::int64_t passes = (static_cast<std::int64_t>(model.prompt.size()) + 39) / 40;
    const Counters counters = engine.counters();
    const auto rotations = counters.counts.find("launches.rotate");
    EXPECT_EQ(counters.paths.at("attention.k_rotation"), std::string(cache.key_rotation) + (cache.key_rotation == std::string("none") ? "" : std::string("-") + cache.kernel));
    return std::pair(rotations == counters.counts.end() ? 0 : rotations->second, layers * passes);
  };
  const auto count = [&](const char* keys, const char* values, const char* kernel) { return launches({DType::kF16, DType::kF16, keys, values, kernel}); };
  EXPECT_EQ(count("fwht", "fwht", "fused").first, 0);
  EXPECT_EQ(count("none", "none", "separate").first, 0);
  const auto keys = count("fwht", "none", "separate"), both = count("signed", "fwht", "separate");
  EXPECT_EQ(keys.first, 2 * keys.second);
  EXPECT_EQ(both.first, 4 * both.second);
}

TEST_F(KvCaches, SnapshotsKeepTheirRotation) {
  const ReferenceModel& model = reference_models()[0];
  Engine plain(with(model, {})), rotated(with(model, {DType::kF16, DType::kF16, "fwht", "fwht"}));
  Engine other_type(with(model, {DType::kBF16, DType::kF16}));  // as many bytes, another meaning
  plain.feed(model.prompt), rotated.feed(model.prompt);
  const auto plain_copy = plain.snapshot(), rotated_copy = rotated.snapshot();
  EXPECT_THROW(rotated.restore(plain_copy), std::invalid_argument);
  EXPECT_THROW(plain.restore(rotated_copy), std::invalid_argument);
  EXPECT_THROW(other_type.restore(plain_copy), std::invalid_argument);
  const auto follow = [&] {
    const std::span<const float> row = rotated.feed({model.greedy.data(), 2});
    return std::vector<float>(row.begin(), row.end());
  };
  const std::vector<float> first = follow();
  rotated.restore(rotated_copy);
  EXPECT_EQ(first, follow());
}

TEST_F(KvCaches, TakeEveryPairOfTypes) {
  const ReferenceModel& model = reference_models()[0];
  const DType types[] = {DType::kF32, DType::kF16, DType::kBF16, DType::kQ8_0, DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1};
  const std::int64_t vocab = model.golden.at("logits").shape[1];
  for (const DType keys : types)
    for (const DType values : types) {
      Engine engine(with(model, {keys, values}));
      const std::span<const float> row = engine.feed(model.prompt_short);
      EXPECT_LE(median_row_nmse(row.data(), model.golden.at("logits_short_last").values, vocab), 0.1) << name(keys) << " x " << name(values);
    }
}

}  // namespace
}  // namespace crossover::test
