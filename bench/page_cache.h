// The page cache as a controlled variable: evict or read files, and prove it by residency.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

namespace crossover {

struct Residency {
  std::int64_t bytes_total = 0, bytes_resident = 0;
  double fraction() const { return bytes_total ? static_cast<double>(bytes_resident) / static_cast<double>(bytes_total) : 0.0; }
};

inline constexpr double kColdFraction = 0.005;  // at most this much resident
inline constexpr double kWarmFraction = 0.995;  // at least this much

// By mincore on a mapping. std::runtime_error where it cannot be known: a file that is missing or empty of permission (mincore tells
// only owners and writers), a file system that lives in memory (tmpfs, ramfs) or stacks on another (overlayfs).
Residency residency(const std::vector<std::filesystem::path>& files);

// fsync, drop the cached pages of each file, verify <= kColdFraction (with a few tries); std::runtime_error otherwise.
Residency make_cold(const std::vector<std::filesystem::path>& files);

// Reads each file, verifies >= kWarmFraction; std::runtime_error otherwise (too little memory).
Residency make_warm(const std::vector<std::filesystem::path>& files);

struct ReadRates {
  std::optional<double> cold_bytes_per_s, warm_bytes_per_s;
};

// Plain sequential reads by `threads` threads, each in its own part of the file, for at most about half a second: out of an evicted
// page cache (absent where the file system cannot evict), then the same bytes again. Absent for an empty file.
ReadRates measure_reads(const std::filesystem::path& file, int threads);

// Bytes per second of a read that found nothing in the page cache: what "cold" means on this machine (a guest's host may cache).
double uncached_read_bytes_per_s(const std::filesystem::path& file);

}  // namespace crossover
