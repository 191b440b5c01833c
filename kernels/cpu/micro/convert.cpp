// Rows of any type to any other through a strip of f32 that the widening leaves in the first-level cache for the check and the
// quantizer; memory sees the stored row once and the finished one once.
#include "kernels/cpu/micro.h"
#include "kernels/cpu/micro/format_rows.h"
#include "kernels/cpu/micro/simd.h"
#include "kernels/formats/formats.h"

namespace crossover::cpu::CROSSOVER_ISA {
namespace {

// The shortest of whole blocks of every type, so that a strip is widened while the block before it is still being quantized: 2 %
// more than strips of 2048 have, mostly where the stored rows come from memory.
constexpr std::int64_t kStrip = 256;

struct TypeF32 {
  static constexpr std::int64_t kBytes = 4;
  static constexpr std::int32_t kExponent = 0x7f800000;  // of the upper value of a 32-bit word
};
struct TypeF16 {
  static constexpr std::int64_t kBytes = 2;
  static constexpr std::int32_t kExponent = 0x7c000000;
};
struct TypeBF16 {
  static constexpr std::int64_t kBytes = 2;
  static constexpr std::int32_t kExponent = 0x7f800000;
};

// From any address. With AVX2 GCC 12 copies in halves of what it then loads, which stalls on every load.
CROSSOVER_INLINE I16 load_words(const std::byte* p) {
#if defined(__AVX2__)
  return load_i(reinterpret_cast<const std::int32_t*>(p));
#else
  std::int32_t words[16];
  __builtin_memcpy(words, p, sizeof words);
  return load_i(words);
#endif
}

// The larger exponent field of the values in each word, in place of the upper one.
template <class Type>
CROSSOVER_INLINE I16 exponents(I16 words) {
  const I16 mask = broadcast_i(Type::kExponent);
  if constexpr (Type::kBytes == 4) return words & mask;
  return max(words & mask, shift_left<16>(words) & mask);
}

template <class Type>
CROSSOVER_INLINE bool all_finite(const std::byte* p, std::int64_t values) {
  const std::int64_t bytes = values * Type::kBytes;
  I16 largest = broadcast_i(0);
  std::int64_t at = 0;
  for (; at + 64 <= bytes; at += 64) largest = max(largest, exponents<Type>(load_words(p + at)));
  if (at < bytes) {
    std::byte rest[64] = {};
    __builtin_memcpy(rest, p + at, static_cast<std::size_t>(bytes - at));
    largest = max(largest, exponents<Type>(load_words(rest)));
  }
  return !any(greater(as_float(largest), as_float(broadcast_i(Type::kExponent - 1))));  // none negative, so in the order of their bits
}

template <class Type>
std::int64_t first_bad(const std::byte* p, std::int64_t values) {
  if (all_finite<Type>(p, values)) [[likely]]
    return -1;
  std::int64_t i = 0;
  while (all_finite<Type>(p + i * Type::kBytes, 1)) ++i;
  return i;
}

std::int64_t first_bad_stored(DType type, const std::byte* stored, std::int64_t values) {
  switch (type) {
    case DType::kF32: return first_bad<TypeF32>(stored, values);
    case DType::kF16: return first_bad<TypeF16>(stored, values);
    case DType::kBF16: return first_bad<TypeBF16>(stored, values);
    default: return first_bad_scale(type, stored, values);
  }
}

struct Layout {
  std::int64_t block_values, block_bytes;
  std::int64_t bytes(std::int64_t values) const { return values / block_values * block_bytes; }
};
Layout layout(DType type) {
  const DTypeInfo& format = info(type);
  return {format.block_values, format.block_bytes};
}

std::int64_t copy(DType type, const std::byte* stored, std::byte* out, std::int64_t values) {
  const Layout format = layout(type);
  for (std::int64_t start = 0; start < values; start += kStrip) {
    const std::int64_t count = values - start < kStrip ? values - start : kStrip, at = format.bytes(start);
    const std::int64_t bad = first_bad_stored(type, stored + at, count);
    if (bad >= 0) return start + bad;
    if (stored != out) __builtin_memcpy(out + at, stored + at, static_cast<std::size_t>(format.bytes(count)));
  }
  return -1;
}

}  // namespace

std::int64_t convert(DType from, const std::byte* stored, DType to, std::byte* out, std::int64_t values) {
  if (from == to) return copy(from, stored, out, values);
  const std::int64_t stored_bytes = layout(from).bytes(kStrip), out_bytes = layout(to).bytes(kStrip);
  const auto widen = formats.dequantize[static_cast<int>(from)];
  const auto narrow = formats.quantize[static_cast<int>(to)];
  alignas(64) float strip[kStrip];
  for (std::int64_t start = 0; start < values; start += kStrip, stored += stored_bytes, out += out_bytes) {
    const std::int64_t count = values - start < kStrip ? values - start : kStrip;
    widen(stored, strip, count);
    const std::int64_t bad = first_bad<TypeF32>(reinterpret_cast<const std::byte*>(strip), count);
    if (bad >= 0) return start + bad;
    narrow(strip, out, count);
  }
  return -1;
}

}  // namespace crossover::cpu::CROSSOVER_ISA
