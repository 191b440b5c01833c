// The entry of libFuzzer; CROSSOVER_FUZZ_TARGET is the function that this program is for.
#include <cstddef>
#include <cstdint>

#include "fuzz/fuzz_targets.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  crossover::fuzz::CROSSOVER_FUZZ_TARGET({reinterpret_cast<const char*>(data), size});
  return 0;
}
