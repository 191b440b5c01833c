// Requests cover their extents, and staging memory is lent once.
#include "engine/load/fetch/fetch_plan.h"

#include <gtest/gtest.h>

#include <random>
#include <utility>

#include "engine/load/fetch/staging.h"

namespace crossover::test {
namespace {

TEST(ReadPlans, JoinNeighboursAndAlignOutward) {
  const std::vector<Extent> rows{{0, 10000, 100}, {0, 20000, 100}, {0, 90000, 100}, {1, 90100, 1}};
  const ReadPlan plan = plan_reads(rows, {4096, 10000, 1 << 20});
  ASSERT_EQ(plan.requests.size(), 3u);
  EXPECT_EQ(plan.requests[0].offset, 8192u);
  EXPECT_EQ(plan.requests[0].bytes, 12288u);
  EXPECT_EQ(plan.requests[0].needed_bytes, 20100u - 8192u);
  EXPECT_EQ(plan.requests[1].offset, 86016u);
  EXPECT_EQ(plan.requests[2].file, 1);
  EXPECT_EQ(plan.extent_at[1] - plan.extent_at[0], 10000u);
  EXPECT_EQ(plan.requests[1].bytes, 4096u);
  EXPECT_EQ(plan.staging_bytes, 12288u + 4096u + 4096u);
}

TEST(ReadPlans, KeepTheOffsetModulo64) {
  const std::vector<Extent> extents{{0, 7, 1}, {0, 1000003, 2}, {1, 63, 2}};
  const ReadPlan plan = plan_reads(extents, {1, 0, 1 << 20});
  for (std::size_t i = 0; i < extents.size(); ++i) EXPECT_EQ(plan.extent_at[i] % 64, extents[i].offset % 64);
}

TEST(Staging, LendsEveryByteOnceAndComesBackWhole) {
  constexpr std::uint64_t kUnits = 64, kUnit = 4096;
  Staging staging(kUnits * kUnit);
  std::mt19937_64 random(3);
  std::vector<std::pair<std::byte*, std::uint64_t>> lent;
  for (int i = 0; i < 2000; ++i) {
    if (random() % 2 && !lent.empty()) {
      std::swap(lent[random() % lent.size()], lent.back());
      staging.give_back(lent.back().first);
      lent.pop_back();
      continue;
    }
    const std::uint64_t bytes = (1 + random() % 20) * kUnit;
    std::byte* at = staging.take(bytes);
    if (!at) continue;
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(at) % kUnit, 0u);
    for (const auto& [other, other_bytes] : lent) ASSERT_TRUE(at + bytes <= other || other + other_bytes <= at);
    lent.emplace_back(at, bytes);
  }
  for (const auto& [at, bytes] : lent) staging.give_back(at);
  EXPECT_NE(staging.take(kUnits * kUnit), nullptr);
}

}  // namespace
}  // namespace crossover::test
