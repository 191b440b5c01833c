// The two times that no load on a machine goes below: reading its bytes, and quantizing its weights. And what the load of the whole
// model would take, which is derived and never measured.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "bench/sample.h"

namespace crossover {

// Of this machine, measured right before the plan.
struct LoadRates {
  std::optional<double> cold_read_bytes_per_s, warm_read_bytes_per_s;  // of the checkpoint's disk; of the page cache; all threads
  std::optional<double> quantize_values_per_s;  // to the type of the weights, operands in the cache, one core
  int cores = 1;
};

// A model of the same shapes: what of it is stored and what of it is quantized.
struct ModelSize {
  std::int64_t layers = 0, vocab = 0;
  double stored_bytes = 0, quantized_values = 0;
};

struct WholeModel {
  std::string preset;
  ModelSize size;
  std::optional<double> total_s, read_floor_s, quantize_floor_s;  // those of the run times the ratio of the sizes
};

struct LoadFloors {
  double total_s = 0;  // median of load.total_s
  std::optional<double> bytes_read, read_bytes_per_s, read_floor_s;  // from a cold page cache no more than the files hold
  std::optional<double> quantized_values, quantize_values_per_s, quantize_floor_s;  // the rate of all threads that have a core
  // What no floor holds: laying weights out for the kernels, and the system's handing out of the memory they stay in; mean over the
  // ranks, medians. The rest of the load is the median of what each sample has without them.
  std::optional<double> pack_s, first_touch_s, rest_s;
  std::optional<double> busy_share;                     // of the workers' time, not waiting
  std::optional<double> peak_memory_bytes, held_bytes;  // of the process; of weights, sequence state and read buffers
  std::optional<WholeModel> whole;

  std::optional<double> floor_s() const;  // the larger of the two
  std::optional<double> ratio() const;       // total_s / floor_s
  std::optional<double> rest_ratio() const;  // rest_s / floor_s
};

// Of the good samples of one arm of one cell. `workload` is that arm's (JSON). Absent where no sample has load.total_s; a floor is
// absent where its bytes or values or its rate is not known, and where the page cache was neither cold nor warm.
std::optional<LoadFloors> load_floors(const std::vector<const Sample*>& samples, const std::string& workload, const LoadRates& rates);

// What a synthetic model of the workload holds, as made and with nothing cut; absent for a model given by its path.
std::optional<ModelSize> made_size(const std::string& workload);
std::optional<ModelSize> whole_size(const std::string& workload);

nlohmann::json floors_to_json(const LoadFloors& floors);

}  // namespace crossover
