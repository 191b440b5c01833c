// What a checkpoint is made of, so that a file made from it can be told to be still of it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "engine/checkpoint/source.h"
#include "engine/load/cache/hash.h"
#include "kernels/thread_pool.h"

namespace crossover {

struct SourceFileState {
  std::string name;  // without its folder
  std::uint64_t bytes = 0;
  std::int64_t mtime_ns = 0, ctime_ns = 0;
  std::uint64_t header_hash = 0;  // of the safetensors or GGUF header; of all of a small text file

  bool operator==(const SourceFileState&) const = default;
  bool same_times(const SourceFileState& other) const {
    return mtime_ns == other.mtime_ns && ctime_ns == other.ctime_ns;
  }
};

struct SourceIdentity {
  std::filesystem::path model;   // the directory or .gguf file, absolute
  std::vector<SourceFileState> files;  // weights, then what else goes into a GGUF file: configuration, tokenizer

  std::filesystem::path path_of(std::size_t file) const;
  bool operator==(const SourceIdentity&) const = default;
};

// Reads headers and small files. std::runtime_error when a file cannot be read.
SourceIdentity identify(const Source& source);

// Of everything in a file: the XXH3-128 of the XXH3-128 of its pieces of 1 MiB, so that pieces can be hashed in any order by
// several threads. std::runtime_error when the file cannot be read or has another size.
Hash128 content_hash(const std::filesystem::path& path, std::uint64_t bytes, ThreadPool& pool);

}  // namespace crossover
