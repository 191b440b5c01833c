// Two small models on disk, loaded as the tests of loading do.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "engine/tests/checkpoint_files.h"

namespace crossover::test {

inline const std::vector<std::int32_t> kPrompt{3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9};

inline SynthOptions moe_options() {
  SynthOptions options;
  options.preset = "tiny-moe";
  options.experts = 26;
  options.vocab = 512;
  return options;
}

inline const std::filesystem::path& moe() {
  static const TempFolder folder;
  static const std::filesystem::path path = [] {
    write_synth(moe_options(), folder / "moe");
    return folder / "moe";
  }();
  return path;
}

inline const std::filesystem::path& dense(bool tied) {
  static const TempFolder folder;
  static std::map<bool, std::filesystem::path> made;
  auto [it, fresh] = made.try_emplace(tied, folder / (tied ? "tied" : "dense"));
  if (fresh) {
    SynthOptions options;
    options.preset = "tiny-dense";
    options.vocab = 1000;
    options.tied = tied;
    write_synth(options, it->second);
  }
  return it->second;
}

using Settings = std::map<std::string, std::string>;

inline Knobs knobs_of(const Settings& settings) {
  Knobs knobs;
  for (const auto& [name, value] : settings) knobs.set(name, value, "test");
  return knobs;
}

inline EngineOptions options_of(const std::filesystem::path& model, int ranks, int threads, const Settings& settings = {}) {
  EngineOptions options;
  options.model = model;
  options.weights = DType::kQ6_K;
  options.ranks = ranks;
  options.threads = threads;
  options.capacity_tokens = 32;
  options.knobs = knobs_of(settings);
  return options;
}

inline std::vector<float> logits_of(Engine& engine) {
  const std::span<const float> row = engine.feed(kPrompt);
  return {row.begin(), row.end()};
}

}  // namespace crossover::test
