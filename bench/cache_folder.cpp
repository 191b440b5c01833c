#include "bench/cache_folder.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <stdexcept>

namespace crossover {

namespace fs = std::filesystem;

fs::path cache_folder(const std::string& configured) {
  if (!configured.empty()) return configured;
  // The XDG rule: a relative value is to be ignored.
  if (const char* xdg = std::getenv("XDG_CACHE_HOME"); xdg && *xdg == '/') return fs::path(xdg) / "crossover";
  if (const char* home = std::getenv("HOME"); home && *home) return fs::path(home) / ".cache" / "crossover";
  throw std::runtime_error(
      "asked for the cache folder, but neither CROSSOVER_CACHE_DIR, XDG_CACHE_HOME nor HOME is set; set "
      "CROSSOVER_CACHE_DIR");
}

namespace {

std::uintmax_t bytes_below(const fs::path& path) {
  std::error_code failed;  // a file that vanishes while we look counts as nothing
  if (fs::is_symlink(path, failed)) return 0;
  if (fs::is_regular_file(path, failed)) {
    const std::uintmax_t bytes = fs::file_size(path, failed);
    return failed ? 0 : bytes;
  }
  std::uintmax_t sum = 0;
  for (auto it = fs::directory_iterator(path, failed); !failed && it != fs::directory_iterator(); it.increment(failed))
    sum += bytes_below(it->path());
  return sum;
}

constexpr const char* kTagName = "CACHEDIR.TAG";
// The first line is fixed by https://bford.info/cachedir/.
constexpr const char* kTag =
    "Signature: 8a477f597d28d172789f06886806bc55\n# Made by crossover: prepared models. Safe to delete.\n";

}  // namespace

void make_cache_folder(const fs::path& folder) {
  std::error_code failed;
  fs::create_directories(folder, failed);
  if (failed)
    throw std::runtime_error("cannot make the cache folder " + folder.string() + ": " + failed.message() +
                             "; set CROSSOVER_CACHE_DIR to a folder that can be written");
  if (!fs::is_empty(folder)) return;
  std::ofstream tag(folder / kTagName);
  tag << kTag;
  if (!tag.flush())
    throw std::runtime_error("cannot write in the cache folder " + folder.string() +
                             "; set CROSSOVER_CACHE_DIR to a folder that can be written");
}

fs::path quantized_folder(const Knobs& knobs) {
  if (knobs.get("CROSSOVER_QUANT_CACHE") != "folder") return {};
  const fs::path folder = cache_folder(knobs.get("CROSSOVER_CACHE_DIR"));
  try {
    make_cache_folder(folder);
  } catch (const std::exception&) {
    // The load finds the same and reports it beside its result.
  }
  return folder;
}

std::vector<CacheEntry> clear_cache(const fs::path& folder) {
  std::vector<CacheEntry> entries = cache_entries(folder);
  if (entries.empty()) return entries;
  std::ifstream tag(folder / kTagName);
  const std::string content((std::istreambuf_iterator<char>(tag)), std::istreambuf_iterator<char>());
  if (content != kTag)
    throw std::runtime_error("asked to clear the cache folder " + folder.string() +
                             ", but it has entries and no tag of crossover; remove by hand what is not wanted");
  for (const CacheEntry& entry : entries) fs::remove_all(entry.path);
  return entries;
}

std::vector<CacheEntry> cache_entries(const fs::path& folder) {
  std::vector<CacheEntry> entries;
  if (!fs::exists(folder)) return entries;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder))
    if (entry.path().filename() != kTagName) entries.push_back({entry.path(), bytes_below(entry.path())});
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.path < b.path; });
  return entries;
}

}  // namespace crossover
