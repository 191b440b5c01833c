#include "engine/checkpoint/names.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <stdexcept>

#include "engine/checkpoint/tensor_slots.h"
#include "engine/knobs.h"

namespace crossover {
namespace {

[[noreturn]] void fail(const StoredTensors& stored, const std::string& what) {
  throw std::runtime_error(fmt::format("{}: {}", stored.files.front().parent_path().string(), what));
}

std::vector<std::int64_t> without_leading_ones(std::vector<std::int64_t> shape) {
  while (shape.size() > 1 && shape.front() == 1) shape.erase(shape.begin());
  return shape;
}

// Looks tensors up, remembers which were used, and builds row and column recipes.
class Recipes {
 public:
  Recipes(const StoredTensors& stored, const ModelConfig& config) : stored_(stored), c_(config) {}

  bool has(const std::string& name) const { return stored_.tensors.contains(name); }

  const StoredTensor& take(const std::string& name, const std::vector<std::int64_t>& shape) {
    const auto at = stored_.tensors.find(name);
    if (at == stored_.tensors.end()) fail(stored_, fmt::format("tensor {} {} is missing", name, shape_text(shape)));
    const StoredTensor& tensor = at->second;
    if (without_leading_ones(tensor.shape) != without_leading_ones(shape))
      throw std::runtime_error(fmt::format("{}: tensor {} is {}, the config asks for {}", file_of(tensor), name,
                                           describe(tensor), shape_text(shape)));
    if (!tensor.dtype)
      throw std::runtime_error(
          fmt::format("{}: tensor {} has type {}, which is not supported; supported are f32, f16, bf16 and in GGUF "
                      "files q8_0, q6_k, q4_0, q4_1, q5_0, q5_1",
                      file_of(tensor), name, tensor.dtype_name));
    used_.insert(name);
    return tensor;
  }

  // The tensor of `slot` from `from`, whose rows lie as `layout` says.
  void add(const TensorSlot& slot, const StoredTensor& from, SlotLayout layout, Transform transform) {
    SourceTensor tensor = start(slot, from, transform);
    const std::int64_t d = c_.gdn_head_dim, nk = c_.key_heads, nv = c_.value_heads, r = nv / nk;
    switch (layout) {
      case SlotLayout::kWhole:
        append(tensor, from, 0, slot.shape[0] * slot.shape[1]);
        break;
      case SlotLayout::kQkv:
        append(tensor, from, 0, 2 * c_.key_dim());
        for (std::int64_t h = 0; h < nv; ++h) append(tensor, from, 2 * c_.key_dim() + stored_value_head(c_, h) * d, d);
        break;
      case SlotLayout::kHeadRows:
        for (std::int64_t h = 0; h < nv; ++h) append(tensor, from, stored_value_head(c_, h) * d, d);
        break;
      case SlotLayout::kHeadRow:
        for (std::int64_t h = 0; h < nv; ++h) append(tensor, from, stored_value_head(c_, h), 1);
        break;
      case SlotLayout::kHeadValue:
        whole_rows_by_head(tensor, from, 1);
        break;
      case SlotLayout::kHeadColumns:
        whole_rows_by_head(tensor, from, d);
        break;
      case SlotLayout::kFusedQkv:
        for (std::int64_t part : {std::int64_t{0}, d}) by_key_head(tensor, from, (2 + 2 * r) * d, part, d);
        by_key_head(tensor, from, (2 + 2 * r) * d, 2 * d, r * d);
        break;
      case SlotLayout::kFusedZ:
        by_key_head(tensor, from, (2 + 2 * r) * d, (2 + r) * d, r * d);
        break;
      case SlotLayout::kFusedB:
        by_key_head(tensor, from, 2 * r, 0, r);
        break;
      case SlotLayout::kFusedA:
        by_key_head(tensor, from, 2 * r, r, r);
        break;
      case SlotLayout::kExpertGate:
        by_expert(tensor, from, 2 * c_.expert_width, 0, c_.expert_width);
        break;
      case SlotLayout::kExpertUp:
        by_expert(tensor, from, 2 * c_.expert_width, c_.expert_width, c_.expert_width);
        break;
      case SlotLayout::kExpertDown:
        by_expert(tensor, from, c_.hidden, 0, c_.hidden);
        break;
    }
    tensors_.push_back(std::move(tensor));
  }

