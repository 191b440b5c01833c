// Launches that were asked for, each with its arguments by value: what they need to be started later, compared, and made into a graph. Host code
// without a CUDA header; a list that is filled and cleared again and again soon allocates nothing.
#pragma once

#include <array>
#include <cstddef>
#include <cstring>
#include <type_traits>
#include <vector>

namespace crossover::cuda {

struct Launch {
  const char* name = "";          // for messages
  const void* kernel = nullptr;   // the __global__ function
  std::array<unsigned, 3> grid{}, block{};
  std::size_t shared_bytes = 0;   // dynamic
  void (*call)(const void* kernel, void* const* arguments) = nullptr;  // emulation only: what one thread of it does

  bool operator==(const Launch&) const = default;
};

class LaunchList {
 public:
  template <class... A>
  void add(const Launch& launch, const A&... arguments) {
    static_assert((std::is_trivially_copyable_v<A> && ...), "a kernel's arguments are copied as bytes");
    static_assert(((alignof(A) <= kAlignment) && ...));
    begin(launch);
    (keep(&arguments, sizeof arguments), ...);
  }
  void add(const LaunchList& from, std::size_t index) {
    const Entry& entry = from.entries_[index];
    begin(entry.launch);
    for (std::size_t i = entry.first; i < from.last(index); ++i) keep(from.bytes_.data() + from.arguments_[i].at, from.arguments_[i].bytes);
  }
  void clear() { entries_.clear(), arguments_.clear(), bytes_.clear(); }

  std::size_t size() const { return entries_.size(); }
  const Launch& operator[](std::size_t index) const { return entries_[index].launch; }

  // A pointer to each argument, as CUDA takes them; good until the list changes.
  void* const* arguments(std::size_t index) {
    pointers_.clear();
    for (std::size_t i = entries_[index].first; i < last(index); ++i) pointers_.push_back(bytes_.data() + arguments_[i].at);
    return pointers_.data();
  }

  // The same kernel over the same grid with the same bytes. What lies between the members of an argument may differ where they do not.
  bool same(std::size_t index, const LaunchList& other) const {
    const Entry &a = entries_[index], &b = other.entries_[index];
    const std::size_t count = last(index) - a.first;
    if (a.launch != b.launch || count != other.last(index) - b.first) return false;
    for (std::size_t i = 0; i < count; ++i) {
      const Argument &mine = arguments_[a.first + i], &its = other.arguments_[b.first + i];
      if (mine.bytes != its.bytes || std::memcmp(bytes_.data() + mine.at, other.bytes_.data() + its.at, mine.bytes) != 0) return false;
    }
    return true;
  }

 private:
  static constexpr std::size_t kAlignment = 16;  // of every argument in bytes_
  struct Entry {
    Launch launch;
    std::size_t first;  // of its arguments
  };
  struct Argument { std::size_t at, bytes; };

  std::size_t last(std::size_t index) const { return index + 1 < entries_.size() ? entries_[index + 1].first : arguments_.size(); }
  void begin(const Launch& launch) { entries_.push_back({launch, arguments_.size()}); }
  void keep(const void* argument, std::size_t bytes) {
    const std::size_t at = bytes_.size();
    bytes_.resize(at + (bytes + kAlignment - 1) / kAlignment * kAlignment);
    std::memcpy(bytes_.data() + at, argument, bytes);
    arguments_.push_back({at, bytes});
  }

  std::vector<Entry> entries_;
  std::vector<Argument> arguments_;
  std::vector<std::byte> bytes_;
  std::vector<void*> pointers_;
};

}  // namespace crossover::cuda
