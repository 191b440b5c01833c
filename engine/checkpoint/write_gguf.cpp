#include "engine/checkpoint/write_gguf.h"

#include <fmt/format.h>

#include <atomic>
#include <optional>
#include <stdexcept>

#include "engine/checkpoint/output_file.h"

namespace crossover {

namespace fs = std::filesystem;

struct GgufWriter::State {
  State(const fs::path& to, const Source& source, std::vector<GgufTensorPlan> plan)
      : path(to), layout(source, std::move(plan)), rows_written(std::make_unique<std::atomic<std::int64_t>[]>(layout.plan().size())) {}

  fs::path path;
  GgufLayout layout;
  std::uint64_t data_start = 0;
  std::optional<OutputFile> file;
  std::unique_ptr<std::atomic<std::int64_t>[]> rows_written;  // of each plan entry
};

GgufWriter::GgufWriter(const fs::path& path, const Source& source, std::vector<GgufTensorPlan> tensors)
    : state_(std::make_unique<State>(path, source, std::move(tensors))) {
  const std::string header = state_->layout.header(source);
  state_->data_start = header.size();
  state_->file.emplace(temporary_beside(path), file_bytes());
  state_->file->put(header.data(), header.size(), 0);
}

GgufWriter::~GgufWriter() = default;

void GgufWriter::write(std::size_t tensor_index, std::int64_t first_row, const std::byte* rows,
                       std::int64_t row_count) {
  state_->layout.place(tensor_index, first_row, row_count, {}, rows,
                       [&](std::uint64_t at, const std::byte* bytes, std::uint64_t count) {
                         state_->file->put(bytes, count, state_->data_start + at);
                       });
  state_->rows_written[tensor_index] += row_count;
}

void GgufWriter::finish() {
  for (std::size_t i = 0; i < state_->layout.plan().size(); ++i) {
    const GgufTensorPlan& entry = state_->layout.plan()[i];
    if (state_->rows_written[i] != entry.shape[0] * entry.shape[1])
      throw std::invalid_argument(fmt::format("{} of {} rows of tensor {} were written", state_->rows_written[i].load(),
                                              entry.shape[0] * entry.shape[1], entry.name));
  }
  state_->file->flush();
  publish(state_->file->path(), state_->path);
  state_->file->keep();
}

std::uint64_t GgufWriter::file_bytes() const { return state_->data_start + state_->layout.data_bytes(); }

}  // namespace crossover
