#include "bench/machine/machine_id.h"

#include <unistd.h>

#include <fstream>

#include "bench/sha256.h"

namespace crossover {

std::string machine_id(const std::filesystem::path& root) {
  std::string known;
  std::getline(std::ifstream(root / "etc/machine-id"), known);
  if (known.empty()) {
    char host[256] = {};
    if (gethostname(host, sizeof host - 1) == 0) known = host;
  }
  std::ifstream processors(root / "proc/cpuinfo");
  int cores = 0;
  std::string model;
  for (std::string line; std::getline(processors, line);) {
    if (line.starts_with("processor")) ++cores;
    if (model.empty() && line.starts_with("model name")) model = line;
  }
  return sha256_text("crossover machine\n" + known + "\n" + model + "\n" + std::to_string(cores)).substr(0, 16);
}

}  // namespace crossover
