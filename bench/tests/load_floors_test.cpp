#include "bench/load_floors.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace crossover {
namespace {

using nlohmann::json;

std::string workload(const json& model, const char* weights = "q6_k", int threads = 2) {
  return json{{"kind", "cold_load"}, {"model", model}, {"weights", weights}, {"threads", threads}}.dump();
}

Sample sample_of(double total_s, const char* page_cache) {
  Sample sample;
  sample.metrics = {{"load.total_s", total_s}, {"load.busy_share", 0.75}, {"memory.peak_bytes", 5e8}};
  sample.counters = {{"bytes.read", 4e9}, {"values.quantized", 2e9}, {"bytes.held", 4e8}};
  if (*page_cache) sample.page_cache = PageCacheState{page_cache, 0, 1};
  return sample;
}

std::vector<const Sample*> pointers(const std::vector<Sample>& samples) {
  std::vector<const Sample*> out;
  for (const Sample& sample : samples) out.push_back(&sample);
  return out;
}

constexpr LoadRates kRates{1e9, 8e9, 5e8, 2};
const json kSynth{{"synth", "qwen3.6-27b"}, {"layers", 4}, {"vocab", 8192}};

TEST(LoadFloors, AreAmountsOverRates) {
  const std::vector<Sample> samples{sample_of(6, "cold"), sample_of(5, "cold"), sample_of(30, "cold")};
  const LoadFloors floors = *load_floors(pointers(samples), workload(kSynth), kRates);
  EXPECT_EQ(floors.total_s, 6);  // the median
  EXPECT_DOUBLE_EQ(*floors.read_floor_s, 4);
  EXPECT_DOUBLE_EQ(*floors.quantize_floor_s, 2);  // two cores
  EXPECT_DOUBLE_EQ(*floors.floor_s(), 4);
  EXPECT_DOUBLE_EQ(*floors.ratio(), 1.5);
  EXPECT_DOUBLE_EQ(*floors.busy_share, 0.75);
  EXPECT_DOUBLE_EQ(*floors.peak_memory_bytes, 5e8);
  EXPECT_DOUBLE_EQ(*floors.held_bytes, 4e8);
}

TEST(LoadFloors, SetApartWhatNoFloorHolds) {
  std::vector<Sample> samples{sample_of(6, "cold"), sample_of(5, "cold"), sample_of(30, "cold")};
  EXPECT_FALSE(load_floors(pointers(samples), workload(kSynth), kRates)->rest_s) << "the samples do not know their first touch";
  const double touch_s[] = {1, 0.5, 26};
  for (std::size_t i = 0; i < samples.size(); ++i) samples[i].metrics["load.first_touch_s"] = touch_s[i];
  samples[0].metrics["load.pack_s"] = 1;  // the others pack nothing
  const LoadFloors floors = *load_floors(pointers(samples), workload(kSynth), kRates);
  EXPECT_DOUBLE_EQ(*floors.first_touch_s, 1);
  EXPECT_DOUBLE_EQ(*floors.pack_s, 1);
  EXPECT_DOUBLE_EQ(*floors.rest_s, 4);  // of 4, 4.5 and 4
  EXPECT_DOUBLE_EQ(*floors.rest_ratio(), 1);
  EXPECT_DOUBLE_EQ(floors_to_json(floors)["rest_over_floor"].get<double>(), 1);
}

TEST(LoadFloors, TakeTheRateOfThePageCacheFound) {
  const auto read_floor = [](std::vector<Sample> samples) { return load_floors(pointers(samples), workload(kSynth), kRates)->read_floor_s; };
  EXPECT_DOUBLE_EQ(*read_floor({sample_of(6, "warm")}), 0.5);
  EXPECT_FALSE(read_floor({sample_of(6, "partial")}));
  EXPECT_FALSE(read_floor({sample_of(6, "")}));
  EXPECT_FALSE(read_floor({sample_of(6, "warm"), sample_of(6, "cold")}));
}

TEST(LoadFloors, CountWhatTwoRanksBothReadOnceWhereItComesFromTheDisk) {
  std::vector<Sample> samples{sample_of(6, "cold")};
  samples[0].counters["bytes.read"] = 6e9, samples[0].counters["bytes.files"] = 4.5e9;
  EXPECT_DOUBLE_EQ(*load_floors(pointers(samples), workload(kSynth), kRates)->read_floor_s, 4.5);
  samples[0].page_cache->state = "warm";
  EXPECT_DOUBLE_EQ(*load_floors(pointers(samples), workload(kSynth), kRates)->read_floor_s, 0.75);
}

TEST(LoadFloors, CountOnlyThreadsThatHaveACore) {
  const std::vector<Sample> samples{sample_of(6, "warm")};
  const auto quantize_floor = [&](int threads) { return *load_floors(pointers(samples), workload(kSynth, "q6_k", threads), kRates)->quantize_floor_s; };
  EXPECT_DOUBLE_EQ(quantize_floor(1), 4);
  EXPECT_DOUBLE_EQ(quantize_floor(2), 2);
  EXPECT_DOUBLE_EQ(quantize_floor(47), 2);
}

TEST(LoadFloors, AreAbsentWhereSomethingIsNotKnown) {
  std::vector<Sample> samples{sample_of(6, "cold")};
  EXPECT_FALSE(load_floors({}, workload(kSynth), kRates));
  const LoadFloors no_rates = *load_floors(pointers(samples), workload(kSynth), {});
  EXPECT_FALSE(no_rates.read_floor_s || no_rates.quantize_floor_s || no_rates.floor_s() || no_rates.ratio());
  samples[0].counters = {{"values.quantized", 0.0}, {"bytes.read", 4e9}};  // a load that quantized nothing
  const LoadFloors floors = *load_floors(pointers(samples), workload(kSynth), kRates);
  EXPECT_FALSE(floors.quantize_floor_s);
  EXPECT_DOUBLE_EQ(*floors.floor_s(), 4);
  EXPECT_FALSE(floors_to_json(floors).contains("quantize_floor_s"));
  samples[0].metrics.clear();
  EXPECT_FALSE(load_floors(pointers(samples), workload(kSynth), kRates));
}

// The matrices by hand, from the sizes of the published config: hidden 5120, width 17408, 48 GDN and 16 attention layers.
constexpr double kMatrixValuesOf27B = 64.0 * 3 * 5120 * 17408 + 48.0 * 5120 * 128 * (16 + 16 + 48 + 48 + 48) + 16.0 * 5120 * 256 * (2 * 24 + 4 + 4 + 24) +
                                      2.0 * 248320 * 5120;

TEST(LoadFloors, DeriveTheWholeModelByItsSize) {
  const std::vector<Sample> samples{sample_of(6, "cold")};
  const LoadFloors floors = *load_floors(pointers(samples), workload(kSynth), kRates);
  ASSERT_TRUE(floors.whole);
  EXPECT_EQ(floors.whole->preset, "qwen3.6-27b");
  EXPECT_EQ(floors.whole->size.layers, 64);
  EXPECT_EQ(floors.whole->size.vocab, 248320);
  EXPECT_DOUBLE_EQ(floors.whole->size.quantized_values, kMatrixValuesOf27B);
  EXPECT_NEAR(floors.whole->size.stored_bytes, 2 * floors.whole->size.quantized_values, 0.01 * floors.whole->size.stored_bytes);
  const ModelSize made = *made_size(workload(kSynth));
  EXPECT_NEAR(*floors.whole->total_s, 6 * floors.whole->size.stored_bytes / made.stored_bytes, 1e-9);
  EXPECT_NEAR(*floors.whole->quantize_floor_s, 2 * floors.whole->size.quantized_values / made.quantized_values, 1e-9);
  const json out = floors_to_json(floors);
  EXPECT_EQ(out["derived"]["model"], "qwen3.6-27b");
  EXPECT_FALSE(load_floors(pointers(samples), workload({{"path", "model"}}), kRates)->whole);
}

TEST(LoadFloors, SizesFollowWhatIsCut) {
  const ModelSize few = *made_size(workload({{"synth", "qwen3.6-35b-a3b"}, {"layers", 4}, {"experts", 64}, {"vocab", 8192}}));
  const ModelSize many = *made_size(workload({{"synth", "qwen3.6-35b-a3b"}, {"layers", 4}, {"experts", 128}, {"vocab", 8192}}));
  EXPECT_DOUBLE_EQ(many.quantized_values - few.quantized_values, 4.0 * 64 * 3 * 2048 * 512);
  EXPECT_EQ(made_size(workload(kSynth, "bf16"))->quantized_values, 0);
  EXPECT_DOUBLE_EQ(made_size(workload({{"synth", "tiny-dense"}, {"dtype", "f32"}}))->stored_bytes, 2 * made_size(workload({{"synth", "tiny-dense"}}))->stored_bytes);
}

}  // namespace
}  // namespace crossover
