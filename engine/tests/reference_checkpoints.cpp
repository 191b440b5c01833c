#include "engine/tests/reference_checkpoints.h"

#include "kernels/tests/tree_data.h"

namespace crossover::test {

namespace {

SynthOptions base(const char* preset, std::uint64_t seed) {
  SynthOptions options;
  options.preset = preset;
  options.vocab = 96;
  options.seed = seed;
  return options;
}

}  // namespace

std::vector<ReferenceCheckpoint> reference_checkpoints() {
  SynthOptions r1 = base("tiny-dense", 101);
  r1.key_heads = r1.value_heads = 2;
  r1.heads = 2;
  r1.kv_heads = 1;
  r1.tied = r1.f32_decay = true;

  SynthOptions r3 = base("tiny-dense", 102);
  r3.mtp = true;

  SynthOptions packed = base("tiny-moe", 103);
  packed.mtp = true;
  packed.max_shard_bytes = 16'000'000;

  SynthOptions fused = base("tiny-moe", 104);
  fused.experts = 12;
  fused.heads = 2;
  fused.qwen3_next = fused.per_expert_names = true;
  return {{"dense-r1-tied", r1}, {"dense-r3", r3}, {"moe-r2-packed", packed}, {"next-r2-fused", fused}};
}

std::filesystem::path reference_folder(const std::string& name) {
  return tree_data("engine/tests/data/reference") / name;
}

}  // namespace crossover::test
