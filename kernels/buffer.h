// Owning memory: not copyable; moved-from is empty.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <new>
#include <utility>

namespace crossover {

// Where memory comes from: the host's (below) or a backend's (Ops::allocate, Ops::release).
struct MemorySource {
  std::byte* (*allocate)(std::size_t bytes);  // uninitialised, at least 64-byte aligned
  void (*release)(std::byte* memory, std::size_t bytes);
};

namespace host {

inline constexpr std::size_t kAlignment = 64, kHugePage = std::size_t{2} << 20;

inline std::align_val_t alignment(std::size_t bytes) { return std::align_val_t{bytes >= kHugePage ? kHugePage : kAlignment}; }

inline std::byte* allocate(std::size_t bytes) {
  auto* memory = static_cast<std::byte*>(::operator new(bytes, alignment(bytes)));
  // Rows of activations lie pages apart, states and caches are swept: fewer, larger pages count. Only a wish.
  if (bytes >= kHugePage) (void)::madvise(memory, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
  return memory;
}

inline void release(std::byte* memory, std::size_t bytes) { ::operator delete(memory, alignment(bytes)); }

inline constexpr MemorySource kMemory{allocate, release};

}  // namespace host

class Buffer {
 public:
  Buffer() = default;
  Buffer(std::size_t bytes, const MemorySource& from)  // uninitialised
      : source_(from), data_(bytes ? from.allocate(bytes) : nullptr), size_(bytes) {}
  Buffer(Buffer&& other) noexcept
      : source_(other.source_), data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(source_, other.source_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~Buffer() { if (data_) source_.release(data_, size_); }

  std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }

 private:
  MemorySource source_ = host::kMemory;
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

class HostBuffer : public Buffer {
 public:
  static constexpr std::size_t kAlignment = host::kAlignment;

  HostBuffer() = default;
  explicit HostBuffer(std::size_t bytes) : Buffer(bytes, host::kMemory) {}
};

}  // namespace crossover
