#include "engine/checkpoint/gguf_layout.h"

#include <fmt/format.h>

#include <cstring>
#include <map>
#include <stdexcept>

#include "engine/checkpoint/gguf.h"

namespace crossover {
namespace {

constexpr std::uint64_t kAlignment = 32;
constexpr std::string_view kBeta = "ssm_beta.weight", kAlpha = "ssm_alpha.weight", kFused = "ssm_ba.weight";

std::uint64_t aligned(std::uint64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

bool fused(const Source& source, std::string_view name) {
  return source.config.arch == Arch::kQwen3Next && (name.ends_with(kBeta) || name.ends_with(kAlpha));
}

template <class T>
void append(std::string& bytes, T value) {
  char buffer[sizeof value];
  std::memcpy(buffer, &value, sizeof value);
  bytes.append(buffer, sizeof value);
}

}  // namespace

std::vector<GgufTensorPlan> plan_gguf(const Source& source, DType weights) {
  std::vector<GgufTensorPlan> plan;
  for (const SourceTensor& tensor : source.tensors)
    plan.push_back({tensor.name, target_type(tensor, weights), tensor.shape});
  return plan;
}

GgufLayout::GgufLayout(const Source& source, std::vector<GgufTensorPlan> plan) : plan_(std::move(plan)) {
  const std::int64_t per_key = source.config.value_heads / source.config.key_heads;
  std::map<std::string, std::size_t> index;
  for (const GgufTensorPlan& entry : plan_) {
    std::string name = entry.name;
    std::array<std::int64_t, 3> shape = entry.shape;
    Place place{};
    if (fused(source, name)) {
      place = {0, per_key, 2 * per_key, name.ends_with(kAlpha) ? per_key : 0};
      name.replace(name.rfind("ssm_"), std::string::npos, kFused);
      shape[1] *= 2;
    }
    const auto [at, fresh] = index.try_emplace(name, tensors_.size());
    if (fresh) tensors_.push_back({name, entry.dtype, shape});
    const GgufFileTensor& tensor = tensors_[at->second];
    if ((!fresh && place.group == 0) || tensor.dtype != entry.dtype || tensor.shape != shape)
      throw std::invalid_argument(fmt::format("two tensors of the plan become {} but differ", name));
    place.tensor = at->second;
    places_.push_back(place);
  }
  for (GgufFileTensor& tensor : tensors_) {
    tensor.offset = data_bytes_;
    tensor.bytes = static_cast<std::uint64_t>(tensor.shape[0] * tensor.shape[1] * row_bytes(tensor.dtype, tensor.shape[2]));
    data_bytes_ += aligned(tensor.bytes);
  }
}

std::string GgufLayout::header(const Source& source, const GgufMetadata& extra, std::size_t* extra_at) const {
  const GgufMetadata metadata = gguf_metadata(source, most_bytes());
  std::string bytes = "GGUF";
  append(bytes, std::uint32_t{3});
  append(bytes, static_cast<std::uint64_t>(tensors_.size()));
  append(bytes, metadata.count() + extra.count());
  bytes += metadata.bytes();
  if (extra_at) *extra_at = bytes.size();
  bytes += extra.bytes();
  for (const GgufFileTensor& tensor : tensors_) {
    std::vector<std::int64_t> dims{tensor.shape[2], tensor.shape[1], tensor.shape[0]};
    while (dims.size() > 1 && dims.back() == 1) dims.pop_back();
    append(bytes, static_cast<std::uint64_t>(tensor.name.size()));
    bytes += tensor.name;
    append(bytes, static_cast<std::uint32_t>(dims.size()));
    for (std::int64_t dim : dims) append(bytes, static_cast<std::uint64_t>(dim));
    append(bytes, gguf_dtype(tensor.dtype));
    append(bytes, tensor.offset);
  }
  bytes.resize(aligned(bytes.size()), '\0');
  return bytes;
}

GgufLayout::RowPlaces GgufLayout::places(std::size_t tensor, std::int64_t first_row, std::int64_t rows,
                                         std::span<const IndexRange> columns) const {
  const GgufTensorPlan& entry = plan_.at(tensor);
  const std::int64_t all = entry.shape[0] * entry.shape[1];
  if (first_row < 0 || rows < 0 || first_row > all - rows)
    throw std::invalid_argument(
        fmt::format("tensor {} has {} rows, {} from {} were to be written", entry.name, all, rows, first_row));
  const Place& place = places_[tensor];
  RowPlaces at{tensors_[place.tensor].offset, row_bytes(entry.dtype, entry.shape[2]), place.group, place.period,
               place.part, {}};
  for (IndexRange range : columns) {
    if (range.first < 0 || range.count < 0 || range.first > entry.shape[2] - range.count)
      throw std::invalid_argument(fmt::format("tensor {} has {} columns, {} from {} were to be written", entry.name,
                                              entry.shape[2], range.count, range.first));
    at.pieces.push_back({row_bytes(entry.dtype, range.first), row_bytes(entry.dtype, range.count)});
  }
  if (at.pieces.size() == 1 && at.pieces[0].bytes == at.stride_bytes) at.pieces.clear();
  return at;
}

// What the file is "mostly" made of, for general.file_type.
DType GgufLayout::most_bytes() const {
  std::array<std::uint64_t, kDTypeCount> bytes{};
  for (const GgufFileTensor& tensor : tensors_) bytes[static_cast<std::size_t>(tensor.dtype)] += tensor.bytes;
  return static_cast<DType>(std::max_element(bytes.begin(), bytes.end()) - bytes.begin());
}

}  // namespace crossover
