// What this machine can do at most, measured: the ceilings that rates are held against, and what makes it unfit to
// measure on.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "kernels/cpu/micro.h"
#include "kernels/tensor.h"

namespace crossover {

struct Ceilings {
  std::string isa;                      // that the multiply-add rates were measured with
  int threads = 1;                      // of the "all" figures
  std::uint64_t read_buffer_bytes = 0;  // well beyond the caches
  double read_1_bytes_per_s = 0, read_all_bytes_per_s = 0;  // those of one thread are 0 where only all were measured
  double fma_1_flop_per_s = 0, fma_all_flop_per_s = 0;  // f32; a multiply-add is two
  double int8_1_op_per_s = 0, int8_all_op_per_s = 0;    // dot products of bytes; 0 without such an instruction
  double bf16_1_flop_per_s = 0, bf16_all_flop_per_s = 0;
};

struct Clock {
  double resolution_s = 0;  // smallest step between two readings
  double call_s = 0;        // of one reading
};

struct Steadiness {
  int chunks = 0;             // equal pieces of work, a few milliseconds each, one after the other
  double spread_percent = 0;  // (90th percentile - median) / median of their times
  double worst_percent = 0;   // (slowest - median) / median
};

enum class Effort { kThorough, kQuick };  // a few seconds; about half a second and no single-thread rates

Ceilings measure_ceilings(int threads, Effort effort = Effort::kThorough);
// The larger of each rate: what a machine reached once it can reach.
Ceilings highest(const Ceilings& a, const Ceilings& b);

nlohmann::ordered_json ceilings_to_json(const Ceilings& ceilings);

Clock measure_clock();
Steadiness measure_steadiness();  // about half a second

// Values per second that one core converts from one element type to another, operands in its cache: the best of a quarter second.
double measure_conversion(const cpu::Micro& micro, DType from, DType to);

}  // namespace crossover
