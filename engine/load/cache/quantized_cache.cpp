#include "engine/load/cache/quantized_cache.h"

#include <fmt/format.h>

#include <stdexcept>

#include "engine/checkpoint/names.h"
#include "engine/checkpoint/output_file.h"
#include "engine/load/cache/cache_names.h"

namespace crossover {
namespace {

namespace fs = std::filesystem;

// Whether the contents are those that the file was made from although the times are others; says what was found.
bool same_contents(const CacheHeader& header, const CacheKey& key, ThreadPool& pool, std::string& sentence) {
  std::string touched;
  for (std::size_t i = 0; i < key.source.files.size(); ++i) {
    const SourceFileState& now = key.source.files[i];
    if (header.times_intact && now.same_times(header.key.source.files[i])) continue;
    if (content_hash(key.source.path_of(i), now.bytes, pool) != header.contents[i]) {
      sentence = fmt::format("{} has other content than when {} was made, though its size and header are the same",
                             now.name, header.file.string());
      return false;
    }
    touched += (touched.empty() ? "" : ", ") + now.name;
  }
  if (touched.empty()) return true;
  sentence = fmt::format("{} of {}: {}, but the content is the same (hashed again)", touched, key.source.model.string(),
                         header.times_intact ? "the times changed" : "the recorded times are damaged");
  try {
    store_times(header, key.source);
    sentence += "; the new times are stored";
  } catch (const std::exception& error) {
    sentence += fmt::format("; {}", error.what());
  }
  return true;
}

void look_at(CacheLookup& lookup, ThreadPool& pool) {
  std::shared_ptr<const CacheHeader> header;
  try {
    header = std::make_shared<const CacheHeader>(read_cache_header(lookup.file));
  } catch (const std::exception& error) {
    lookup.state = CacheState::kDamaged;
    lookup.sentence = error.what();
    return;
  }
  lookup.state = CacheState::kStale;
  lookup.sentence = header->difference(lookup.key);
  if (!lookup.sentence.empty()) {
    lookup.sentence = fmt::format("{} is out of date: {}", lookup.file.string(), lookup.sentence);
    return;
  }
  if (!same_contents(*header, lookup.key, pool, lookup.sentence)) return;
  lookup.state = CacheState::kHit;
  lookup.header = std::move(header);
  if (lookup.sentence.empty())
    lookup.sentence = fmt::format("{} is of {} as it is", lookup.file.string(), lookup.key.source.model.string());
}

// Files of this model and type under other keys.
void look_for_outdated(CacheLookup& lookup) {
  std::string why;
  for (const fs::path& file : find_cache_names(lookup.file.parent_path(), cache_prefix(lookup.key), kCacheSuffix)) {
    try {
      const CacheHeader header = read_cache_header(file);
      if (header.key.source.model != lookup.key.source.model || header.key.type != lookup.key.type) continue;
      why = fmt::format("{} is out of date: {}", file.string(), header.difference(lookup.key));
      lookup.outdated.push_back(file);
    } catch (const std::exception&) {
      continue;  // whose it was cannot be known
    }
  }
  if (lookup.outdated.empty()) return;
  lookup.state = CacheState::kStale;
  lookup.sentence = why;
}

}  // namespace

const char* name(CacheState state) {
  switch (state) {
    case CacheState::kHit:
      return "hit";
    case CacheState::kNone:
      return "none";
    case CacheState::kStale:
      return "stale";
    case CacheState::kDamaged:
      break;
  }
  return "damaged";
}

CacheLookup find_quantized(const Source& source, DType type, const fs::path& folder, ThreadPool& pool) {
  CacheLookup lookup;
  try {
    lookup.key = cache_key(source, type);
    lookup.file = folder / cache_name(lookup.key);
    if (fs::exists(lookup.file)) {
      look_at(lookup, pool);
      return lookup;
    }
    lookup.sentence = fmt::format("no quantized file of {} as {} in {}", lookup.key.source.model.string(),
                                  lookup.key.type, folder.string());
    look_for_outdated(lookup);
  } catch (const std::exception& error) {
    lookup = CacheLookup{};
    lookup.sentence = fmt::format("the cache is not used: {}", error.what());
  }
  return lookup;
}

Source open_quantized(const CacheLookup& hit, const Source& source) {
  Source cached;
  cached.gguf = true;
  cached.config = source.config;
  cached.tokenizer = source.tokenizer;
  cached.files = hit.header->gguf.stored.files;
  cached.file_bytes = hit.header->gguf.stored.file_bytes;
  cached.tensors = map_gguf_tensors(hit.header->gguf.stored, source.config);
  return cached;
}

void discard(CacheLookup& lookup, const std::string& why) {
  std::error_code ignored;
  fs::remove(lookup.file, ignored);
  lookup.state = CacheState::kDamaged;
  lookup.sentence = why;
  lookup.header = nullptr;
}

namespace {

// Whether a cache file is still of its source, by what can be had without hashing it.
std::string state_of(const CacheHeader& header) {
  try {
    const SourceIdentity& was = header.key.source;
    for (std::size_t i = 0; i < was.files.size(); ++i) {
      const fs::path path = was.path_of(i);
      std::error_code failed;
      const std::uintmax_t bytes = fs::file_size(path, failed);
      if (failed) return fmt::format("stale: {} is gone", path.string());
      if (bytes != was.files[i].bytes)
        return fmt::format("stale: {} had {} bytes, now it has {}", path.string(), was.files[i].bytes, bytes);
    }
  } catch (const std::exception& error) {
    return fmt::format("stale: {}", error.what());
  }
  if (header.quantizer != kQuantizerVersion)
    return fmt::format("stale: made by version {} of the quantizers, this is version {}", header.quantizer, kQuantizerVersion);
  return "good";
}

}  // namespace

std::vector<CachedModel> list_quantized(const fs::path& folder) {
  std::vector<CachedModel> models;
  for (const fs::path& file : find_cache_names(folder, "", kCacheSuffix)) {
    CachedModel model{file, 0, "", "", ""};
    std::error_code failed;
    model.bytes = fs::file_size(file, failed);
    try {
      const CacheHeader header = read_cache_header(file);
      model.type = header.key.type;
      model.source = header.key.source.model;
      model.state = state_of(header);
    } catch (const std::exception& error) {
      model.state = fmt::format("damaged: {}", error.what());
    }
    models.push_back(std::move(model));
  }
  for (const fs::path& file : find_cache_names(folder, "", kCachePartSuffix)) {
    std::error_code failed;
    models.push_back({file, fs::file_size(file, failed), is_abandoned(file) ? "abandoned" : "being written", "", ""});
  }
  return models;
}

}  // namespace crossover
