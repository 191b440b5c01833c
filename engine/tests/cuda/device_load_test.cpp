// What loads leave in a device's memory, whoever quantizes: the host, or the device itself.
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <map>

#include "engine/checkpoint/safetensors.h"
#include "engine/checkpoint/synth.h"
#include "engine/engine.h"
#include "engine/load/device_lanes.h"
#include "engine/load/load_knobs.h"
#include "engine/tests/checkpoint_files.h"
#include "kernels/cuda/runtime.h"

namespace crossover::test {
namespace {

namespace fs = std::filesystem;

using Settings = std::map<std::string, std::string>;

class DeviceLoad : public testing::Test {
 protected:
  void SetUp() override {
    std::string why;
    if (cuda::device_count(&why) == 0) GTEST_SKIP() << why;
  }
};

SynthOptions small(DType dtype = DType::kBF16) {
  SynthOptions options;
  options.preset = "tiny-moe";
  options.dtype = dtype;
  options.vocab = 96, options.experts = 4;
  options.heads = 2, options.kv_heads = 1;
  options.key_heads = options.value_heads = 2;
  return options;
}

const fs::path& checkpoint(DType dtype) {
  static const TempFolder folder;
  static std::map<DType, fs::path> made;
  const auto [it, fresh] = made.try_emplace(dtype, folder / name(dtype));
  if (fresh) write_synth(small(dtype), it->second);
  return it->second;
}

// The tensors that products take, and those that they do not.
std::vector<Tensor> tensors_of(const Weights& weights) {
  std::vector<Tensor> all{weights.embedding, weights.output_norm, weights.head};
  for (const LayerWeights& layer : weights.layers)
    for (const Tensor& tensor : {layer.input_norm, layer.post_norm, layer.gdn.qkv, layer.gdn.z, layer.gdn.a, layer.gdn.b, layer.gdn.conv, layer.gdn.ssm_a,
                                 layer.gdn.out, layer.attention.q, layer.attention.k, layer.attention.v, layer.attention.out, layer.moe.router, layer.moe.gate,
                                 layer.moe.up, layer.moe.down, layer.moe.shared.gate, layer.moe.shared.up, layer.moe.shared.down})
      all.push_back(tensor);
  return all;
}

struct Loaded {
  std::vector<std::vector<std::byte>> bytes;  // of tensors_of
  Counters counters;
  RankLoad load;
};

Loaded loaded(const fs::path& model, int ranks, int rank, int threads, const Settings& settings) {
  Knobs knobs;
  for (const auto& [name, value] : settings) knobs.set(name, value, "test");
  const Source source = open_checkpoint(model);
  const ShardPlan plan = make_shard_plan(source, DType::kQ6_K, ranks);
  const SourceFiles files(source, ReadMode::kRead);
  cuda::Device device(0);
  ThreadPool pool(threads);
  Workspace workspace(memory_of(cuda_ops()));
  Loaded result;
  std::vector<Trace> traces(static_cast<std::size_t>(threads));
  Context ctx{cuda_ops(), pool, workspace, result.counters, &traces[0], load_micro(knobs), &device};
  RankWeights weights(cuda_ops(), pin_of(knobs));
  LoadJob job{source, plan.ranks[static_cast<std::size_t>(rank)], schedule_of(knobs), {files, fetch_options(knobs, ReadMode::kRead), ctx.micro}};
  job.quantizes_on_device = quantizes_on_device(knobs, "cuda");
  result.load = load_rank(job, ctx, traces, weights);
  EXPECT_EQ(cuda::held_bytes(), weights.bytes()) << "what was only needed to bring them here went back";
  for (const Tensor& tensor : tensors_of(weights.weights)) {
    std::vector<std::byte>& bytes = result.bytes.emplace_back(static_cast<std::size_t>(tensor.data ? tensor.bytes() : 0));
    device.download(bytes.data(), tensor.data, bytes.size());
  }
  return result;
}

TEST_F(DeviceLoad, TheSameBytesWhoeverQuantizes) {
  for (const DType dtype : {DType::kBF16, DType::kF32}) {
    const int ranks = dtype == DType::kBF16 ? 2 : 1, rank = ranks - 1;  // the second rank gathers columns
    const Loaded host = loaded(checkpoint(dtype), ranks, rank, 2, {});
    EXPECT_TRUE(host.counters.paths.at("quantize").starts_with("pool")) << host.counters.paths.at("quantize");
    EXPECT_GT(host.load.quantized_values, 0);
    for (const auto& [threads, schedule] : {std::pair{3, "pool"}, {1, "expert-per-thread"}}) {
      const Loaded device = loaded(checkpoint(dtype), ranks, rank, threads, {{"CROSSOVER_QUANT_PLACE", "device"}, {"CROSSOVER_QUANT_SCHEDULE", schedule}});
      EXPECT_EQ(device.counters.paths.at("quantize"), "device");
      EXPECT_EQ(device.load.quantized_values, host.load.quantized_values);
      ASSERT_EQ(device.bytes.size(), host.bytes.size());
      for (std::size_t i = 0; i < host.bytes.size(); ++i) EXPECT_TRUE(device.bytes[i] == host.bytes[i]) << name(dtype) << " tensor " << i << " with " << threads;
    }
  }
}

// Every lane takes the largest piece that any of them may get.
TEST_F(DeviceLoad, StagingMemoryIsAccountedFor) {
  const Source source = open_checkpoint(checkpoint(DType::kBF16));
  const RankPlan plan = make_shard_plan(source, DType::kQ6_K, 1).ranks[0];
  for (const bool there : {false, true}) {
    ConvertPlan converted(source, Schedule::kPool, there);
    std::byte somewhere{};
    for (const TensorShard& shard : plan.tensors) converted.add(shard.tensor, shard.dtype, shard.rows, {}, &somewhere);
    const Loaded load = loaded(checkpoint(DType::kBF16), 1, 0, 3, {{"CROSSOVER_QUANT_PLACE", there ? "device" : "host"}});
    EXPECT_EQ(load.counters.counts.at("bytes.staging"), lanes_for(3) * converted.largest_delivery_bytes());
    EXPECT_EQ(load.counters.counts.at("bytes.staging.device"), there ? lanes_for(3) * (converted.largest_quantized_there_bytes() + 8) : 0);
    EXPECT_LE(converted.largest_delivery_bytes(), std::int64_t{4} << 20);
  }
  EXPECT_EQ(lanes_for(1), 2);
  EXPECT_EQ(lanes_for(64), 8);
}

EngineOptions options_of(const fs::path& model, const Settings& settings) {
  EngineOptions options;
  options.model = model;
  options.weights = DType::kQ6_K;
  options.backend = "cuda";
  options.rehearses = false;
  options.threads = 2;
  options.capacity_tokens = 8;
  for (const auto& [name, value] : settings) options.knobs.set(name, value, "test");
  return options;
}

std::string message_of_load(const EngineOptions& options) {
  try {
    Engine engine(options);
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "no error";
}

TEST_F(DeviceLoad, DamageIsNamedAsTheHostDoes) {
  const TempFolder folder;
  struct Damage {
    std::int64_t row, column;
    const char* value;  // bf16
    const char* words;
  };
  for (const Damage& damage : {Damage{0, 5, "\xc0\x7f", "nan at row 0, column 5"}, {70, 255, "\x80\xff", "-inf at row 70, column 255"}}) {
    const fs::path model = folder / std::to_string(damage.row);
    write_synth(small(), model);
    const fs::path file = model / "model.safetensors";
    for (const StoredTensor& tensor : read_safetensors_header(file)) {
      if (tensor.name != "model.language_model.layers.3.self_attn.k_proj.weight") continue;
      std::fstream stream(file, std::ios::binary | std::ios::in | std::ios::out);
      stream.seekp(static_cast<std::streamoff>(tensor.offset) + 2 * (damage.row * tensor.shape[1] + damage.column));
      stream.write(damage.value, 2);
    }
    const std::string found = message_of_load(options_of(model, {{"CROSSOVER_QUANT_PLACE", "device"}}));
    EXPECT_NE(found.find(damage.words), std::string::npos) << found;
    EXPECT_EQ(found, message_of_load(options_of(model, {})));
  }
}

// Whole loads of two ranks, which may share what they read.
TEST_F(DeviceLoad, RanksGiveTheSameLogitsWhoeverQuantizes) {
  std::vector<float> logits[2];
  for (const bool there : {false, true}) {
    EngineOptions options = options_of(checkpoint(DType::kBF16), {{"CROSSOVER_QUANT_PLACE", there ? "device" : "host"}});
    options.ranks = 2, options.threads = 4;
    Engine engine(options);
    const std::vector<std::int32_t> token{1};
    const std::span<const float> row = engine.feed(token);
    logits[there].assign(row.begin(), row.end());
    EXPECT_EQ(engine.counters().paths.at("quantize") == "device", there);
  }
  EXPECT_EQ(logits[0], logits[1]);
}

TEST_F(DeviceLoad, OtherBackendsHaveNoDevice) {
  EngineOptions options = options_of(checkpoint(DType::kBF16), {{"CROSSOVER_QUANT_PLACE", "device"}});
  options.backend = "cpu";
  try {
    Engine engine(options);
    FAIL() << "the CPU was taken for a device";
  } catch (const std::invalid_argument& error) {
    EXPECT_STREQ(error.what(), "CROSSOVER_QUANT_PLACE=device was asked of the cpu backend, but only the cuda backend has a device; use host");
  }
}

TEST_F(DeviceLoad, BlocksComeBackForTheCache) {
  std::string files[2];
  for (const bool there : {false, true}) {
    const TempFolder folder;
    EngineOptions options = options_of(checkpoint(DType::kBF16), {{"CROSSOVER_QUANT_CACHE", "folder"}, {"CROSSOVER_QUANT_PLACE", there ? "device" : "host"}});
    options.cache_folder = folder.path();
    Engine engine(options);
    const LoadReport& report = engine.load_report();
    ASSERT_EQ(report.cache.state, "built") << report.cache.sentence;
    files[there] = read_bytes(report.cache.file);
    std::map<std::string, double> busy_s;
    for (const PhaseShare& phase : report.ranks.at(0).phases) busy_s[phase.name] = phase.busy_s;
    EXPECT_EQ(busy_s.contains("copy_back"), there);
    EXPECT_EQ(busy_s.contains("upload_blocks"), !there);
    EXPECT_TRUE(busy_s.contains("upload"));
    EXPECT_GT(busy_s["quantize"], 0);
    EXPECT_GT(busy_s["cache_write"], 0);
  }
  EXPECT_TRUE(files[0] == files[1]);
}

}  // namespace
}  // namespace crossover::test
