// The post-quantization cache: what in-situ quantization made of a checkpoint, kept as a GGUF file that any engine opens and
// any number of ranks load from. A file is found by name (model, type and a hash of what it was made from), and used only
// when it is whole and still of this source.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "engine/checkpoint/source.h"
#include "engine/load/cache/cache_header.h"
#include "kernels/thread_pool.h"

namespace crossover {

enum class CacheState : std::uint8_t {
  kHit,
  kNone,     // never made, or removed
  kStale,    // there is one of this model, made from other content or by another quantizer
  kDamaged,  // there is one, but its header is not what was written
};
const char* name(CacheState state);  // "hit"

struct CacheLookup {
  CacheState state = CacheState::kNone;
  std::filesystem::path file;  // what to load from, or where a new one is to be written
  std::string sentence;        // what was found and why; for people
  CacheKey key;                // of the source as it is now; no files when it could not be identified
  std::shared_ptr<const CacheHeader> header;        // of a hit
  std::vector<std::filesystem::path> outdated;      // of this model and type; removed when a new file is published
};

// Looks in `folder` for what `source` is as `type`. Reads headers only, unless a source file has other times than recorded: then
// its content is hashed by `pool` and, when it is the same, the new times are stored. Never throws for what it finds.
CacheLookup find_quantized(const Source& source, DType type, const std::filesystem::path& folder, ThreadPool& pool);

// The tensors of a hit with the configuration and tokenizer of `source`. std::runtime_error when they do not fit together.
Source open_quantized(const CacheLookup& hit, const Source& source);

// After a piece of a hit turned out to be damaged: removes the file and makes the lookup one that a new file is written for.
void discard(CacheLookup& lookup, const std::string& why);

// For the user's list of what is there.
struct CachedModel {
  std::filesystem::path file;
  std::uint64_t bytes = 0;
  std::string state;  // "good", "stale: ...", "damaged: ...", "abandoned", "being written"
  std::string type;   // as far as the header can be read
  std::filesystem::path source;
};
// Cache files in `folder`, by name; other files are left out.
std::vector<CachedModel> list_quantized(const std::filesystem::path& folder);

}  // namespace crossover
