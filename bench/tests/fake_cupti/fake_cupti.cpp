#include "bench/tests/fake_cupti/fake_cupti.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <utility>

#include "bench/profile/cupti_api.h"

namespace crossover::test {
namespace {

using namespace cupti;

thread_local std::vector<std::uint64_t> ids;

struct Fake : FakeCupti {
  std::vector<std::vector<std::uint8_t>> records;
  std::vector<std::size_t> offsets;  // of the buffer that is being delivered
  std::set<std::int32_t> kinds;
  std::uint32_t correlation = 100;
  BufferRequested requested = nullptr;
  BufferCompleted completed = nullptr;

  template <class Record>
  void add(const Record& record) {
    std::vector<std::uint8_t>& bytes = records.emplace_back(std::max(record_bytes, sizeof(Record)), std::uint8_t{0xee});
    std::memcpy(bytes.data(), &record, sizeof(Record));
  }
  std::uint32_t call() {
    ++correlation;
    if (!ids.empty() && kinds.contains(kExternalCorrelation)) add(ExternalCorrelationRecord{kExternalCorrelation, kOurIds, ids.back(), correlation, 0});
    return correlation;
  }
  void launch(const char* kernel, std::uint64_t start_ns, std::uint64_t end_ns, std::uint32_t device) override {
    const std::uint32_t id = call();
    if (kinds.contains(kConcurrentKernel))
      add(KernelRecord{kConcurrentKernel, 0, 0, 40, 0, 0, start_ns, end_ns, end_ns, device, 1, 7, {132, 1, 1}, {256, 1, 1}, 1024, 65536, 0, 0, id, 0, kernel});
  }
  void copy(std::uint8_t kind, std::uint64_t bytes, std::uint64_t start_ns, std::uint64_t end_ns) override {
    const std::uint32_t id = call();
    if (kinds.contains(kMemcpy)) add(MemcpyRecord{kMemcpy, kind, 0, 0, 0, bytes, start_ns, end_ns, 0, 1, 7, id});
  }
  void overhead(std::int32_t kind, std::uint64_t start_ns, std::uint64_t end_ns) override { add(OverheadRecord{kOverhead, kind, 0, {}, start_ns, end_ns}); }
  void reset() override { *static_cast<FakeCupti*>(this) = Fake(), records.clear(), kinds.clear(); }
  std::vector<std::int32_t> enabled() const override { return {kinds.begin(), kinds.end()}; }

  // As many buffers as it takes.
  void deliver() {
    for (std::size_t first = 0; first < records.size() || dropped > 0;) {
      std::uint8_t* buffer = nullptr;
      std::size_t bytes = 0, most = 0, used = 0;
      requested(&buffer, &bytes, &most);
      offsets.clear();
      for (; first < records.size() && used + records[first].size() <= bytes; used += records[first++].size()) {
        offsets.push_back(used);
        std::memcpy(buffer + used, records[first].data(), records[first].size());
      }
      completed(nullptr, 0, buffer, bytes, used);
    }
    records.clear();
  }
};

Fake& fake() {
  static Fake one;
  return one;
}

}  // namespace
}  // namespace crossover::test

using crossover::test::fake;

extern "C" {
crossover::test::FakeCupti* fake_cupti();
int cuptiGetVersion(std::uint32_t*);
int cuptiGetResultString(int, const char**);
int cuptiGetTimestamp(std::uint64_t*);
int cuptiActivityEnable(std::int32_t);
int cuptiActivityDisable(std::int32_t);
int cuptiActivityRegisterCallbacks(crossover::cupti::BufferRequested, crossover::cupti::BufferCompleted);
int cuptiActivityGetNextRecord(std::uint8_t*, std::size_t, void**);
int cuptiActivityFlushAll(std::uint32_t);
int cuptiActivityGetNumDroppedRecords(void*, std::uint32_t, std::size_t*);
int cuptiActivityPushExternalCorrelationId(std::int32_t, std::uint64_t);
int cuptiActivityPopExternalCorrelationId(std::int32_t, std::uint64_t*);

crossover::test::FakeCupti* fake_cupti() { return &fake(); }

int cuptiGetVersion(std::uint32_t* version) { return *version = fake().version, 0; }
int cuptiGetResultString(int result, const char** text) {
  *text = result == 35 ? "CUPTI_ERROR_INSUFFICIENT_PRIVILEGES" : "CUPTI_ERROR_OF_THE_TESTS";
  return 0;
}
int cuptiGetTimestamp(std::uint64_t* ns) { return *ns = fake().now_ns, 0; }
int cuptiActivityEnable(std::int32_t kind) {
  if (fake().enable_result == 0) fake().kinds.insert(kind);
  return fake().enable_result;
}
int cuptiActivityDisable(std::int32_t kind) { return fake().kinds.erase(kind), 0; }
int cuptiActivityRegisterCallbacks(crossover::cupti::BufferRequested requested, crossover::cupti::BufferCompleted completed) {
  fake().requested = requested, fake().completed = completed;
  return fake().callbacks_result;
}
int cuptiActivityGetNextRecord(std::uint8_t* buffer, std::size_t valid, void** record) {
  const std::size_t from = *record ? static_cast<std::size_t>(static_cast<std::uint8_t*>(*record) - buffer) + 1 : 0;
  for (const std::size_t offset : fake().offsets)
    if (offset >= from && offset < valid) return *record = buffer + offset, 0;
  return crossover::cupti::kNoMoreRecords;
}
int cuptiActivityFlushAll(std::uint32_t) {
  if (fake().requested) fake().deliver();
  return 0;
}
int cuptiActivityGetNumDroppedRecords(void*, std::uint32_t, std::size_t* dropped) { return *dropped = std::exchange(fake().dropped, 0), 0; }
int cuptiActivityPushExternalCorrelationId(std::int32_t, std::uint64_t id) { return crossover::test::ids.push_back(id), 0; }
int cuptiActivityPopExternalCorrelationId(std::int32_t, std::uint64_t* last) {
  if (crossover::test::ids.empty()) return 18;
  *last = crossover::test::ids.back();
  return crossover::test::ids.pop_back(), 0;
}
}
