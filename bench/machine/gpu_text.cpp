#include "bench/machine/gpu_text.h"

#include <fmt/format.h>

#include <utility>
#include <vector>

namespace crossover {

std::string capability_text(int compute_capability) { return fmt::format("{}.{}", compute_capability / 10, compute_capability % 10); }

std::string gpu_text(const cuda::DriverFacts& facts) {
  std::vector<std::pair<std::string, int>> kinds;  // in the driver's order
  for (const cuda::GpuFacts& gpu : facts.gpus) {
    const std::string kind = fmt::format("{}, compute capability {}, {:.1f} GiB, {} multiprocessors", gpu.name, capability_text(gpu.compute_capability),
                                         static_cast<double>(gpu.memory_bytes) / (1 << 30), gpu.multiprocessors);
    if (kinds.empty() || kinds.back().first != kind) kinds.emplace_back(kind, 1);
    else ++kinds.back().second;
  }
  if (kinds.empty()) return "";
  std::string text;
  for (const auto& [kind, count] : kinds) text += (text.empty() ? "" : "; ") + (count > 1 ? fmt::format("{} x ", count) : "") + kind;
  text += "; driver";
  if (!facts.release.empty()) text += " " + facts.release + ",";
  return text + " CUDA " + facts.cuda;
}

}  // namespace crossover
