#include "engine/state.h"

#include <fmt/format.h>

#include <stdexcept>
#include <utility>

namespace crossover {
namespace {

std::size_t aligned(std::size_t bytes) { return (bytes + HostBuffer::kAlignment - 1) / HostBuffer::kAlignment * HostBuffer::kAlignment; }

void check_cache_type(DType dtype, std::int64_t row) {
  if (dtype == DType::kQ6_K) throw std::invalid_argument("KV cache type q6_k is not supported; use f32, f16, bf16, q8_0, q4_0, q4_1, q5_0 or q5_1");
  row_bytes(dtype, row);
}

// As op::kv_write and op::attention will, but before any memory is asked for.
void check_rotation(const char* what, Rotation rotation, std::int64_t head_dim) {
  const bool fits = rotation == Rotation::kNone || (rotation == Rotation::kSigned ? head_dim % 128 == 0 : head_dim >= 16 && head_dim <= 256 && (head_dim & (head_dim - 1)) == 0);
  if (!fits)
    throw std::invalid_argument(fmt::format("{} rotation {} does not fit heads of {}; fwht takes a power of two up to 256, signed a multiple of 128",
                                            what, name(rotation), head_dim));
}

}  // namespace

State::State(Context& ctx, const ModelConfig& config, const RankShape& shape, const StateOptions& options) : ctx_(ctx), options_(options) {
  if (options.capacity_tokens < 1) throw std::invalid_argument(fmt::format("KV capacity must be at least 1 token, asked for {}", options.capacity_tokens));
  const std::int64_t row = shape.kv_heads * config.head_dim;
  check_cache_type(options.keys, row), check_cache_type(options.values, row);
  check_rotation("key", options.key_rotation, config.head_dim), check_rotation("value", options.value_rotation, config.head_dim);
  const std::int64_t channels = 2 * shape.key_heads * config.gdn_head_dim + shape.value_heads * config.gdn_head_dim;
  conv_values_ = (config.conv_width - 1) * channels;
  delta_values_ = shape.value_heads * config.gdn_head_dim * config.gdn_head_dim;
  const std::size_t key_bytes = aligned(static_cast<std::size_t>(options.capacity_tokens * row_bytes(options.keys, row)));
  const std::size_t value_bytes = aligned(static_cast<std::size_t>(options.capacity_tokens * row_bytes(options.values, row)));
  const std::size_t conv_bytes = aligned(static_cast<std::size_t>(conv_values_) * sizeof(float));
  const std::size_t delta_bytes = aligned(static_cast<std::size_t>(delta_values_) * sizeof(float));
  std::size_t total = 0;
  for (bool attention : config.full_attention) total += attention ? key_bytes + value_bytes : conv_bytes + delta_bytes;
  memory_ = Buffer(total, memory_of(ctx.ops));
  std::byte* next = memory_.data();
  auto take = [&](std::size_t bytes) { return std::exchange(next, next + bytes); };
  for (bool attention : config.full_attention) {
    LayerState layer;
    if (attention) {
      layer.keys = {{take(key_bytes), options.keys, {1, options.capacity_tokens, row}}, options.key_rotation, config.head_dim};
      layer.values = {{take(value_bytes), options.values, {1, options.capacity_tokens, row}}, options.value_rotation, config.head_dim};
    } else {
      layer.conv = reinterpret_cast<float*>(take(conv_bytes));
      layer.delta = reinterpret_cast<float*>(take(delta_bytes));
    }
    layers_.push_back(layer);
  }
  reset();
}

void State::reset() {
  ctx_.ops.clear(ctx_, memory_.data(), memory_.size());
  tokens_ = 0;
}

template <class Visit>
void State::visit(std::int64_t tokens, Visit&& visit) const {
  for (const LayerState& layer : layers_) {
    if (layer.delta || layer.conv) {
      visit(reinterpret_cast<std::byte*>(layer.conv), static_cast<std::size_t>(conv_values_) * sizeof(float));
      visit(reinterpret_cast<std::byte*>(layer.delta), static_cast<std::size_t>(delta_values_) * sizeof(float));
    } else {
      for (const Tensor* rows : {&layer.keys.rows, &layer.values.rows}) visit(rows->data, static_cast<std::size_t>(tokens * rows->row_stride()));
    }
  }
}

State::Snapshot State::snapshot() const {
  Snapshot copy{tokens_, {}, options_};
  std::size_t total = 0;
  visit(tokens_, [&](std::byte*, std::size_t bytes) { total += bytes; });
  copy.bytes.resize(total);
  std::size_t at = 0;
  visit(tokens_, [&](std::byte* data, std::size_t bytes) {
    ctx_.ops.download(ctx_, copy.bytes.data() + at, data, bytes);
    at += bytes;
  });
  return copy;
}

void State::restore(const Snapshot& snapshot) {
  const auto meaning = [](const StateOptions& o) {
    return fmt::format("{} keys rotated {}, {} values rotated {}", name(o.keys), name(o.key_rotation), name(o.values), name(o.value_rotation));
  };
  if (meaning(snapshot.options) != meaning(options_))
    throw std::invalid_argument(fmt::format("a snapshot of {} does not fit a state of {}; restore into a state of the same cache types and rotations",
                                            meaning(snapshot.options), meaning(options_)));
  std::size_t needed = 0;
  visit(snapshot.tokens, [&](std::byte*, std::size_t bytes) { needed += bytes; });
  if (snapshot.tokens > options_.capacity_tokens || needed != snapshot.bytes.size())
    throw std::invalid_argument(fmt::format("a snapshot of {} tokens and {} bytes does not fit this state (capacity {} tokens, {} bytes for that many); "
                                            "restore into a state of the same model, ranks and cache types",
                                            snapshot.tokens, snapshot.bytes.size(), options_.capacity_tokens, needed));
  std::size_t at = 0;
  visit(snapshot.tokens, [&](std::byte* data, std::size_t bytes) {
    ctx_.ops.upload(ctx_, data, snapshot.bytes.data() + at, bytes);
    at += bytes;
  });
  tokens_ = snapshot.tokens;
}

}  // namespace crossover
