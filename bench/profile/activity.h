// What a GPU did while CUPTI watched: kernels, copies and what the watching cost, each tied to the phase that asked for it.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "bench/profile/cupti_library.h"
#include "kernels/trace.h"

namespace crossover::cupti {

struct Kernel {
  std::string name;               // mangled, as the compiler made it
  std::uint64_t start_ns, end_ns;  // of CUPTI's clock; both 0 where it could not tell
  std::uint32_t device, stream, correlation;
  std::array<std::int32_t, 3> grid, block;
  int registers;                  // per thread
  int static_shared_bytes, dynamic_shared_bytes, local_bytes_per_thread;
};

struct Copy {
  enum class Kind : std::uint8_t { kToDevice, kToHost, kWithin, kOther, kClear } kind;
  std::uint64_t bytes, start_ns, end_ns;
  std::uint32_t device, correlation;
};

struct Overhead {
  std::int32_t kind;
  std::uint64_t start_ns, end_ns;
};

struct Activity {
  std::vector<Kernel> kernels;
  std::vector<Copy> copies;
  std::vector<Overhead> overheads;
  std::map<std::uint32_t, std::uint64_t> ids;  // correlation of a call -> index into `phases`
  std::vector<std::string> phases;
  std::int64_t dropped = 0;    // records that CUPTI had no room for
  std::int64_t malformed = 0;  // that were not what they said, or too many; left out
  double at_zero_s = 0;        // monotonic clock when CUPTI's stood at 0

  double seconds(std::uint64_t ns) const { return at_zero_s + static_cast<double>(ns) * 1e-9; }
  const std::string* phase_of(std::uint32_t correlation) const;  // null for what no phase asked for
};

// The records of one buffer, to the end of `activity`. Whatever CUPTI says about them, nothing outside the buffer is read, names apart.
void parse_records(const Api& api, std::uint8_t* buffer, std::size_t valid_bytes, Activity& activity);

// Watches from start() to stop(), in the ranges of the traces that have it as listener. One at a time in a process, which CUPTI's callbacks
// demand: they bring nothing that says whose they are.
class Recorder : public RangeListener {
 public:
  explicit Recorder(const Library& library) : library_(library) {}  // one that was found
  ~Recorder() override;
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  void start();     // std::runtime_error in CUPTI's words where the driver refuses, or another records
  Activity stop();  // the devices have been waited for

  void opened(const char* name) override;
  void closed() override;

 private:
  static void buffer_requested(std::uint8_t** buffer, std::size_t* bytes, std::size_t* most_records);
  static void buffer_completed(void* context, std::uint32_t stream, std::uint8_t* buffer, std::size_t bytes, std::size_t valid_bytes);
  void must(const char* call, Result result) const;
  void take(void* context, std::uint32_t stream, std::uint8_t* buffer, std::size_t valid_bytes);
  void end();

  const Library& library_;
  std::vector<std::int32_t> enabled_;
  bool running_ = false;
  std::mutex mutex_;  // of what follows: buffers come on CUPTI's thread, ranges on those of ranks
  Activity activity_;
  std::map<std::string, std::uint64_t, std::less<>> id_of_;
};

}  // namespace crossover::cupti
