// Files of random bytes, items that want parts of them in every way, and workers that compare.
#pragma once

#include <algorithm>
#include <array>
#include <mutex>
#include <thread>

#include "engine/load/fetch/fetch.h"
#include "engine/load/fetch/fetch_plan.h"
#include "engine/tests/checkpoint_files.h"

namespace crossover::test {

using Bytes = std::vector<std::byte>;

inline constexpr std::int64_t kKiB = 1024, kMiB = 1024 * kKiB;

// Files of random bytes, as a source.
struct RandomFiles {
  explicit RandomFiles(const std::vector<std::size_t>& sizes, std::uint64_t seed = 1) {
    std::mt19937_64 random(seed);
    for (const std::size_t size : sizes) {
      Bytes& content = contents.emplace_back(size);
      for (std::byte& byte : content) byte = static_cast<std::byte>(random());
      source.files.push_back(folder / ("file" + std::to_string(contents.size())));
      source.file_bytes.push_back(size);
    }
    write();
    tensor.name = "blk.7.ffn_up.weight";
    tensor.stored_as = "model.layers.7.up";
  }

  void write() const {
    for (std::size_t i = 0; i < contents.size(); ++i)
      write_bytes(source.files[i], std::string(reinterpret_cast<const char*>(contents[i].data()), contents[i].size()));
  }
  Bytes bytes(const Extent& extent) const {
    const auto begin = contents[static_cast<std::size_t>(extent.file)].begin() + static_cast<std::ptrdiff_t>(extent.offset);
    return {begin, begin + static_cast<std::ptrdiff_t>(extent.bytes)};
  }
  // Items of `bytes` bytes that cover file 0.
  std::vector<FetchItem> in_pieces(std::uint64_t bytes) const {
    std::vector<FetchItem> items;
    for (std::uint64_t at = 0; at < source.file_bytes[0]; at += bytes)
      items.push_back({&tensor, {{0, at, std::min(bytes, source.file_bytes[0] - at)}}});
    return items;
  }

  TempFolder folder;
  Source source;
  SourceTensor tensor{};
  std::vector<Bytes> contents;
};

inline std::vector<FetchItem> random_items(const RandomFiles& files, std::size_t count, std::uint64_t most_bytes,
                                           std::mt19937_64& random) {
  std::vector<FetchItem> items;
  for (std::size_t i = 0; i < count; ++i) {
    FetchItem& item = items.emplace_back(FetchItem{&files.tensor, {}});
    const auto file = static_cast<std::int32_t>(random() % files.contents.size());
    const std::uint64_t size = files.contents[static_cast<std::size_t>(file)].size();
    std::uint64_t at = random() % (size + 1);
    switch (random() % 4) {
      case 0:  // one stretch
        item.extents.push_back({file, at, std::min(size - at, random() % most_bytes)});
        break;
      case 1:  // rows with a stride, as a column shard has them
        for (std::uint64_t rows = random() % 50, bytes = 1 + random() % 3000, stride = bytes + random() % 20000; rows-- > 0; at += stride)
          if (at <= size) item.extents.push_back({file, at, std::min(size - at, bytes)});
        break;
      case 2:  // anywhere, in no order, perhaps overlapping or empty
        for (std::uint64_t pieces = random() % 8; pieces-- > 0; at = random() % (size + 1))
          item.extents.push_back({file, at, std::min(size - at, random() % 2 ? random() % 70000 : 0)});
        break;
      default:  // the last byte
        if (size > 0) item.extents.push_back({file, size - 1, 1});
    }
  }
  return items;
}

inline std::int64_t largest_need(const std::vector<FetchItem>& items) {
  std::uint64_t largest = 0;
  for (const FetchItem& item : items) largest = std::max(largest, plan_reads(item.extents, {4096, 64 * kKiB, 2 * kMiB}).staging_bytes);
  return static_cast<std::int64_t>(largest);
}

inline std::string name_of(ReadMode mode) {
  constexpr std::array kNames{"map", "read", "direct", "uring"};
  return kNames[static_cast<std::size_t>(mode)];
}

// Null, with the reason in `refusal`, where the machine does not have the mode.
inline std::unique_ptr<Fetcher> make_fetcher(const SourceFiles& files, std::vector<FetchItem> items, const FetchOptions& options,
                                             std::string& refusal) {
  try {
    return std::make_unique<Fetcher>(files, std::move(items), options);
  } catch (const std::runtime_error& error) {
    refusal = error.what();
    const bool past_the_cache = options.mode == ReadMode::kDirect || options.mode == ReadMode::kUring;
    if (!past_the_cache || refusal.find("pread") == std::string::npos) throw;
    return nullptr;
  }
}

#define FETCHER_OR_SKIP(name, ...)                                \
  std::string refusal_of_##name;                                  \
  const auto name = make_fetcher(__VA_ARGS__, refusal_of_##name); \
  if (!name) GTEST_SKIP() << refusal_of_##name

// Workers that claim items in ascending order, compare them with `files` (null: do not touch them) and let go of them. Returns the
// first error.
inline std::string consume(Fetcher& fetcher, const RandomFiles* files, const std::vector<FetchItem>& items, std::size_t workers,
                           std::vector<Trace>* traces = nullptr) {
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  std::string failure;
  std::vector<Trace> own(workers);
  const auto work = [&](std::size_t worker) {
    for (std::size_t i; (i = next.fetch_add(1)) < items.size();) try {
        const std::span<const std::byte* const> at = fetcher.acquire(i, &own[worker]);
        const std::vector<Extent>& extents = items[i].extents;
        std::string wrong = at.size() == extents.size() ? "" : "another number of extents";
        for (std::size_t e = 0; files && wrong.empty() && e < extents.size(); ++e)
          if (Bytes(at[e], at[e] + extents[e].bytes) != files->bytes(extents[e]))
            wrong = "item " + std::to_string(i) + " extent " + std::to_string(e) + " has other bytes";
        fetcher.release(i);
        if (!wrong.empty()) throw std::logic_error(wrong);
      } catch (const std::exception& error) {
        const std::scoped_lock lock(mutex);
        if (failure.empty()) failure = error.what();
        fetcher.cancel(std::make_exception_ptr(std::runtime_error("another worker failed")));
        return;
      }
  };
  std::vector<std::thread> threads;
  for (std::size_t w = 1; w < workers; ++w) threads.emplace_back(work, w);
  work(0);
  for (std::thread& thread : threads) thread.join();
  if (traces) *traces = own;
  return failure;
}

using Param = std::tuple<ReadMode, bool>;

class Fetch : public testing::TestWithParam<Param> {
 protected:
  ReadMode mode() const { return std::get<0>(GetParam()); }
  FetchOptions options(std::int64_t buffer_bytes, int threads = 2) const {
    return {mode(), std::get<1>(GetParam()), buffer_bytes, threads};
  }
};

inline std::string title(const testing::TestParamInfo<Param>& info) {
  return name_of(std::get<0>(info.param)) + (std::get<1>(info.param) ? "_ahead" : "_here");
}

inline constexpr std::array kModes{ReadMode::kMap, ReadMode::kRead, ReadMode::kDirect, ReadMode::kUring};
inline auto from_mode(std::size_t first) {
  return testing::Combine(testing::ValuesIn(kModes.begin() + first, kModes.end()), testing::Bool());
}

}  // namespace crossover::test
