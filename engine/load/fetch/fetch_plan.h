// Ranges of files turned into the requests that bring them in.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/checkpoint/source_files.h"

namespace crossover {

struct ReadRequest {
  std::int32_t file;
  std::uint64_t offset, bytes;  // multiples of the alignment, so the end may lie beyond the end of the file
  std::uint64_t needed_bytes;   // from offset on: what has to arrive
  std::uint64_t to;             // where it belongs in the staging memory
};

struct ReadRules {
  std::uint64_t alignment;      // of offset and bytes; a power of two
  std::uint64_t gap_bytes;      // extents at most this far apart are read as one
  std::uint64_t request_bytes;  // a longer one is cut; a multiple of the alignment
};

struct ReadPlan {
  std::vector<ReadRequest> requests;
  std::vector<std::uint64_t> extent_at;  // of each extent in the staging memory; extents without bytes: 0
  std::uint64_t staging_bytes = 0;       // a multiple of 4096 and of the alignment
};

// Staged bytes keep their offset in the file modulo 64, so kernels see the alignment that a mapping would have.
ReadPlan plan_reads(std::span<const Extent> extents, const ReadRules& rules);

inline std::uint64_t round_down(std::uint64_t value, std::uint64_t power_of_two) { return value & ~(power_of_two - 1); }
inline std::uint64_t round_up(std::uint64_t value, std::uint64_t power_of_two) {
  return round_down(value + power_of_two - 1, power_of_two);
}

}  // namespace crossover
