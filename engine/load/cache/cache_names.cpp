#include "engine/load/cache/cache_names.h"

#include <algorithm>

namespace crossover {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxModelBytes = 80;
constexpr std::size_t kDigits = 16;

std::string plain_name(const fs::path& model) {
  std::string text = (model.extension() == ".gguf" ? model.stem() : model.filename()).string();
  for (char& c : text)
    if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') && c != '.' && c != '_') c = '-';
  if (text.empty() || text[0] == '.' || text[0] == '-') text.insert(0, "model");
  return text.substr(0, kMaxModelBytes);
}

bool has_cache_name(const std::string& name, std::string_view suffix) {
  if (!name.ends_with(suffix) || name.size() < kDigits + 1 + suffix.size()) return false;
  const std::size_t digits = name.size() - suffix.size() - kDigits;
  return name[digits - 1] == '-' &&
         name.substr(digits, kDigits).find_first_not_of("0123456789abcdef") == std::string::npos;
}

}  // namespace

std::string cache_prefix(const CacheKey& key) { return plain_name(key.source.model) + "-" + key.type + "-"; }

std::string cache_name(const CacheKey& key) { return cache_prefix(key) + key.digits() + std::string(kCacheSuffix); }

std::vector<fs::path> find_cache_names(const fs::path& folder, std::string_view prefix, std::string_view suffix) {
  std::vector<fs::path> found;
  std::error_code failed;
  for (auto it = fs::directory_iterator(folder, failed); !failed && it != fs::directory_iterator(); it.increment(failed)) {
    const std::string name = it->path().filename().string();
    if (name.starts_with(prefix) && has_cache_name(name, suffix)) found.push_back(it->path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace crossover
