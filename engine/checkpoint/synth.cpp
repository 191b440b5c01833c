#include "engine/checkpoint/synth.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "engine/checkpoint/output_file.h"
#include "engine/checkpoint/synth_presets.h"
#include "engine/checkpoint/synth_values.h"
#include "engine/checkpoint/tensor_slots.h"
#include "kernels/thread_pool.h"

namespace crossover {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kPieceValues = 1 << 18;  // of one task: 512 KiB of bf16 stay in the second-level cache

struct SynthTensor {
  std::string name;
  std::vector<std::int64_t> shape;
  DType dtype;
  SynthValues values;
  std::size_t shard = 0;
  std::uint64_t offset = 0;  // in the data of its shard

  std::int64_t count() const {
    std::int64_t values_of_shape = 1;
    for (std::int64_t dim : shape) values_of_shape *= dim;
    return values_of_shape;
  }
  std::uint64_t bytes() const { return static_cast<std::uint64_t>(row_bytes(dtype, count())); }
};

// Random weights whose activations keep the size trained ones have: rows of unit length for matrices, logits of a few
// units, norms near one, decays spread over heads as the models are initialised.
SynthValues distribution(const ModelConfig& c, const TensorSlot& slot, std::uint64_t key) {
  const auto is = [&](std::string_view suffix) { return slot.name.ends_with(suffix); };
  const double fan_in = static_cast<double>(slot.shape[2]);
  if (slot.transform == Transform::kAddOne) return synth_normal(key, 0.0, 0.125);
  if (is("ssm_a")) return synth_uniform(key, 0.0, 2.75);
  if (is("ssm_dt.bias")) return synth_uniform(key, -6.0, -2.0);
  if (is("ssm_norm.weight")) return synth_normal(key, 1.0, 0.125);
  if (is("ssm_conv1d.weight")) return synth_normal(key, 0.0, 0.5);
  if (is("token_embd.weight")) return synth_normal(key, 0.0, (c.tied_embeddings ? 4.0 : 16.0) / std::sqrt(fan_in));
  if (is("output.weight")) return synth_normal(key, 0.0, 4.0 / std::sqrt(fan_in));
  if (is("ffn_gate_inp.weight")) return synth_normal(key, 0.0, 2.0 / std::sqrt(fan_in));
  return synth_normal(key, 0.0, 1.0 / std::sqrt(fan_in));
}

class TensorList {
 public:
  TensorList(const SynthOptions& options, const ModelConfig& config) : o_(options), c_(config) {
    const std::string prefix = c_.arch == Arch::kQwen3Next ? "model." : "model.language_model.";
    for (const TensorSlot& slot : tensor_slots(c_, prefix)) add_slot(slot);
  }
  std::vector<SynthTensor> take() { return std::move(tensors_); }

 private:
  void add_slot(const TensorSlot& slot) {
    const bool down = slot.layout == SlotLayout::kExpertDown, up = slot.layout == SlotLayout::kExpertUp;
    if (!down && !up && slot.layout != SlotLayout::kExpertGate) return add(slot, slot.hf, slot.hf_shape);
    if (!o_.per_expert_names) return add(slot, slot.hf + (down ? ".down_proj" : ".gate_up_proj"), slot.hf_shape);
    const char* part = down ? "down_proj" : up ? "up_proj" : "gate_proj";
    for (std::int64_t e = 0; e < c_.experts; ++e)
      add(slot, fmt::format("{}.{}.{}.weight", slot.hf, e, part), {slot.shape[1], slot.shape[2]});
  }
  // Two slots may come from one stored tensor (fused projections, packed experts): it is written once.
  void add(const TensorSlot& slot, const std::string& name, const std::vector<std::int64_t>& shape) {
    if (!names_.insert(name).second) return;
    const bool decay = slot.name.ends_with("ssm_a") || slot.name.ends_with("ssm_norm.weight");
    tensors_.push_back({name, shape, o_.f32_decay && decay ? DType::kF32 : o_.dtype,
                        distribution(c_, slot, synth_key(o_.seed, name))});
  }

