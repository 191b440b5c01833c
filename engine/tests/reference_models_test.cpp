// The engine against tensors that another implementation computed in float64 from the same checkpoints.
#include <gtest/gtest.h>

#include "engine/load/quantize_file.h"
#include "engine/tests/checkpoint_files.h"
#include "engine/tests/reference_model.h"
#include "kernels/cpu/isa.h"

namespace crossover::test {
namespace {

class ReferenceModels : public testing::Test {
 protected:
  static std::int64_t vocab(const ReferenceModel& model) { return model.golden.at("logits").shape[1]; }
  static std::vector<std::int32_t> fed(const ReferenceModel& model) { return {model.greedy.begin(), model.greedy.end() - 1}; }

  static std::vector<float> logits(const ReferenceModel& model, const EngineOptions& options) {
    Engine engine(options);
    return run_logits(engine, model.prompt, fed(model));
  }

  // Every prompt row and decode row, and the greedy token of each step.
  static void expect_logits(const ReferenceModel& model, const std::map<std::string, Expected>& expected, const std::vector<float>& found, double limit,
                            const std::string& what) {
    const std::int64_t v = vocab(model);
    const float* decode = found.data() + static_cast<std::int64_t>(model.prompt.size()) * v;
    EXPECT_LE(max_error(found.data(), expected.at("logits").values), limit) << model.name << ' ' << what;
    EXPECT_LE(max_error(decode, expected.at("decode_logits").values), limit) << model.name << ' ' << what << " decode";
  }

