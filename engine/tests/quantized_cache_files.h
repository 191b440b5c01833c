// For the tests of the quantized cache: what a load puts, and a model with a folder for its cache.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

#include "engine/load/cache/cache_shares.h"
#include "engine/load/cache/cache_writer.h"
#include "engine/load/cache/piece_check.h"
#include "engine/load/cache/quantized_cache.h"
#include "engine/tests/checkpoint_files.h"
#include "kernels/formats/formats.h"

namespace crossover::test {

// Puts a block of a tensor as a load does: converted, then handed over.
inline void put_block(CacheWriter& writer, const SourceFiles& files, const Source& source, std::size_t tensor, DType to,
               std::int64_t first, std::int64_t rows, std::span<const IndexRange> columns) {
  std::int64_t width = source.tensors[tensor].shape[2];
  if (!columns.empty()) {
    width = 0;
    for (IndexRange range : columns) width += range.count;
  }
  std::vector<std::byte> out(static_cast<std::size_t>(rows * row_bytes(to, width)));
  const SourceTensor& from = source.tensors[tensor];
  std::vector<std::byte> stored(static_cast<std::size_t>(rows * row_bytes(from.dtype, width)));
  read_rows(files, from, first, rows, columns, stored.data());
  std::vector<float> values(static_cast<std::size_t>(rows * width));
  widen(from, stored.data(), rows * width, values.data());
  quantize_fn(to)(values.data(), out.data(), rows * width);
  writer.put(tensor, first, rows, columns, out.data());
}

// Everything that a rank puts, in pieces of a few rows, last tensor first for odd ranks.
inline void put_rank(CacheWriter& writer, const Source& source, const RankPlan& plan, const std::vector<bool>& puts, int rank) {
  const SourceFiles files(source, ReadMode::kRead);
  for (std::size_t n = 0; n < plan.tensors.size(); ++n) {
    const std::size_t i = rank % 2 == 0 ? n : plan.tensors.size() - 1 - n;
    const TensorShard& shard = plan.tensors[i];
    if (!puts[i]) continue;
    const SourceTensor& tensor = source.tensors[shard.tensor];
    for (std::int64_t expert = 0; expert < shard.shape[0]; ++expert)
      for (IndexRange run : shard.rows)
        for (std::int64_t done = 0; done < run.count; done += 37)
          put_block(writer, files, source, shard.tensor, shard.dtype, expert * tensor.shape[1] + run.first + done,
                    std::min<std::int64_t>(37, run.count - done), shard.columns);
  }
}

// Fills a writer as `ranks` ranks, one thread each, and one more for what they leave.
inline void put_all(CacheWriter& writer, const Source& source, DType type, int ranks) {
  const ShardPlan plan = make_shard_plan(source, type, ranks);
  const CacheShares shares = cache_shares(source, type, plan);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks; ++rank)
    threads.emplace_back([&, rank] {
      const auto at = static_cast<std::size_t>(rank);
      put_rank(writer, source, plan.ranks[at], shares.puts[at], rank);
    });
  threads.emplace_back([&] {
    const SourceFiles files(source, ReadMode::kRead);
    for (std::size_t tensor : shares.left) {
      const SourceTensor& t = source.tensors[tensor];
      put_block(writer, files, source, tensor, target_type(t, type), 0, t.shape[0] * t.shape[1], {});
    }
  });
  for (std::thread& thread : threads) thread.join();
}

class QuantizedCache : public testing::Test {
 protected:
  QuantizedCache() { fs::create_directories(cache()); }
  fs::path model() const { return folder_ / "My Model"; }
  fs::path cache() const { return folder_ / "cache"; }

  void make_model(SynthOptions options = tiny()) {
    write_synth(options, model());
    source_ = open_checkpoint(model());
  }
  CacheLookup find(DType type = DType::kQ6_K) {
    source_ = open_checkpoint(model());
    return find_quantized(source_, type, cache(), pool_);
  }
  // Makes the cache file; the sentence of the writer's trouble, or nothing.
  std::string make(int ranks = 2, DType type = DType::kQ6_K) {
    CacheWriter writer(source_, find(type));
    put_all(writer, source_, type, ranks);
    EXPECT_EQ(writer.finish(pool_), writer.trouble().empty());
    EXPECT_FALSE(writer.on());
    return writer.trouble();
  }
  std::vector<std::string> in_cache() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(cache())) names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
  }
  // Hashes everything that is in a hit.
  void check_data(const CacheLookup& hit) const {
    PieceCheck check(hit.header);
    const std::string bytes = read_bytes(hit.file);
    check.check(0, reinterpret_cast<const std::byte*>(bytes.data()) + check.data_offset(), check.pieces());
  }

  TempFolder folder_;
  Source source_;
  ThreadPool pool_{2};
};

}  // namespace crossover::test
