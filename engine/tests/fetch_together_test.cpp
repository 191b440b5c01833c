// Conversions that fetch what several of them want once.
#include "engine/load/fetch/fetch_together.h"

#include <gtest/gtest.h>

#include <barrier>
#include <thread>

#include "engine/tests/fetch_cases.h"

namespace crossover::test {
namespace {

constexpr std::uint64_t kRowBytes = 8 * 1024;

// Rows of a matrix from byte `begin` of each row on: a column shard.
std::vector<FetchItem> column_items(const SourceTensor& tensor, std::uint64_t at, std::uint64_t rows, std::uint64_t begin, std::uint64_t bytes, std::uint64_t rows_each) {
  std::vector<FetchItem> items;
  for (std::uint64_t row = 0; row < rows; row += rows_each) {
    FetchItem& item = items.emplace_back(FetchItem{&tensor, {}});
    for (std::uint64_t r = row; r < std::min(rows, row + rows_each); ++r) item.extents.push_back({0, at + r * kRowBytes + begin, bytes});
  }
  return items;
}

std::vector<FetchItem> row_items(const SourceTensor& tensor, std::uint64_t first, std::uint64_t end, std::uint64_t each) {
  std::vector<FetchItem> items;
  for (std::uint64_t at = first; at < end; at += each) items.push_back({&tensor, {{0, at, std::min(each, end - at)}}});
  return items;
}

std::vector<FetchItem> joined(std::vector<FetchItem> first, const std::vector<FetchItem>& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

std::string order_of(const FetchOrder& order, std::size_t parts) {
  std::string names(order.items.size(), '?');
  for (std::size_t p = 0; p < parts; ++p)
    for (const std::size_t item : order.item_of[p]) names[item] = static_cast<char>('a' + p);
  return names;
}

TEST(FetchOrder, GoesTensorByTensorWithEveryPartAsFarAsTheOthers) {
  const SourceTensor first{}, second{}, third{};
  // Halves of the first tensor, of the second only the one of a, thirds against halves of the last.
  const FetchOrder order = merge_items({joined(joined(row_items(first, 0, 400, 100), row_items(second, 800, 1000, 100)), row_items(third, 1000, 1600, 200)),
                                        joined(row_items(first, 400, 800, 100), row_items(third, 1600, 2200, 100))});
  EXPECT_EQ(order_of(order, 2), "abababab" "aa" "babbabbab");
  for (const auto& part : order.item_of) EXPECT_TRUE(std::is_sorted(part.begin(), part.end()));
}

TEST(FetchOrder, KeepsPartsThatWantNothing) {
  const SourceTensor tensor{};
  const FetchOrder order = merge_items({{}, row_items(tensor, 0, 300, 100), {}});
  EXPECT_EQ(order_of(order, 3), "bbb");
  EXPECT_TRUE(merge_items({{}, {}}).items.empty());
}

struct Outcome {
  std::vector<std::string> failures;
  std::int64_t bytes_read = 0, peak_buffer_bytes = 0;
  std::vector<std::int64_t> each;
};

Outcome fetch_together(const RandomFiles& random_files, const std::vector<std::vector<FetchItem>>& parts, const FetchOptions& options) {
  const SourceFiles files(random_files.source, options.mode);
  std::barrier meet(static_cast<std::ptrdiff_t>(parts.size()));
  FetchTogether together(parts.size(), [&] { meet.arrive_and_wait(); });
  Outcome outcome{std::vector<std::string>(parts.size()), 0, 0, std::vector<std::int64_t>(parts.size())};
  std::vector<std::thread> threads;
  for (std::size_t p = 0; p < parts.size(); ++p)
    threads.emplace_back([&, p] {
      together.join(p, files, parts[p], options);
      for (std::size_t i = 0; i < parts[p].size(); ++i) {
        const std::span<const std::byte* const> at = together.fetcher().acquire(together.item(p, i), nullptr);
        for (std::size_t e = 0; e < at.size(); ++e)
          if (Bytes(at[e], at[e] + parts[p][i].extents[e].bytes) != random_files.bytes(parts[p][i].extents[e])) outcome.failures[p] = "other bytes";
        together.fetcher().release(together.item(p, i));
      }
      together.leave(p);
      outcome.each[p] = together.bytes_read(p);
    });
  for (std::thread& thread : threads) thread.join();
  outcome.bytes_read = together.fetcher().bytes_read(), outcome.peak_buffer_bytes = together.fetcher().peak_buffer_bytes();
  return outcome;
}

TEST(FetchTogether, ReadsColumnShardsOnceHoweverTheyAreCut) {
  const RandomFiles random_files({8 * kMiB});
  const SourceTensor& tensor = random_files.tensor;
  constexpr std::uint64_t kRows = 8 * kMiB / kRowBytes;
  for (const ReadMode mode : {ReadMode::kRead, ReadMode::kMap})
    for (const std::uint64_t rows_each : {1, 7, 64, 200}) {
      const auto half = [&](std::uint64_t begin) { return column_items(tensor, 0, kRows, begin, kRowBytes / 2, rows_each); };
      const Outcome outcome = fetch_together(random_files, {half(0), half(kRowBytes / 2)}, {mode, true, 4 * kMiB, 2});
      EXPECT_EQ(outcome.failures, (std::vector<std::string>{"", ""}));
      // The last row of an item may have to be read again for the other half of it.
      EXPECT_LE(outcome.bytes_read, 8 * kMiB + static_cast<std::int64_t>(kRows / rows_each * kRowBytes)) << rows_each;
      EXPECT_LE(outcome.peak_buffer_bytes, 8 * kMiB);
      EXPECT_NEAR(static_cast<double>(outcome.each[0]), static_cast<double>(outcome.each[1]), 1.0);
      EXPECT_EQ(outcome.each[0] + outcome.each[1], outcome.bytes_read);
    }
}

// Far more of one tensor than the buffer holds: a part that had to wait for the other's half to be read would wait for ever, or alone.
TEST(FetchTogether, PartsOfALargeTensorGoOnSideBySide) {
  const RandomFiles random_files({16 * kMiB});
  const SourceTensor& tensor = random_files.tensor;
  const Outcome outcome = fetch_together(random_files, {row_items(tensor, 0, 8 * kMiB, 100000), row_items(tensor, 8 * kMiB, 16 * kMiB, 70000)},
                                         {ReadMode::kRead, true, 512 * kKiB, 1});
  EXPECT_EQ(outcome.failures, (std::vector<std::string>{"", ""}));
  EXPECT_EQ(outcome.bytes_read, 16 * kMiB);
}

TEST(FetchTogether, APartThatFailsEndsTheOthersWithItsOwnError) {
  struct Damage : std::runtime_error {
    using std::runtime_error::runtime_error;
  };
  const RandomFiles random_files({4 * kMiB});
  const SourceFiles files(random_files.source, ReadMode::kRead);
  std::barrier meet(2);
  FetchTogether together(2, [&] { meet.arrive_and_wait(); });
  const FetchOptions options{ReadMode::kRead, true, 256 * kKiB, 1};
  std::thread failing([&] {
    together.join(0, files, row_items(random_files.tensor, 0, 2 * kMiB, 64 * kKiB), options);
    together.fetcher().acquire(together.item(0, 0), nullptr);  // never released
    together.fetcher().cancel(std::make_exception_ptr(Damage("piece 3 is damaged")));
  });
  together.join(1, files, row_items(random_files.tensor, 2 * kMiB, 4 * kMiB, 64 * kKiB), options);
  EXPECT_THROW(
      for (std::size_t i = 0; i < 32; ++i) {
        together.fetcher().acquire(together.item(1, i), nullptr);
        together.fetcher().release(together.item(1, i));
      },
      Damage);
  failing.join();
}

}  // namespace
}  // namespace crossover::test