  const SynthOptions& o_;
  const ModelConfig& c_;
  std::set<std::string> names_;
  std::vector<SynthTensor> tensors_;
};

// Fills shard and offset; the bytes of each shard's data.
std::vector<std::uint64_t> assign_shards(std::vector<SynthTensor>& tensors, std::uint64_t max_bytes) {
  std::vector<std::uint64_t> shard_bytes{0};
  for (SynthTensor& tensor : tensors) {
    if (shard_bytes.back() > 0 && shard_bytes.back() + tensor.bytes() > max_bytes) shard_bytes.push_back(0);
    tensor.shard = shard_bytes.size() - 1;
    tensor.offset = shard_bytes.back();
    shard_bytes.back() += tensor.bytes();
  }
  return shard_bytes;
}

std::string shard_name(std::size_t shard, std::size_t count) {
  return count == 1 ? "model.safetensors" : fmt::format("model-{:05}-of-{:05}.safetensors", shard + 1, count);
}

// Length prefix and header; padded so that the data starts at a multiple of 64 bytes.
std::string shard_header(const std::vector<SynthTensor>& tensors, std::size_t shard) {
  nlohmann::json header;
  header["__metadata__"] = {{"format", "pt"}};
  for (const SynthTensor& tensor : tensors) {
    if (tensor.shard != shard) continue;
    header[tensor.name] = {{"dtype", tensor.dtype == DType::kF32 ? "F32" : "BF16"},
                           {"shape", tensor.shape},
                           {"data_offsets", {tensor.offset, tensor.offset + tensor.bytes()}}};
  }
  std::string text = header.dump();
  text.resize((text.size() + 8 + 63) / 64 * 64 - 8, ' ');
  const std::uint64_t length = text.size();
  std::string bytes(sizeof length, '\0');
  std::memcpy(bytes.data(), &length, sizeof length);
  return bytes + text;
}

void write_text(const fs::path& path, const std::string& text) {
  OutputFile file(path, text.size());
  file.put(text.data(), text.size(), 0);
  file.flush();
  file.keep();
}

void write_index(const fs::path& directory, const std::vector<SynthTensor>& tensors,
                 const std::vector<std::uint64_t>& shard_bytes) {
  nlohmann::json index;
  std::uint64_t total = 0;
  for (std::uint64_t bytes : shard_bytes) total += bytes;
  index["metadata"] = {{"total_size", total}};
  for (const SynthTensor& tensor : tensors)
    index["weight_map"][tensor.name] = shard_name(tensor.shard, shard_bytes.size());
  write_text(directory / "model.safetensors.index.json", index.dump(2) + "\n");
}

struct Piece {
  const SynthTensor* tensor;
  std::int64_t first, count;
};

class ShardFiles {
 public:
  ShardFiles(const fs::path& directory, const std::vector<SynthTensor>& tensors,
             const std::vector<std::uint64_t>& shard_bytes) {
    for (std::size_t i = 0; i < shard_bytes.size(); ++i) {
      const std::string header = shard_header(tensors, i);
      files_.push_back(
          std::make_unique<OutputFile>(directory / shard_name(i, shard_bytes.size()), header.size() + shard_bytes[i]));
      files_.back()->put(header.data(), header.size(), 0);
      data_start_.push_back(header.size());
    }
  }
  void fill(const Piece& piece, std::vector<std::byte>& buffer) const {
    const SynthTensor& tensor = *piece.tensor;
    const std::int64_t value_bytes = row_bytes(tensor.dtype, 1);
    buffer.resize(static_cast<std::size_t>(piece.count * value_bytes));
    fill_synth(tensor.values, tensor.dtype, piece.first, piece.count, buffer.data());
    files_[tensor.shard]->put(
        buffer.data(), buffer.size(),
        data_start_[tensor.shard] + tensor.offset + static_cast<std::uint64_t>(piece.first * value_bytes));
  }
  void finish() {
    for (auto& file : files_) {
      file->flush();
      file->keep();
    }
  }

 private:
  std::vector<std::unique_ptr<OutputFile>> files_;
  std::vector<std::uint64_t> data_start_;
};

void check_target(const fs::path& directory, std::uint64_t bytes) {
  if (fs::exists(directory) && !(fs::is_directory(directory) && fs::is_empty(directory)))
    throw std::invalid_argument(fmt::format("{} exists; name a new folder or remove it first", directory.string()));
  std::error_code error;
  fs::path above = fs::absolute(directory);
  while (!fs::exists(above) && above.has_relative_path()) above = above.parent_path();
  const fs::space_info space = fs::space(above, error);
  if (!error && space.available < bytes)
    throw std::runtime_error(
        fmt::format("{} needs {} MB, {} has {} MB free; fewer --layers or a smaller --vocab need less",
                    directory.string(), bytes / 1'000'000, above.string(), space.available / 1'000'000));
}

std::vector<Piece> pieces_of(const std::vector<SynthTensor>& tensors) {
  std::vector<Piece> pieces;
  for (const SynthTensor& tensor : tensors)
    for (std::int64_t first = 0; first < tensor.count(); first += kPieceValues)
      pieces.push_back({&tensor, first, std::min(kPieceValues, tensor.count() - first)});
  return pieces;
}

}  // namespace

void write_synth(const SynthOptions& options, const fs::path& directory,
                 const std::function<void(std::uint64_t, std::uint64_t)>& progress) {
  const ModelConfig config = synth_config(options);
  std::vector<SynthTensor> tensors = TensorList(options, config).take();
  const std::vector<std::uint64_t> shard_bytes = assign_shards(tensors, options.max_shard_bytes);
  std::uint64_t total = 0;
  for (std::uint64_t bytes : shard_bytes) total += bytes;
  check_target(directory, total);

  TemporaryFolder folder(directory);
  ShardFiles files(folder.path(), tensors, shard_bytes);
  ThreadPool pool(options.threads > 0 ? options.threads
                                      : std::max(1, static_cast<int>(std::thread::hardware_concurrency())));
  const std::vector<Piece> pieces = pieces_of(tensors);
  std::vector<std::vector<std::byte>> buffers(static_cast<std::size_t>(pool.threads()));
  std::atomic<std::uint64_t> done{0};
  pool.parallel_for(static_cast<std::int64_t>(pieces.size()), 1, [&](std::int64_t begin, std::int64_t end) {
    const auto worker = static_cast<std::size_t>(ThreadPool::worker());
    for (std::int64_t i = begin; i < end; ++i) {
      files.fill(pieces[static_cast<std::size_t>(i)], buffers[worker]);
      const std::uint64_t now = done += buffers[worker].size();
      if (worker == 0 && progress) progress(now, total);
    }
  });
  files.finish();
  write_text(folder.path() / "config.json", synth_config_json(options, config));
  write_text(folder.path() / "generation_config.json", synth_generation_config_json(config));
  if (config.vocab >= 256) write_text(folder.path() / "tokenizer.json", synth_tokenizer_json(config.vocab));
  if (shard_bytes.size() > 1) write_index(folder.path(), tensors, shard_bytes);
  publish(folder.path(), directory);
  folder.keep();
}

}  // namespace crossover
