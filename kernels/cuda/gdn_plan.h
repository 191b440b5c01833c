// What the host decides about the gated delta rule. Plain functions of shapes, so that the same call takes the same path everywhere.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/ops.h"

namespace crossover::cuda {

inline constexpr std::int64_t kGdnChunk = 64;           // tokens
inline constexpr std::int64_t kGdnSegmentChunks = 16;   // prepared and scanned before the next ones: see gdn_chunked.cu

// From how many tokens on chunks are faster. A model, to be replaced by measurement: the recurrence takes 3 us and 0.22-0.3 us a token; chunks take
// 4 launches or about 12 us, and 0.7 us for every 64 tokens. Below one chunk the difference is within what the model does not know.
inline constexpr std::int64_t kGdnChunkedFrom = 64;

inline bool gdn_in_chunks(GdnForm form, std::int64_t tokens) {
  return form == GdnForm::kAuto ? tokens >= kGdnChunkedFrom : form == GdnForm::kChunked || form == GdnForm::kChunkedF32;
}

inline constexpr const char* kGdnRecurrentPath = "cuda-recurrent";

// Value columns of a block of the scan over chunks. Heads are serial, so their columns fill the device: as narrow as keeps all blocks resident
// at once, two on a multiprocessor, since a second wave would double the time.
inline int gdn_scan_columns(std::int64_t value_heads, int multiprocessors) { return value_heads * 4 <= 2 * std::int64_t{multiprocessors} ? 32 : 64; }

struct GdnSegment { std::int64_t first, tokens; };  // of a call
inline GdnSegment gdn_segment(std::int64_t index, std::int64_t tokens) {
  const std::int64_t first = index * kGdnSegmentChunks * kGdnChunk;
  return {first, std::min(kGdnSegmentChunks * kGdnChunk, tokens - first)};
}
inline std::int64_t gdn_segments(std::int64_t tokens) { return (tokens + kGdnSegmentChunks * kGdnChunk - 1) / (kGdnSegmentChunks * kGdnChunk); }
inline std::int64_t gdn_chunks(std::int64_t tokens) { return (tokens + kGdnChunk - 1) / kGdnChunk; }

}  // namespace crossover::cuda
