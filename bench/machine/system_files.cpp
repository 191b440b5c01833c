#include "bench/machine/system_files.h"

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <sstream>

namespace crossover {

std::string line_of(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::optional<double> number_of(const std::string& text) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (end == text.c_str() || !std::isfinite(value)) return std::nullopt;
  return value;
}

std::map<std::string, std::string> colon_lines(const std::filesystem::path& path) {
  std::map<std::string, std::string> values;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    const auto trim = [](std::string text) {
      text.erase(0, text.find_first_not_of(" \t"));
      text.erase(text.find_last_not_of(" \t\r") + 1);
      return text;
    };
    values.emplace(trim(line.substr(0, colon)), trim(line.substr(colon + 1)));
  }
  return values;
}

std::optional<double> keyed_number(const std::filesystem::path& path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);)
    if (line.starts_with(key + " ")) return number_of(line.substr(key.size() + 1));
  return std::nullopt;
}

std::optional<double> cgroup_quota_cores(const std::filesystem::path& root) {
  std::istringstream v2(line_of(root / "sys/fs/cgroup/cpu.max"));  // "max 100000" or "150000 100000"
  double quota = 0, period = 0;
  if (v2 >> quota >> period && quota > 0 && period > 0) return quota / period;
  const auto v1 = number_of(line_of(root / "sys/fs/cgroup/cpu/cpu.cfs_quota_us"));
  const auto v1_period = number_of(line_of(root / "sys/fs/cgroup/cpu/cpu.cfs_period_us"));
  if (v1 && v1_period && *v1 > 0 && *v1_period > 0) return *v1 / *v1_period;
  return std::nullopt;
}

std::string chosen_of(const std::string& line) {
  const std::size_t open = line.find('['), close = line.find(']');
  return open != std::string::npos && close != std::string::npos && open < close ? line.substr(open + 1, close - open - 1) : "";
}

}  // namespace crossover
