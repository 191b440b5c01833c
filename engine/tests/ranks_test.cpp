#include "engine/ranks.h"

#include <gtest/gtest.h>

#include <atomic>
#include <numeric>
#include <stdexcept>

namespace crossover {
namespace {

TEST(RankGroup, AllReduceAddsInRankOrder) {
  for (int ranks : {1, 2, 3, 4}) {
    RankGroup group(ranks);
    group.comm().reserve(1000);
    for (std::size_t n : {1u, 3u, 7u, 1000u}) {
      std::vector<std::vector<float>> data(ranks, std::vector<float>(n));
      for (int r = 0; r < ranks; ++r)
        for (std::size_t i = 0; i < n; ++i) data[r][i] = 0.1f * static_cast<float>(r + 1) + static_cast<float>(i);
      std::vector<float> expected(n);
      for (std::size_t i = 0; i < n; ++i) {
        expected[i] = data[0][i];
        for (int r = 1; r < ranks; ++r) expected[i] += data[r][i];
      }
      group.run([&](int r) { group.comm().all_reduce(r, data[r]); });
      for (int r = 0; r < ranks; ++r) EXPECT_EQ(data[r], expected);
    }
  }
}

TEST(RankGroup, ManyRoundsBackToBack) {
  constexpr int kRanks = 4, kRounds = 2000;
  RankGroup group(kRanks);
  group.comm().reserve(8);
  std::atomic<int> wrong{0};
  group.run([&](int r) {
    std::vector<float> data(8);
    for (int round = 0; round < kRounds; ++round) {
      std::fill(data.begin(), data.end(), static_cast<float>(r + round));
      group.comm().all_reduce(r, data);
      const float expected = static_cast<float>(kRanks * round + kRanks * (kRanks - 1) / 2);
      for (float x : data) wrong += x != expected;
    }
  });
  EXPECT_EQ(wrong, 0);
}

TEST(RankGroup, AFailingRankReleasesTheOthersAndTheNextRoundWorks) {
  RankGroup group(3);
  group.comm().reserve(1);
  for (int failing = 0; failing < 3; ++failing) {
    try {
      group.run([&](int r) {
        if (r == failing) throw std::runtime_error("rank " + std::to_string(r) + " broke");
        std::vector<float> one(1, 1.0f);
        group.comm().all_reduce(r, one);
      });
      FAIL() << "the failure was lost";
    } catch (const std::runtime_error& error) {
      EXPECT_EQ(std::string(error.what()), "rank " + std::to_string(failing) + " broke");
    }
    std::vector<std::vector<float>> data(3, std::vector<float>(1, 1.0f));
    group.run([&](int r) { group.comm().all_reduce(r, data[r]); });
    EXPECT_EQ(data[2][0], 3.0f);
  }
}

TEST(RankGroup, RefusesMoreThanReserved) {
  RankGroup group(2);
  group.comm().reserve(1);
  EXPECT_THROW(group.run([&](int r) {
    std::vector<float> data(2);
    group.comm().all_reduce(r, data);
  }),
               std::invalid_argument);
}

}  // namespace
}  // namespace crossover
