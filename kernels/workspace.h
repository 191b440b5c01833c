// Scratch memory of one rank: named blocks that grow on first use and are kept, so a steady state allocates nothing.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstring>
#include <functional>
#include <map>
#include <utility>
#include <string_view>

#include "kernels/buffer.h"

namespace crossover {

class Workspace {
 public:
  Workspace() = default;
  explicit Workspace(const MemorySource& source) : source_(source) {}

  // Uninitialised, at least 64-byte aligned; valid until the next call with the same name. Not for concurrent calls: an operation asks
  // for everything it needs, per-worker parts included, before it goes parallel.
  std::byte* bytes(std::string_view name, std::size_t size) {
    auto it = blocks_.find(name);
    if (it == blocks_.end()) it = blocks_.emplace(name, Buffer()).first;
    if (it->second.size() < size) {
      if (it->second.size() > 0 && before_release_) before_release_();
      held_bytes_ -= it->second.size();
      it->second = Buffer();  // before the larger one is asked for
      it->second = Buffer(with_reserve(size), source_);
      held_bytes_ += it->second.size();
      if (touches_) std::memset(it->second.data(), 0, it->second.size());
    }
    return it->second.data();
  }
  float* floats(std::string_view name, std::size_t count) { return reinterpret_cast<float*>(bytes(name, count * sizeof(float))); }

  std::size_t held_bytes() const { return held_bytes_; }

  // Told before a block goes whose bytes somebody was given: for work that was asked for with them and waits.
  void before_release(std::function<void()> told) { before_release_ = std::move(told); }

  // From now on new memory is zeroed, so that the system has given its pages before they are used. Host memory only.
  void touch(bool touches) { touches_ = touches; }

 private:
  // In steps of a tenth or so: sizes that depend on the tokens (how many rows an expert gets) soon fit.
  static std::size_t with_reserve(std::size_t size) {
    const std::size_t step = std::max<std::size_t>(64, std::bit_floor(size) / 8);
    return (size + step - 1) / step * step;
  }

  MemorySource source_ = host::kMemory;
  std::map<std::string_view, Buffer> blocks_;  // names are string literals
  std::size_t held_bytes_ = 0;
  bool touches_ = false;
  std::function<void()> before_release_;
};

}  // namespace crossover
