#include "bench/profile/activity.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>
#include <string_view>
#include <utility>

namespace crossover::cupti {
namespace {

constexpr std::size_t kBufferBytes = std::size_t{1} << 20, kMostRecords = 4'000'000, kLongestName = 4096;

std::atomic<Recorder*> recorder{nullptr};  // see Recorder

// The leading fields of the record at `at`, where they lie before `end`.
template <class Record>
bool read(const std::uint8_t* at, const std::uint8_t* end, Record& record) {
  if (static_cast<std::size_t>(end - at) < sizeof(Record)) return false;
  std::memcpy(&record, at, sizeof(Record));
  return true;
}

bool in_order(std::uint64_t start, std::uint64_t end) { return start <= end; }

bool add_kernel(const std::uint8_t* at, const std::uint8_t* end, Activity& out) {
  KernelRecord r{};
  if (!read(at, end, r) || !in_order(r.start, r.end)) return false;
  std::string name = r.name ? std::string(r.name, strnlen(r.name, kLongestName)) : "without a name";
  out.kernels.push_back({std::move(name), r.start, r.end, r.device, r.stream, r.correlation, {r.grid[0], r.grid[1], r.grid[2]}, {r.block[0], r.block[1], r.block[2]},
                         r.registers_per_thread, r.static_shared_bytes, r.dynamic_shared_bytes, static_cast<int>(r.local_bytes_per_thread)});
  return true;
}

bool add_copy(const std::uint8_t* at, const std::uint8_t* end, Activity& out) {
  MemcpyRecord r{};
  if (!read(at, end, r) || !in_order(r.start, r.end)) return false;
  const auto kind = r.copy_kind == 1 ? Copy::Kind::kToDevice : r.copy_kind == 2 ? Copy::Kind::kToHost : r.copy_kind == 8 ? Copy::Kind::kWithin : Copy::Kind::kOther;
  out.copies.push_back({kind, r.bytes, r.start, r.end, r.device, r.correlation});
  return true;
}

bool add_clear(const std::uint8_t* at, const std::uint8_t* end, Activity& out) {
  MemsetRecord r{};
  if (!read(at, end, r) || !in_order(r.start, r.end)) return false;
  out.copies.push_back({Copy::Kind::kClear, r.bytes, r.start, r.end, r.device, r.correlation});
  return true;
}

bool add_overhead(const std::uint8_t* at, const std::uint8_t* end, Activity& out) {
  OverheadRecord r{};
  if (!read(at, end, r) || !in_order(r.start, r.end)) return false;
  out.overheads.push_back({r.overhead_kind, r.start, r.end});
  return true;
}

bool add_id(const std::uint8_t* at, const std::uint8_t* end, Activity& out) {
  ExternalCorrelationRecord r{};
  if (!read(at, end, r)) return false;
  if (r.external_kind == kOurIds) out.ids[r.correlation] = r.id;  // an index that may be beyond the phases: phase_of checks
  return true;
}

// False for a record that is not what it says. Kinds that nobody asked for are no error: a newer CUPTI may add some.
bool add_record(const std::uint8_t* at, const std::uint8_t* end, Activity& out) {
  std::int32_t kind = 0;
  if (!read(at, end, kind)) return false;
  if (out.kernels.size() + out.copies.size() + out.overheads.size() + out.ids.size() >= kMostRecords) return false;
  switch (kind) {
    case kKernel:
    case kConcurrentKernel: return add_kernel(at, end, out);
    case kMemcpy: return add_copy(at, end, out);
    case kMemset: return add_clear(at, end, out);
    case kOverhead: return add_overhead(at, end, out);
    case kExternalCorrelation: return add_id(at, end, out);
    default: return true;
  }
}

}  // namespace

const std::string* Activity::phase_of(std::uint32_t correlation) const {
  const auto id = ids.find(correlation);
  return id == ids.end() || id->second >= phases.size() ? nullptr : &phases[id->second];
}

void parse_records(const Api& api, std::uint8_t* buffer, std::size_t valid_bytes, Activity& activity) {
  const std::uint8_t* const end = buffer + valid_bytes;
  const std::uint8_t* next = buffer;  // no record begins before
  for (void* record = nullptr;;) {
    const Result result = api.get_next_record(buffer, valid_bytes, &record);
    if (result == kNoMoreRecords) return;
    const auto* const at = static_cast<const std::uint8_t*>(record);
    // Also what would go in a circle, or outside.
    if (result != kSuccess || !at || at < next || at >= end) {
      ++activity.malformed;
      return;
    }
    if (!add_record(at, end, activity)) ++activity.malformed;
    next = at + 1;
  }
}

Recorder::~Recorder() {
  if (running_) end();
}

void Recorder::must(const char* call, Result result) const {
  if (result != kSuccess) throw std::runtime_error("CUPTI: " + describe(library_.api(), call, result));
}

void Recorder::start() {
  Recorder* none = nullptr;
  if (!recorder.compare_exchange_strong(none, this)) throw std::runtime_error("CUPTI: another recording runs in this process; end it first");
  running_ = true;
  try {
    const Api& api = library_.api();
    must("cuptiActivityRegisterCallbacks", api.register_callbacks(buffer_requested, buffer_completed));
    // Calls of the runtime too: ids are tied to these.
    for (const std::int32_t kind : {kConcurrentKernel, kMemcpy, kMemset, kOverhead, kRuntime, kExternalCorrelation}) {
      must("cuptiActivityEnable", api.activity_enable(kind));
      enabled_.push_back(kind);
    }
    std::uint64_t now_ns = 0;
    const double before_s = monotonic_s();
    must("cuptiGetTimestamp", api.get_timestamp(&now_ns));
    activity_.at_zero_s = (before_s + monotonic_s()) / 2 - static_cast<double>(now_ns) * 1e-9;
  } catch (...) {
    end();
    throw;
  }
}

// Failures are not told: what was recorded is there all the same.
void Recorder::end() {
  for (const std::int32_t kind : enabled_) (void)library_.api().activity_disable(kind);
  (void)library_.api().flush_all(kFlushForced);  // buffers come back in here
  enabled_.clear();
  running_ = false;
  recorder = nullptr;
}

Activity Recorder::stop() {
  end();
  const std::lock_guard lock(mutex_);
  id_of_.clear();
  return std::exchange(activity_, {});
}

void Recorder::opened(const char* name) {
  std::uint64_t id = 0;
  {
    const std::lock_guard lock(mutex_);
    auto known = id_of_.find(std::string_view(name));
    if (known == id_of_.end()) {
      known = id_of_.emplace(name, activity_.phases.size()).first;
      activity_.phases.emplace_back(name);
    }
    id = known->second;
  }
  (void)library_.api().push_id(kOurIds, id);  // a failure leaves a kernel without a phase
}

void Recorder::closed() {
  std::uint64_t last = 0;
  (void)library_.api().pop_id(kOurIds, &last);
}

void Recorder::buffer_requested(std::uint8_t** buffer, std::size_t* bytes, std::size_t* most_records) {
  *buffer = static_cast<std::uint8_t*>(std::malloc(kBufferBytes));  // null: CUPTI drops records, and counts them
  *bytes = *buffer ? kBufferBytes : 0;
  *most_records = 0;  // as many as fit
}

void Recorder::buffer_completed(void* context, std::uint32_t stream, std::uint8_t* buffer, std::size_t bytes, std::size_t valid_bytes) {
  if (Recorder* const current = recorder; current && buffer) current->take(context, stream, buffer, std::min(valid_bytes, bytes));
  std::free(buffer);
}

void Recorder::take(void* context, std::uint32_t stream, std::uint8_t* buffer, std::size_t valid_bytes) {
  const std::lock_guard lock(mutex_);
  try {
    parse_records(library_.api(), buffer, valid_bytes, activity_);
  } catch (const std::bad_alloc&) {  // must not reach CUPTI's thread
    ++activity_.malformed;
  }
  std::size_t dropped = 0;
  if (library_.api().get_dropped(context, stream, &dropped) == kSuccess) activity_.dropped += static_cast<std::int64_t>(dropped);
}

}  // namespace crossover::cupti
