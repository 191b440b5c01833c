// Scratch memory of one rank: named blocks that grow on first use and are kept, so a steady state allocates nothing.
#pragma once

#include <cstddef>
#include <map>
#include <string_view>

#include "kernels/buffer.h"

namespace crossover {

class Workspace {
 public:
  // Uninitialised, 64-byte aligned; valid until the next call with the same name. Not for concurrent calls: an operation asks
  // for everything it needs, per-worker parts included, before it goes parallel.
  std::byte* bytes(std::string_view name, std::size_t size) {
    auto it = blocks_.find(name);
    if (it == blocks_.end()) it = blocks_.emplace(name, HostBuffer()).first;
    if (it->second.size() < size) it->second = HostBuffer(size);
    return it->second.data();
  }
  float* floats(std::string_view name, std::size_t count) { return reinterpret_cast<float*>(bytes(name, count * sizeof(float))); }

 private:
  std::map<std::string_view, HostBuffer> blocks_;  // names are string literals
};

}  // namespace crossover
