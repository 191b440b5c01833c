// Writes a quantized cache file while a model is loaded from its source. A load never fails for it: whatever goes wrong turns
// the writer off and is remembered as a sentence.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "engine/checkpoint/source.h"
#include "engine/load/cache/quantized_cache.h"
#include "kernels/thread_pool.h"

namespace crossover {

class CacheWriter {
 public:
  // Reserves the file that `lookup` (not a hit) names, in a folder that exists. Off at once when another process writes it.
  // Temporary files that killed writers left in the folder are removed.
  CacheWriter(const Source& source, const CacheLookup& lookup);
  ~CacheWriter();  // removes what is unfinished
  CacheWriter(const CacheWriter&) = delete;
  CacheWriter& operator=(const CacheWriter&) = delete;

  bool on() const;              // whether what is put is still kept
  std::string trouble() const;  // why it is off; empty when nothing went wrong

  // A block of tensor `tensor` (index into Source::tensors, in target_type): rows first_row .. first_row+rows-1 (expert-major), of
  // each the columns of `columns` (whole blocks; empty: all), one after another. Every block is put once, by any thread in any
  // order. std::invalid_argument when it is outside the tensor.
  void put(std::size_t tensor, std::int64_t first_row, std::int64_t rows, std::span<const IndexRange> columns,
           const std::byte* bytes);

  // After the last put: hashes the content of the source, flushes, gives the file its name and removes those it replaces. Not
  // done when the source changed meanwhile or a block is missing. Returns whether there is a file now.
  bool finish(ThreadPool& pool);

  std::uint64_t file_bytes() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
  const CacheLookup lookup_;
};

}  // namespace crossover
