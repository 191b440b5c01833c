// Owning host memory: 64-byte aligned, not copyable; moved-from is empty. Device memory is owned by its backend.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <memory>
#include <new>
#include <utility>

namespace crossover {

class HostBuffer {
 public:
  static constexpr std::size_t kAlignment = 64;

  HostBuffer() = default;
  explicit HostBuffer(std::size_t bytes)  // uninitialised
      : data_(static_cast<std::byte*>(bytes ? ::operator new(bytes, alignment(bytes)) : nullptr)), size_(bytes) {
    // Rows of activations lie pages apart, states and caches are swept: fewer, larger pages count. Only a wish.
    if (bytes >= kHugePage) (void)::madvise(data_, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
  }
  HostBuffer(HostBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  HostBuffer& operator=(HostBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~HostBuffer() { if (data_) ::operator delete(data_, alignment(size_)); }

  std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }

 private:
  static constexpr std::size_t kHugePage = std::size_t{2} << 20;
  static std::align_val_t alignment(std::size_t bytes) { return std::align_val_t{bytes >= kHugePage ? kHugePage : kAlignment}; }

  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace crossover
