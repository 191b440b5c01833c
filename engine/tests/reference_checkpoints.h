// Synthetic checkpoints with expected tensors in engine/tests/data/reference/NAME, which
// tools/oracle/make_model_references.py computed from the same files. Between them: every model type, both spellings of
// the GDN projections and of the experts, tied and untied heads, one to three value heads per key head, one file and
// shards, f32 decay parameters, an MTP layer to leave out.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "engine/checkpoint/synth.h"

namespace crossover::test {

struct ReferenceCheckpoint {
  std::string name;
  SynthOptions options;
};

std::vector<ReferenceCheckpoint> reference_checkpoints();
std::filesystem::path reference_folder(const std::string& name);  // golden.safetensors, q6_k.safetensors, tokens.json

}  // namespace crossover::test
