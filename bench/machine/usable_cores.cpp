#include "bench/machine/usable_cores.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <string>

namespace crossover {

int usable_cores() {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  int cores = sched_getaffinity(0, sizeof mask, &mask) == 0 ? CPU_COUNT(&mask) : 1;
  std::ifstream file("/sys/fs/cgroup/cpu.max");  // "max 100000" or "150000 100000"
  std::string quota;
  double period_us = 0;
  if (file >> quota >> period_us && quota != "max" && period_us > 0)
    cores = std::min(cores, static_cast<int>(std::ceil(std::strtod(quota.c_str(), nullptr) / period_us)));
  return std::max(1, cores);
}

}  // namespace crossover
