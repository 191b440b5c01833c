// The table of a model's tensors: GGUF name, Hugging Face name, shape and how the stored rows and columns become the
// engine's.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "engine/checkpoint/source.h"
#include "engine/model.h"

namespace crossover {

// Where a tensor's rows lie in its Hugging Face tensor. "Heads" are GDN value heads, put into the engine's head order.
enum class SlotLayout : std::uint8_t {
  kWhole,
  kQkv,          // key_heads*2 heads of q and k rows as they lie, then value-head rows (in_proj_qkv, conv1d)
  kHeadRows,     // gdn_head_dim rows a head (in_proj_z)
  kHeadRow,      // one row a head (in_proj_a, in_proj_b)
  kHeadValue,    // a vector with one value a head (A_log, dt_bias)
  kHeadColumns,  // gdn_head_dim columns a head (out_proj)
  kFusedQkv,
  kFusedZ,  // of in_proj_qkvz: for each key head D q, D k, r*D v, r*D z rows
  kFusedB,
  kFusedA,  // of in_proj_ba: for each key head r b rows, r a rows
  kExpertGate,
  kExpertUp,
  kExpertDown,  // of "<hf>.gate_up_proj" and "<hf>.down_proj", or "<hf>.{e}.gate_proj.weight" ...
};

struct TensorSlot {
  std::string name;                    // GGUF: "blk.0.attn_qkv.weight"
  std::string hf;                      // "model.language_model.layers.0.linear_attn.in_proj_qkv.weight"
  std::array<std::int64_t, 3> shape;   // experts, rows, cols
  std::vector<std::int64_t> hf_shape;  // of tensor `hf`
  SlotLayout layout = SlotLayout::kWhole;
  Transform transform = Transform::kNone;
};

// In GGUF order. `prefix` is that of the text model: "model.language_model." or "model.".
std::vector<TensorSlot> tensor_slots(const ModelConfig& config, const std::string& prefix);

// Which value head of the Hugging Face order (grouped by key head) stands at place `head` of the engine's order.
std::int64_t stored_value_head(const ModelConfig& config, std::int64_t head);

}  // namespace crossover
