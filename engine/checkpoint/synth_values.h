// Random weights from counters: value i of a tensor depends on the tensor's key and i alone, so any thread can make any
// part. Integers and single correctly rounded float operations only: the same bits on every machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "kernels/tensor.h"

namespace crossover {

struct SynthValues {
  std::uint64_t key = 0;
  float center = 0;
  float scale =
      0;  // of an integer in [-131070, 131070] with standard deviation 37837: a sum of four uniform 16-bit numbers
  bool uniform = false;  // the integer is uniform in [-131072, 131071] instead
};

std::uint64_t synth_key(std::uint64_t seed, std::string_view tensor);
SynthValues synth_normal(std::uint64_t key, double center, double deviation);
SynthValues synth_uniform(std::uint64_t key, double low, double high);

// Values first .. first+count-1 as f32 or bf16.
void fill_synth(const SynthValues& values, DType dtype, std::int64_t first, std::int64_t count, std::byte* out);

}  // namespace crossover
