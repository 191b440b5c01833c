#include "engine/checkpoint/write_gguf.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>
#include <optional>
#include <stdexcept>

#include "engine/checkpoint/gguf.h"
#include "engine/checkpoint/gguf_metadata.h"
#include "engine/checkpoint/output_file.h"

namespace crossover {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kAlignment = 32;
constexpr std::string_view kBeta = "ssm_beta.weight", kAlpha = "ssm_alpha.weight", kFused = "ssm_ba.weight";

std::uint64_t aligned(std::uint64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// A tensor of the file. Rows of a plan entry go to rows of it: group g of `group` rows starts at row g*period + part.
struct FileTensor {
  std::string name;
  DType dtype;
  std::array<std::int64_t, 3> shape;
  std::uint64_t offset = 0;  // from the start of the data
};
struct Place {
  std::size_t tensor;                            // index into the file's tensors
  std::int64_t group = 0, period = 0, part = 0;  // group 0: rows as they come
};

struct Layout {
  std::vector<FileTensor> tensors;
  std::vector<Place> places;  // of each plan entry
  std::uint64_t data_bytes = 0;
};

bool fused(const Source& source, std::string_view name) {
  return source.config.arch == Arch::kQwen3Next && (name.ends_with(kBeta) || name.ends_with(kAlpha));
}

Layout lay_out(const Source& source, const std::vector<GgufTensorPlan>& plan) {
  const std::int64_t per_key = source.config.value_heads / source.config.key_heads;
  Layout layout;
  std::map<std::string, std::size_t> index;
  for (const GgufTensorPlan& entry : plan) {
    std::string name = entry.name;
    std::array<std::int64_t, 3> shape = entry.shape;
    Place place{};
    if (fused(source, name)) {
      place = {0, per_key, 2 * per_key, name.ends_with(kAlpha) ? per_key : 0};
      name.replace(name.rfind("ssm_"), std::string::npos, kFused);
      shape[1] *= 2;
    }
    const auto [at, fresh] = index.try_emplace(name, layout.tensors.size());
    if (fresh) layout.tensors.push_back({name, entry.dtype, shape});
    const FileTensor& tensor = layout.tensors[at->second];
    if ((!fresh && place.group == 0) || tensor.dtype != entry.dtype || tensor.shape != shape)
      throw std::invalid_argument(fmt::format("two tensors of the plan become {} but differ", name));
    place.tensor = at->second;
    layout.places.push_back(place);
  }
  for (FileTensor& tensor : layout.tensors) {
    tensor.offset = layout.data_bytes;
    layout.data_bytes += aligned(
        static_cast<std::uint64_t>(tensor.shape[0] * tensor.shape[1] * row_bytes(tensor.dtype, tensor.shape[2])));
  }
  return layout;
}

template <class T>
void append(std::string& bytes, T value) {
  char buffer[sizeof value];
  std::memcpy(buffer, &value, sizeof value);
  bytes.append(buffer, sizeof value);
}

// Magic, counts, metadata, tensor table, padded to the alignment.
std::string header_bytes(const Source& source, const Layout& layout, DType main_type) {
  const GgufMetadata metadata = gguf_metadata(source, main_type);
  std::string bytes = "GGUF";
  append(bytes, std::uint32_t{3});
  append(bytes, static_cast<std::uint64_t>(layout.tensors.size()));
  append(bytes, metadata.count());
  bytes += metadata.bytes();
  for (const FileTensor& tensor : layout.tensors) {
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

DType most_bytes(const Layout& layout) {
  std::array<std::int64_t, kDTypeCount> bytes{};
  for (const FileTensor& t : layout.tensors)
    bytes[static_cast<std::size_t>(t.dtype)] += t.shape[0] * t.shape[1] * row_bytes(t.dtype, t.shape[2]);
  return static_cast<DType>(std::max_element(bytes.begin(), bytes.end()) - bytes.begin());
}

}  // namespace

struct GgufWriter::State {
  fs::path path;
  std::vector<GgufTensorPlan> plan;
  Layout layout;
  std::uint64_t data_start = 0;
  std::optional<OutputFile> file;
  std::unique_ptr<std::atomic<std::int64_t>[]> rows_written;  // of each plan entry
};

std::vector<GgufTensorPlan> plan_gguf(const Source& source, DType weights) {
  std::vector<GgufTensorPlan> plan;
  for (const SourceTensor& tensor : source.tensors)
    plan.push_back({tensor.name, target_type(tensor, weights), tensor.shape});
  return plan;
}

GgufWriter::GgufWriter(const fs::path& path, const Source& source, std::vector<GgufTensorPlan> tensors)
    : state_(std::make_unique<State>()) {
  state_->path = path;
  state_->layout = lay_out(source, tensors);
  state_->plan = std::move(tensors);
  state_->rows_written = std::make_unique<std::atomic<std::int64_t>[]>(state_->plan.size());
  const std::string header = header_bytes(source, state_->layout, most_bytes(state_->layout));
  state_->data_start = header.size();
  state_->file.emplace(temporary_beside(path), file_bytes());
  state_->file->put(header.data(), header.size(), 0);
}

GgufWriter::~GgufWriter() = default;

void GgufWriter::write(std::size_t tensor_index, std::int64_t first_row, const std::byte* rows,
                       std::int64_t row_count) {
  const GgufTensorPlan& entry = state_->plan.at(tensor_index);
  const std::int64_t all = entry.shape[0] * entry.shape[1];
  if (first_row < 0 || row_count < 0 || first_row > all - row_count)
    throw std::invalid_argument(
        fmt::format("tensor {} has {} rows, {} from {} were to be written", entry.name, all, row_count, first_row));
  const Place& place = state_->layout.places[tensor_index];
  const std::uint64_t start = state_->data_start + state_->layout.tensors[place.tensor].offset;
  const std::int64_t stride = row_bytes(entry.dtype, entry.shape[2]);
  for (std::int64_t done = 0; done < row_count;) {
    std::int64_t row = first_row + done, count = row_count - done;
    if (place.group > 0) {
      count = std::min(count, place.group - row % place.group);
      row = row / place.group * place.period + place.part + row % place.group;
    }
    state_->file->put(rows + done * stride, static_cast<std::uint64_t>(count * stride),
                      start + static_cast<std::uint64_t>(row * stride));
    done += count;
  }
  state_->rows_written[tensor_index] += row_count;
}

void GgufWriter::finish() {
  for (std::size_t i = 0; i < state_->plan.size(); ++i) {
    const GgufTensorPlan& entry = state_->plan[i];
    if (state_->rows_written[i] != entry.shape[0] * entry.shape[1])
      throw std::invalid_argument(fmt::format("{} of {} rows of tensor {} were written", state_->rows_written[i].load(),
                                              entry.shape[0] * entry.shape[1], entry.name));
  }
  state_->file->flush();
  publish(state_->file->path(), state_->path);
  state_->file->keep();
}

std::uint64_t GgufWriter::file_bytes() const { return state_->data_start + state_->layout.data_bytes; }

}  // namespace crossover
