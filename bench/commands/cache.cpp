#include <fmt/format.h>
#include <unistd.h>

#include <map>
#include <memory>
#include <stdexcept>
#include <string>

#include "bench/cache_folder.h"
#include "bench/commands/commands.h"
#include "engine/knobs.h"
#include "engine/load/cache/quantized_cache.h"

namespace crossover::commands {

namespace {

std::filesystem::path resolved_folder() {
  Knobs knobs;
  knobs.set_from_environment(environ);
  return cache_folder(knobs.get("CROSSOVER_CACHE_DIR"));
}

// ": q6_k of /models/x, good" for a file that loading left here; nothing for prepared models.
std::string about(const std::map<std::filesystem::path, CachedModel>& quantized, const std::filesystem::path& path) {
  const auto at = quantized.find(path);
  if (at == quantized.end()) return "";
  const CachedModel& model = at->second;
  if (model.type.empty()) return ": " + model.state;
  return fmt::format(": {} of {}, {}", model.type, model.source.string(), model.state);
}

void list() {
  const std::filesystem::path folder = resolved_folder();
  std::map<std::filesystem::path, CachedModel> quantized;
  for (CachedModel& model : list_quantized(folder)) quantized.emplace(model.file, std::move(model));
  std::uintmax_t total_bytes = 0;
  for (const CacheEntry& entry : cache_entries(folder)) {
    fmt::print("{:>12}  {}{}\n", entry.bytes, entry.path.filename().string(), about(quantized, entry.path));
    total_bytes += entry.bytes;
  }
  fmt::print("{:>12}  bytes in {}\n", total_bytes, folder.string());
}

void clear() {
  const std::filesystem::path folder = resolved_folder();
  std::uintmax_t freed_bytes = 0;
  for (const CacheEntry& entry : clear_cache(folder)) freed_bytes += entry.bytes;
  fmt::print("{:>12}  bytes freed in {}\n", freed_bytes, folder.string());
}

}  // namespace

void add_cache(Command app, int&) {
  const Command cache = app.add_subcommand("cache", "Prepared models and quantized files");
  cache.footer("Example: CROSSOVER_CACHE_DIR=/data/crossover crossover cache list");
  cache.require_subcommand();
  cache.add_subcommand("list", "Every entry with its size in bytes; of quantized files also what they were made from and whether they still are").callback(list);
  cache.add_subcommand("clear", "Remove every entry that crossover made").callback(clear);
}

}  // namespace crossover::commands
