// A libcupti of the tests: it "launches" what they ask for and delivers records of it through the callbacks, as a driver would.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace crossover::test {

struct FakeCupti {
  std::uint32_t version = 130001;
  int enable_result = 0, callbacks_result = 0;  // what those functions answer
  std::uint64_t now_ns = 5'000'000'000;         // of its clock
  std::size_t dropped = 0;                      // told once, with the next buffer
  std::size_t record_bytes = 256;               // of every record: longer than what we know of it, as a newer version's are

  // By the calling thread, inside the ranges it has open.
  virtual void launch(const char* kernel, std::uint64_t start_ns, std::uint64_t end_ns, std::uint32_t device = 0) = 0;
  virtual void copy(std::uint8_t kind, std::uint64_t bytes, std::uint64_t start_ns, std::uint64_t end_ns) = 0;
  virtual void overhead(std::int32_t kind, std::uint64_t start_ns, std::uint64_t end_ns) = 0;
  virtual void reset() = 0;                     // as it was when it was opened
  virtual std::vector<std::int32_t> enabled() const = 0;
  virtual ~FakeCupti() = default;
};

using GetFakeCupti = FakeCupti* (*)();  // the library's function "fake_cupti"

// Its part that samples counters; fake_cupti_old has none.
struct FakeCounters {
  virtual void answer(const std::string& function, int result) = 0;  // from now on
  virtual void count_in(std::size_t passes, std::size_t passes_without_peak) = 0;
  virtual void be(const std::string& chip) = 0;                      // "GH100"
  virtual void overflow() = 0;                                       // told with the next decoding
  // What the next decodings find on that device. peak: not a number where the chip does not tell.
  virtual void sample(std::size_t device, std::uint64_t start_ns, std::uint64_t end_ns, double read_bytes, double written_bytes, double peak_bytes) = 0;
  virtual std::size_t held() const = 0;                              // samplers and hosts that were not given back
  virtual int trigger() const = 0;                                   // as it was configured last
  virtual void reset() = 0;
  virtual ~FakeCounters() = default;
};

using GetFakeCounters = FakeCounters* (*)();  // the library's function "fake_counters"

}  // namespace crossover::test
