#include "engine/load/device_lanes.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "kernels/buffer.h"
#include "kernels/cuda/quantize.h"
#include "kernels/cuda/runtime.h"

namespace crossover {

int lanes_for(int workers) { return std::min(workers + 1, 8); }  // eight copies keep any bus busy

struct DeviceLanes::Lane {
  Buffer rows, from_end;                 // device memory: what is quantized next, and cuda::quantize_q6_k's word on it
  const ConvertTask* task = nullptr;     // whose blocks are under way, unchecked
  const SourceTensor* tensor = nullptr;
  std::unique_ptr<cuda::Device> device;  // ends first, with all that it was asked for
};

class DeviceLanes::Lease {
 public:
  explicit Lease(DeviceLanes& lanes) : lanes_(lanes) {
    std::unique_lock lock(lanes_.mutex_);
    lanes_.given_back_.wait(lock, [&] { return !lanes_.free_.empty(); });
    lane_ = lanes_.free_.front();
    lanes_.free_.pop_front();
  }
  ~Lease() {
    {
      const std::lock_guard lock(lanes_.mutex_);
      lanes_.free_.push_back(lane_);
    }
    lanes_.given_back_.notify_one();
  }
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;
  Lane& operator*() const { return *lane_; }
  Lane* operator->() const { return lane_; }

 private:
  DeviceLanes& lanes_;
  Lane* lane_;
};

DeviceLanes::DeviceLanes(const Context& ctx, std::int64_t upload_bytes, std::int64_t quantize_bytes) {
  if (upload_bytes == 0) return;
  for (int i = 0; i < lanes_for(ctx.pool.threads()); ++i) {
    Lane& lane = *lanes_.emplace_back(std::make_unique<Lane>());
    lane.device = ctx.device->beside();
    lane.device->reserve_staging(static_cast<std::size_t>(upload_bytes));
    if (quantize_bytes > 0) {
      const MemorySource memory = memory_of(ctx.ops);
      lane.rows = Buffer(static_cast<std::size_t>(quantize_bytes), memory);
      lane.from_end = Buffer(sizeof(std::uint64_t), memory);
      lane.device->clear(lane.from_end.data(), lane.from_end.size());
    }
    free_.push_back(&lane);
  }
}

DeviceLanes::~DeviceLanes() = default;

void DeviceLanes::deliver(std::byte* to, const std::byte* rows, std::size_t bytes) { Lease(*this)->device->upload(to, rows, bytes); }

// The rows that were quantized on it are quantized, and were finite.
void DeviceLanes::settle(Lane& lane) {
  if (!lane.task) return;
  std::uint64_t from_end = 0;
  lane.device->download(reinterpret_cast<std::byte*>(&from_end), lane.from_end.data(), sizeof(from_end));
  const ConvertTask& task = *std::exchange(lane.task, nullptr);
  if (from_end == 0) return;
  const std::int64_t value = task.values() - static_cast<std::int64_t>(from_end);
  std::array<std::byte, sizeof(float)> stored{};
  const DType dtype = lane.tensor->dtype;
  lane.device->download(stored.data(), lane.rows.data() + row_bytes(dtype, value), static_cast<std::size_t>(row_bytes(dtype, 1)));
  refuse_value(task, *lane.tensor, stored.data(), value);
}

void DeviceLanes::quantize(const ConvertTask& task, const SourceTensor& tensor, const std::byte* rows, std::byte* blocks, Trace* trace) {
  const auto phase = [&](const char* name) { return task.phase ? task.phase : name; };
  std::optional<Lease> lane_taken;
  {
    const Range range(trace, phase("upload"));
    lane_taken.emplace(*this);
    (*lane_taken)->device->wait_for_upload();
  }
  const Lease& lane = *lane_taken;
  {
    const Range range(trace, phase("quantize"));
    settle(*lane);
  }
  {
    const Range range(trace, phase("upload"));
    lane->device->upload(lane->rows.data(), rows, static_cast<std::size_t>(row_bytes(tensor.dtype, task.values())));
    cuda::quantize_q6_k(*lane->device, tensor.dtype, lane->rows.data(), task.values(), task.out, reinterpret_cast<std::uint64_t*>(lane->from_end.data()));
    lane->task = &task, lane->tensor = &tensor;
    if (blocks) lane->device->wait_for_upload();
  }
  if (!blocks) return;
  {
    const Range range(trace, phase("quantize"));
    settle(*lane);
  }
  const Range range(trace, phase("copy_back"));
  lane->device->download(blocks, task.out, static_cast<std::size_t>(task.bytes()));
}

void DeviceLanes::finish(Trace* trace) {
  for (const auto& lane : lanes_) {
    {
      const Range range(trace, "upload");
      lane->device->wait_for_upload();
    }
    const Range range(trace, "quantize");
    settle(*lane);
    lane->device->synchronize();
  }
}

std::int64_t DeviceLanes::staging_bytes() const {
  std::int64_t sum = 0;
  for (const auto& lane : lanes_) sum += static_cast<std::int64_t>(lane->device->staging_bytes());
  return sum;
}

std::int64_t DeviceLanes::device_staging_bytes() const {
  std::int64_t sum = 0;
  for (const auto& lane : lanes_) sum += static_cast<std::int64_t>(lane->rows.size() + lane->from_end.size());
  return sum;
}

}  // namespace crossover