  static void expect_greedy(const ReferenceModel& model, const std::vector<float>& found, const std::string& what) {
    const std::int64_t v = vocab(model);
    const float* row = found.data() + (static_cast<std::int64_t>(model.prompt.size()) - 1) * v;
    for (std::size_t i = 0; i < model.greedy.size(); ++i) EXPECT_EQ(argmax(row + static_cast<std::int64_t>(i) * v, v), model.greedy[i]) << model.name << ' ' << what << " step " << i;
  }
};

TEST_F(ReferenceModels, F32WeightsOnBothBackends) {
  for (const ReferenceModel& model : reference_models()) {
    for (const char* backend : {"reference", "cpu"}) {
      EngineOptions options = options_for(model);
      options.backend = backend;
      const double limit = options.backend == "cpu" ? 2e-4 : 2e-5;
      Engine engine(options);
      const std::vector<float> found = run_logits(engine, model.prompt, fed(model));
      expect_logits(model, model.golden, found, limit, backend);
      expect_greedy(model, found, backend);
      for (const auto& [prompt, key] : {std::pair(&model.prompt_short, "logits_short_last"), std::pair(&model.prompt_long, "logits_long_last")}) {
        engine.reset();
        EXPECT_LE(max_error(engine.feed(*prompt).data(), model.golden.at(key).values), limit) << model.name << ' ' << backend << ' ' << key;
      }
    }
  }
}

TEST_F(ReferenceModels, EveryInstructionSet) {
  for (const ReferenceModel& model : reference_models()) {
    for (cpu::Isa isa : cpu::usable_isas()) {
      EngineOptions options = options_for(model);
      options.knobs.set("CROSSOVER_ISA", cpu::name(isa), "test");
      expect_logits(model, model.golden, logits(model, options), 2e-4, cpu::name(isa));
    }
  }
}

TEST_F(ReferenceModels, ChunksRanksAndThreadsChangeNothing) {
  for (const ReferenceModel& model : reference_models()) {
    for (std::int64_t chunk : {1, 3, 64, 65}) {
      EngineOptions options = options_for(model);
      options.chunk_tokens = chunk;
      expect_logits(model, model.golden, logits(model, options), 2e-4, "chunk " + std::to_string(chunk));
    }
    for (int ranks : {1, 2}) {
      for (int threads : {1, 2, 4}) {
        EngineOptions options = options_for(model);
        options.ranks = ranks;
        options.threads = threads;
        const std::vector<float> found = logits(model, options);
        expect_logits(model, model.golden, found, 2e-4, std::to_string(ranks) + " ranks, " + std::to_string(threads) + " threads");
        expect_greedy(model, found, "ranks");
      }
    }
  }
}

TEST_F(ReferenceModels, RecurrentAndChunkedScanAgree) {
  for (const ReferenceModel& model : reference_models()) {
    for (const char* kernel : {"recurrent", "chunked-f32"}) {
      for (const char* backend : {"reference", "cpu"}) {
        EngineOptions options = options_for(model);
        options.backend = backend;
        options.knobs.set("CROSSOVER_GDN_PREFILL", kernel, "test");
        options.knobs.set("CROSSOVER_GDN_DECODE", kernel, "test");
        expect_logits(model, model.golden, logits(model, options), options.backend == "cpu" ? 2e-4 : 2e-5, kernel);
      }
    }
  }
}

// Products of the scan in bf16, where the CPU has them; everything else in f32.
TEST_F(ReferenceModels, FastestScanStaysClose) {
  for (const ReferenceModel& model : reference_models()) {
    EngineOptions options = options_for(model);
    options.knobs.set("CROSSOVER_GDN_PREFILL", "chunked", "test");
    const double limit = model.golden.contains("moe0.out") ? 1e-4 : 5e-5;
    for (std::int64_t chunk : {7, 64, 2048}) {
      options.chunk_tokens = chunk;
      const std::vector<float> found = logits(model, options);
      const double nmse = median_row_nmse(found.data(), model.golden.at("logits").values, vocab(model));
      EXPECT_LE(nmse, limit) << model.name << " chunk " << chunk;
      const float* decode = found.data() + static_cast<std::int64_t>(model.prompt.size()) * vocab(model);
      EXPECT_LE(median_row_nmse(decode, model.golden.at("decode_logits").values, vocab(model)), limit) << model.name << " chunk " << chunk;
      RecordProperty(model.name + "_chunk" + std::to_string(chunk) + "_nmse", std::to_string(nmse * 1e6) + "e-6");
    }
  }
}

TEST_F(ReferenceModels, WeightsAsStored) {
  for (const ReferenceModel& model : reference_models()) {
    for (int ranks : {1, 2}) {
      EngineOptions options = options_for(model);
      options.weights.reset();
      options.ranks = ranks;
      const double limit = model.golden.contains("moe0.out") ? 1e-3 : 5e-4;
      EXPECT_LE(median_row_nmse(logits(model, options).data(), model.golden.at("logits").values, vocab(model)), limit) << model.name;
    }
  }
}

TEST_F(ReferenceModels, Q6KWeights) {
  for (const ReferenceModel& model : reference_models()) {
    EngineOptions options = options_for(model);
    options.weights = DType::kQ6_K;
    options.backend = "reference";
    for (int ranks : {1, 2}) {
      options.ranks = ranks;
      expect_logits(model, model.q6_k, logits(model, options), 2e-5, "reference q6_k");
    }
    options.backend = "cpu";
    const double limit = model.golden.contains("moe0.out") ? 8e-3 : 2.5e-3;  // the error of ik_llama.cpp's int8 activations
    for (cpu::Isa isa : cpu::usable_isas()) {
      for (std::int64_t chunk : {1, 3, 64, 2048}) {
        options.knobs.set("CROSSOVER_ISA", cpu::name(isa), "test");
        options.chunk_tokens = chunk;
        const std::vector<float> found = logits(model, options);
        const double nmse = median_row_nmse(found.data(), model.q6_k.at("logits").values, vocab(model));
        EXPECT_LE(nmse, limit) << model.name << ' ' << cpu::name(isa) << " chunk " << chunk;
        const float* decode = found.data() + static_cast<std::int64_t>(model.prompt.size()) * vocab(model);
        EXPECT_LE(median_row_nmse(decode, model.q6_k.at("decode_logits").values, vocab(model)), limit) << model.name;
        RecordProperty(model.name + "_" + cpu::name(isa) + "_chunk" + std::to_string(chunk) + "_nmse", std::to_string(nmse));
      }
    }
  }
}

TEST_F(ReferenceModels, GgufRouteGivesTheSameBits) {
  const TempFolder dir;
  for (const ReferenceModel& model : reference_models()) {
    for (DType type : {DType::kF32, DType::kBF16, DType::kQ6_K}) {
      const std::filesystem::path file = dir / (model.name + "-" + name(type) + ".gguf");
      QuantizeOptions quantize;
      quantize.type = type;
      quantize.threads = 2;
      quantize_checkpoint(model.checkpoint, file, quantize);
      EngineOptions in_situ = options_for(model), from_file = options_for(model);
      in_situ.weights = type;
      from_file.weights.reset();
      from_file.model = file;
      for (int ranks : {1, 2}) {
        in_situ.ranks = from_file.ranks = ranks;
        EXPECT_EQ(logits(model, in_situ), logits(model, from_file)) << model.name << ' ' << name(type) << ' ' << ranks << " ranks";
      }
    }
  }
}

TEST_F(ReferenceModels, Intermediates) {
  for (const ReferenceModel& model : reference_models()) {
    for (const char* backend : {"reference", "cpu"}) {
      EngineOptions options = options_for(model);
      options.backend = backend;
      Engine engine(options);
      const ModelConfig& config = engine.config();
      const std::int64_t nk = config.key_heads, groups = config.value_heads / nk, d = config.gdn_head_dim;
      const bool tiled = config.head_order() == HeadOrder::kTiled;
      // Columns of `unit` per value head, from the engine's order to the checkpoint's grouped one, after `fixed` leading columns.
      auto grouped = [&](ConstRows rows, std::int64_t fixed, std::int64_t unit) {
        std::vector<float> out;
        for (std::int64_t t = 0; t < rows.rows; ++t) {
          const float* row = rows.row(t);
          out.insert(out.end(), row, row + fixed);
          for (std::int64_t h = 0; h < config.value_heads; ++h) {
            const std::int64_t p = tiled ? (h % groups) * nk + h / groups : h;
            out.insert(out.end(), row + fixed + p * unit, row + fixed + (p + 1) * unit);
          }
        }
        return out;
      };
      std::map<std::string, std::vector<float>> seen;
      engine.set_probe(0, [&](std::string_view what, std::int64_t layer, ConstRows rows) {
        std::vector<float> flat;
        for (std::int64_t t = 0; t < rows.rows; ++t) flat.insert(flat.end(), rows.row(t), rows.row(t) + rows.dim);
        const std::string at = std::to_string(layer);
        if (what == "embed" || what == "final") seen["hidden." + std::string(what)] = flat;
        else if (what == "hidden") seen["hidden." + at] = flat;
        else if (what == "gdn.conv_out") seen["gdn" + at + ".conv_out"] = grouped(rows, 2 * config.key_dim(), d);
        else if (what == "gdn.out") seen["gdn" + at + ".out"] = grouped(rows, 0, d);
        else if (what == "gdn.beta" || what == "gdn.g") seen["gdn" + at + std::string(what.substr(3))] = grouped(rows, 0, 1);
        else seen[std::string(what.substr(0, what.find('.'))) + at + std::string(what.substr(what.find('.')))] = flat;
      });
      engine.feed(model.prompt);
      const double limit = options.backend == "cpu" ? 2e-4 : 2e-5;
      int compared = 0;
      for (const auto& [key, expected] : model.golden) {
        const auto it = seen.find(key);
        if (it == seen.end()) continue;
        ASSERT_GE(it->second.size(), expected.values.size()) << key;
        const float* last_rows = it->second.data() + it->second.size() - expected.values.size();  // some references keep no more
        EXPECT_LE(max_error(last_rows, expected.values), limit) << model.name << ' ' << backend << ' ' << key;
        ++compared;
      }
      EXPECT_GE(compared, 14) << "intermediates of " << model.name;
    }
  }
}

TEST_F(ReferenceModels, FinalStates) {
  if (!std::getenv("CROSSOVER_GOLDEN")) GTEST_SKIP() << "CROSSOVER_GOLDEN names no folder of golden data; the references in the tree hold no states";
  for (const ReferenceModel& model : reference_models()) {
    if (!model.golden.contains("gdn0.state_final")) continue;
    Engine engine(options_for(model));
    engine.feed(model.prompt);
    const ModelConfig& config = engine.config();
    const std::int64_t channels = config.conv_channels(), nk = config.key_heads, groups = config.value_heads / nk, d = config.gdn_head_dim;
    const std::vector<State::Snapshot> snapshot = engine.snapshot();
    const auto* conv = reinterpret_cast<const float*>(snapshot[0].bytes.data());  // layer 0 is GDN: [3, C], then [nv, D, D]
    const float* delta = conv + 3 * channels;
    auto tiled = [&](std::int64_t h) { return config.head_order() == HeadOrder::kTiled ? (h % groups) * nk + h / groups : h; };
    std::vector<float> state, taps;
    for (std::int64_t h = 0; h < config.value_heads; ++h) state.insert(state.end(), delta + tiled(h) * d * d, delta + (tiled(h) + 1) * d * d);
    for (std::int64_t c = 0; c < channels; ++c) {
      const std::int64_t v = c - 2 * config.key_dim(), from = v < 0 ? c : 2 * config.key_dim() + tiled(v / d) * d + v % d;
      for (int t = 0; t < 3; ++t) taps.push_back(conv[t * channels + from]);
    }
    EXPECT_LE(max_error(state.data(), model.golden.at("gdn0.state_final").values), 2e-4) << model.name;
    EXPECT_LE(max_error(taps.data(), model.golden.at("gdn0.conv_state").values), 2e-4) << model.name;
  }
}

TEST_F(ReferenceModels, RestoredSnapshotContinuesTheSame) {
  for (const ReferenceModel& model : reference_models()) {
    EngineOptions options = options_for(model);
    options.ranks = 2;
    Engine engine(options);
    engine.feed(model.prompt);
    const auto snapshot = engine.snapshot();
    auto follow = [&] {
      std::vector<float> all;
      for (std::int32_t id : fed(model)) {
        const std::span<const float> row = engine.feed({&id, 1});
        all.insert(all.end(), row.begin(), row.end());
      }
      return all;
    };
    const std::vector<float> first = follow();  // runs the model between snapshot and restore: an aliased state would move
    engine.restore(snapshot);
    EXPECT_EQ(first, follow()) << model.name;
  }
}

}  // namespace
}  // namespace crossover::test
