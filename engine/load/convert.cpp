#include "engine/load/convert.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "kernels/formats/formats.h"

namespace crossover {
namespace {

std::byte* grown(HostBuffer& buffer, std::int64_t bytes) {
  if (buffer.size() < static_cast<std::size_t>(bytes)) buffer = HostBuffer(static_cast<std::size_t>(bytes));
  return buffer.data();
}

[[noreturn]] void refuse_value(const SourceTensor& tensor, std::int64_t row, std::int64_t column, const std::string& what) {
  throw std::runtime_error(fmt::format("tensor {} ({}) holds {} at row {}, column {}; the checkpoint is damaged or was saved from a diverged model",
                                       tensor.name, tensor.stored_as, what, row, column));
}

void check_finite(const RowTask& task, const float* values) {
  const std::int64_t at = first_not_finite(values, task.rows * task.columns_count);
  if (at < 0) return;
  refuse_value(*task.tensor, task.first_row + at / task.columns_count, at % task.columns_count, fmt::format("{}", values[at]));
}

// Codes of block formats are finite by construction; their f16 scales (and minima) may not be.
void check_block_scales(const RowTask& task, const std::byte* stored) {
  const DTypeInfo& format = info(task.to);
  const std::int64_t blocks = task.rows * task.columns_count / format.block_values;
  const std::int64_t offset = task.to == DType::kQ6_K ? format.block_bytes - 2 : 0;
  const int scales = task.to == DType::kQ4_1 || task.to == DType::kQ5_1 ? 2 : 1;
  for (std::int64_t b = 0; b < blocks; ++b) {
    for (int s = 0; s < scales; ++s) {
      std::uint16_t bits;
      std::memcpy(&bits, stored + b * format.block_bytes + offset + 2 * s, sizeof bits);
      if ((bits & 0x7c00) != 0x7c00) continue;
      const std::int64_t value = b * format.block_values;
      refuse_value(*task.tensor, task.first_row + value / task.columns_count, value % task.columns_count, "a block scale that is not finite");
    }
  }
}

void read(const ConvertJob& job, const RowTask& task, std::byte* out, Trace* trace) {
  const SourceTensor& tensor = *task.tensor;
  const bool gathers = !tensor.columns.empty() || tensor.segments.size() > 1 || task.columns_count != tensor.shape[2];
  const Range range(trace, gathers ? "gather" : "read");
  read_rows(job.files, tensor, task.first_row, task.rows, task.columns, out);
}

void quantize(const ConvertJob& job, const RowTask& task, const float* values, Trace* trace) {
  const QuantizeFn fn = job.micro ? job.micro->formats->quantize[static_cast<std::size_t>(task.to)] : quantize_fn(task.to);
  std::unique_lock<std::mutex> turn;
  if (job.quantize_turn && is_block_format(task.to)) {
    const Range range(trace, "wait");
    turn = std::unique_lock(*job.quantize_turn);
  }
  {
    const Range range(trace, is_block_format(task.to) ? "quantize" : "cast");
    fn(values, task.out, task.rows * task.columns_count);
  }
  if (!turn.owns_lock()) return;
  const Range range(trace, "wait");  // handing the turn over wakes a thread, which may cost this one its core
  turn.unlock();
}

}  // namespace

bool needs_quantizing(const SourceTensor& tensor, DType to) {
  return is_block_format(to) && (tensor.dtype != to || tensor.transform != Transform::kNone);
}

std::int64_t rows_per_task(std::int64_t columns) {
  constexpr std::int64_t kValues = 256 * 1024;
  return std::max<std::int64_t>(1, kValues / std::max<std::int64_t>(1, columns));
}

void convert_rows(const ConvertJob& job, const RowTask& task, ConvertScratch& scratch, Trace* trace) {
  const SourceTensor& tensor = *task.tensor;
  const std::int64_t values = task.rows * task.columns_count;
  if (values == 0) return;
  if (tensor.dtype == task.to && tensor.transform == Transform::kNone) {
    read(job, task, task.out, trace);
    const Range range(trace, "verify");
    if (is_block_format(task.to)) return check_block_scales(task, task.out);
    if (task.to == DType::kF32) return check_finite(task, reinterpret_cast<const float*>(task.out));
    auto* widened = reinterpret_cast<float*>(grown(scratch.widened, values * static_cast<std::int64_t>(sizeof(float))));
    widen(tensor, task.out, values, widened);
    return check_finite(task, widened);
  }
  std::byte* stored = grown(scratch.stored, task.rows * row_bytes(tensor.dtype, task.columns_count));
  read(job, task, stored, trace);
  auto* widened = task.to == DType::kF32 ? reinterpret_cast<float*>(task.out)
                                         : reinterpret_cast<float*>(grown(scratch.widened, values * static_cast<std::int64_t>(sizeof(float))));
  {
    const Range range(trace, "cast");
    widen(tensor, stored, values, widened);
    check_finite(task, widened);
  }
  if (task.to != DType::kF32) quantize(job, task, widened, trace);
}

}  // namespace crossover
