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
  std::size_t dropped = 0;                      // told once, with the next buffer
  std::size_t record_bytes = 256;               // of every record: longer than what we know of it, as a newer version's are

  // By the calling thread, inside the ranges it has open.
  virtual void launch(const char* kernel, std::uint64_t start_ns, std::uint64_t end_ns) = 0;
  virtual void copy(std::uint8_t kind, std::uint64_t bytes, std::uint64_t start_ns, std::uint64_t end_ns) = 0;
  virtual void overhead(std::int32_t kind, std::uint64_t start_ns, std::uint64_t end_ns) = 0;
  virtual void reset() = 0;                     // as it was when it was opened
  virtual std::vector<std::int32_t> enabled() const = 0;
  virtual ~FakeCupti() = default;
};

using GetFakeCupti = FakeCupti* (*)();  // the library's function "fake_cupti"

}  // namespace crossover::test