  // One tensor an expert: "<hf>.{e}.<part>.weight".
  void add_experts(const TensorSlot& slot, const std::string& part) {
    const std::int64_t rows = slot.shape[1];
    const auto name_of = [&](const std::string& e) { return fmt::format("{}.{}.{}.weight", slot.hf, e, part); };
    SourceTensor tensor;
    for (std::int64_t e = 0; e < slot.shape[0]; ++e) {
      const StoredTensor& from = take(name_of(std::to_string(e)), {rows, slot.shape[2]});
      if (e == 0) tensor = start(slot, from, slot.transform);
      if (*from.dtype != tensor.dtype)
        fail(stored_, fmt::format("tensor {} is {}, those of other experts are {}", from.name, from.dtype_name,
                                  name(tensor.dtype)));
      append(tensor, from, 0, rows);
    }
    tensor.stored_as = name_of("*");
    tensors_.push_back(std::move(tensor));
  }

  // Every tensor of the file that was neither used nor is skipped by `skip` is an error.
  template <class Skip>
  std::vector<SourceTensor> finish(Skip&& skip) {
    for (const auto& [name, tensor] : stored_.tensors) {
      if (used_.contains(name) || skip(name)) continue;
      const std::vector<std::string> known(used_.begin(), used_.end());
      const std::string near = nearest(name, known.size() <= 4096 ? known : std::vector<std::string>{});
      throw std::runtime_error(fmt::format("{}: tensor {} {} is not part of a {} model with this config{}",
                                           file_of(tensor), name, describe(tensor), crossover::name(c_.arch),
                                           near.empty() ? "" : " (near: " + near + ")"));
    }
    return std::move(tensors_);
  }

 private:
  std::string file_of(const StoredTensor& tensor) const {
    return stored_.files[static_cast<std::size_t>(tensor.file)].string();
  }

  static SourceTensor start(const TensorSlot& slot, const StoredTensor& from, Transform transform) {
    SourceTensor tensor;
    tensor.name = slot.name;
    tensor.dtype = *from.dtype;
    tensor.shape = slot.shape;
    tensor.transform = transform;
    tensor.stored_as = from.name;
    return tensor;
  }

  // Appends stored rows [first, first + rows) as the next rows; runs that continue each other become one segment.
  static void append(SourceTensor& tensor, const StoredTensor& from, std::int64_t first, std::int64_t rows) {
    const std::int64_t stride = row_bytes(*from.dtype, from.shape.back());
    const std::uint64_t offset = from.offset + static_cast<std::uint64_t>(first * stride);
    std::int64_t next = 0;
    if (!tensor.segments.empty()) {
      RowSegment& last = tensor.segments.back();
      next = last.first_row + last.rows;
      if (last.file == from.file && last.stride_bytes == stride &&
          last.offset + static_cast<std::uint64_t>(last.rows * stride) == offset) {
        last.rows += rows;
        return;
      }
    }
    tensor.segments.push_back({from.file, offset, next, rows, stride});
  }

  // All rows, columns in groups of `width` a value head, put into the engine's head order.
  void whole_rows_by_head(SourceTensor& tensor, const StoredTensor& from, std::int64_t width) const {
    append(tensor, from, 0, tensor.shape[1]);
    if (c_.head_order() == HeadOrder::kGrouped || c_.value_heads == c_.key_heads) return;
    for (std::int64_t h = 0; h < c_.value_heads; ++h) {
      const std::int64_t at = stored_value_head(c_, h) * width;
      if (!tensor.columns.empty() && tensor.columns.back().from + tensor.columns.back().count == at)
        tensor.columns.back().count += width;
      else
        tensor.columns.push_back({h * width, at, width});
    }
  }

  // Of each key head's `period` rows the `rows` from `part` on.
  void by_key_head(SourceTensor& tensor, const StoredTensor& from, std::int64_t period, std::int64_t part,
                   std::int64_t rows) const {
    for (std::int64_t h = 0; h < c_.key_heads; ++h) append(tensor, from, h * period + part, rows);
  }
  void by_expert(SourceTensor& tensor, const StoredTensor& from, std::int64_t period, std::int64_t part,
                 std::int64_t rows) const {
    for (std::int64_t e = 0; e < c_.experts; ++e) append(tensor, from, e * period + part, rows);
  }

