#include <cstring>

#include "kernels/formats/formats.h"

namespace crossover {
namespace {

constexpr std::int64_t kStrip = 256;  // whole blocks of every type

bool is_finite_f16(const std::byte* p) {
  std::uint16_t bits;
  std::memcpy(&bits, p, sizeof bits);
  return (bits & 0x7c00u) != 0x7c00u;
}

}  // namespace

std::int64_t first_bad_scale(DType type, const std::byte* blocks, std::int64_t values) {
  const DTypeInfo& format = info(type);
  const std::int64_t offset = type == DType::kQ6_K ? format.block_bytes - 2 : 0;
  const bool has_minimum = type == DType::kQ4_1 || type == DType::kQ5_1;
  for (std::int64_t value = 0; value < values; value += format.block_values, blocks += format.block_bytes)
    if (!is_finite_f16(blocks + offset) || (has_minimum && !is_finite_f16(blocks + offset + 2))) return value;
  return -1;
}

std::int64_t convert_values(DType from, const std::byte* stored, DType to, std::byte* out, std::int64_t values) {
  float strip[kStrip];
  for (std::int64_t start = 0; start < values; start += kStrip) {
    const std::int64_t count = values - start < kStrip ? values - start : kStrip;
    const std::byte* source = stored + row_bytes(from, start);
    std::byte* target = out + row_bytes(to, start);
    dequantize_fn(from)(source, strip, count);
    const std::int64_t bad = first_not_finite(strip, count);
    if (bad >= 0) return start + bad;
    if (from != to)
      quantize_fn(to)(strip, target, count);
    else if (target != source)
      std::memcpy(target, source, static_cast<std::size_t>(row_bytes(to, count)));
  }
  return -1;
}

}  // namespace crossover
