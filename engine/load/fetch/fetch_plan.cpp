#include "engine/load/fetch/fetch_plan.h"

#include <algorithm>
#include <numeric>

namespace crossover {
namespace {

constexpr std::uint64_t kCacheLine = 64, kStagingUnit = 4096;

// A stretch of one file that covers one or more extents.
struct Run {
  std::int32_t file;
  std::uint64_t begin, end, to;
};

void cut(const Run& run, const ReadRules& rules, std::vector<ReadRequest>& requests) {
  const std::uint64_t end = round_up(run.end, rules.alignment);
  for (std::uint64_t at = run.begin; at < end; at += rules.request_bytes) {
    const std::uint64_t bytes = std::min(rules.request_bytes, end - at);
    requests.push_back({run.file, at, bytes, std::min(bytes, run.end - at), run.to + (at - run.begin)});
  }
}

}  // namespace

ReadPlan plan_reads(std::span<const Extent> extents, const ReadRules& rules) {
  ReadPlan plan;
  plan.extent_at.assign(extents.size(), 0);
  std::vector<std::size_t> order(extents.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  const auto before = [&](std::size_t a, std::size_t b) {
    return extents[a].file != extents[b].file ? extents[a].file < extents[b].file : extents[a].offset < extents[b].offset;
  };
  if (!std::is_sorted(order.begin(), order.end(), before)) std::sort(order.begin(), order.end(), before);
  Run run{-1, 0, 0, 0};
  std::uint64_t used = 0;
  const auto finish = [&] {
    if (run.file < 0) return;
    cut(run, rules, plan.requests);
    used = run.to + round_up(run.end, rules.alignment) - run.begin;
  };
  for (const std::size_t i : order) {
    const Extent& extent = extents[i];
    if (extent.bytes == 0) continue;
    if (extent.file != run.file || extent.offset > run.end + rules.gap_bytes) {
      finish();
      const std::uint64_t begin = round_down(extent.offset, rules.alignment);
      run = {extent.file, begin, begin, round_up(used, std::max(kCacheLine, rules.alignment)) + begin % kCacheLine};
    }
    run.end = std::max(run.end, extent.offset + extent.bytes);
    plan.extent_at[i] = run.to + (extent.offset - run.begin);
  }
  finish();
  plan.staging_bytes = round_up(used, std::max(kStagingUnit, rules.alignment));
  return plan;
}

}  // namespace crossover