  const StoredTensors& stored_;
  const ModelConfig& c_;
  std::set<std::string, std::less<>> used_;
  std::vector<SourceTensor> tensors_;
};

bool is_expert(SlotLayout layout) {
  return layout == SlotLayout::kExpertGate || layout == SlotLayout::kExpertUp || layout == SlotLayout::kExpertDown;
}

void add_hf(Recipes& recipes, const TensorSlot& slot) {
  if (!is_expert(slot.layout))
    return recipes.add(slot, recipes.take(slot.hf, slot.hf_shape), slot.layout, slot.transform);
  const bool down = slot.layout == SlotLayout::kExpertDown;
  const std::string packed = slot.hf + (down ? ".down_proj" : ".gate_up_proj");
  const std::string part = down ? "down_proj" : slot.layout == SlotLayout::kExpertUp ? "up_proj" : "gate_proj";
  if (!recipes.has(packed) && recipes.has(fmt::format("{}.0.{}.weight", slot.hf, part)))
    return recipes.add_experts(slot, part);
  recipes.add(slot, recipes.take(packed, slot.hf_shape), slot.layout, slot.transform);
}

std::string with_suffix(const std::string& name, std::string_view suffix) {
  return name.substr(0, name.find('.', 4) + 1) + std::string(suffix);
}

void add_gguf(Recipes& recipes, const TensorSlot& slot) {
  const std::vector<std::int64_t> own(slot.shape.begin(), slot.shape.end());
  if (recipes.has(slot.name)) return recipes.add(slot, recipes.take(slot.name, own), SlotLayout::kWhole, Transform::kNone);
  if (slot.layout == SlotLayout::kFusedB || slot.layout == SlotLayout::kFusedA)
    return recipes.add(slot, recipes.take(with_suffix(slot.name, "ssm_ba.weight"), slot.hf_shape), slot.layout,
                       Transform::kNone);
  const std::string fused = with_suffix(slot.name, "ssm_in.weight");  // qwen3next files of older converters
  if ((slot.layout == SlotLayout::kFusedQkv || slot.layout == SlotLayout::kFusedZ) && recipes.has(fused))
    return recipes.add(slot, recipes.take(fused, slot.hf_shape), slot.layout, Transform::kNone);
  const std::string gate_up = with_suffix(slot.name, "ffn_gate_up_exps.weight");
  if ((slot.layout == SlotLayout::kExpertGate || slot.layout == SlotLayout::kExpertUp) && recipes.has(gate_up))
    return recipes.add(slot, recipes.take(gate_up, slot.hf_shape), slot.layout, Transform::kNone);
  recipes.take(slot.name, own);  // reports it as missing
}

// The prefix of the text model's names, found by its embedding.
std::string text_prefix(const StoredTensors& stored) {
  for (const char* prefix : {"model.language_model.", "model.", "language_model.model.", "language_model."})
    if (stored.tensors.contains(std::string(prefix) + "embed_tokens.weight")) return prefix;
  fail(stored, "tensor model.language_model.embed_tokens.weight (or model.embed_tokens.weight) is missing");
}

// The number of prediction layers is what the names say: a config may promise one that was not saved, or not mention
// it.
std::int64_t count_mtp_layers(const StoredTensors& stored) {
  const auto first = stored.tensors.lower_bound("mtp.");
  if (first == stored.tensors.end() || !first->first.starts_with("mtp.")) return 0;
  const auto second = stored.tensors.lower_bound("mtp.layers.1.");
  if (second != stored.tensors.end() && second->first.starts_with("mtp.layers.1."))
    fail(stored, "it has more than one prediction layer (mtp.layers.1); only one is supported");
  return 1;
}

}  // namespace

std::vector<SourceTensor> map_hf_tensors(const StoredTensors& stored, ModelConfig& config) {
  const std::string prefix = text_prefix(stored);
  config.mtp_layers = count_mtp_layers(stored);
  if (stored.tensors.contains("lm_head.weight")) config.tied_embeddings = false;
  Recipes recipes(stored, config);
  for (const TensorSlot& slot : tensor_slots(config, prefix)) add_hf(recipes, slot);
  return recipes.finish(
      [](std::string_view name) { return name.starts_with("model.visual.") || name.starts_with("visual."); });
}

std::vector<SourceTensor> map_gguf_tensors(const StoredTensors& stored, const ModelConfig& config) {
  Recipes recipes(stored, config);
  for (const TensorSlot& slot : tensor_slots(config, "")) add_gguf(recipes, slot);
  return recipes.finish([](std::string_view) { return false; });
}

}  // namespace crossover
