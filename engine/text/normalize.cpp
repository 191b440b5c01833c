#include "engine/text/normalize.h"

#include <utf8proc.h>

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "engine/text/utf8.h"

namespace crossover {
namespace {

constexpr auto kDecompose = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE);
constexpr auto kCompose = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE);
constexpr std::size_t kMostParts = 4;  // the longest full canonical decomposition (Unicode stability policy)

std::vector<utf8proc_int32_t> decompose(std::string_view text) {
  std::vector<utf8proc_int32_t> codes(text.size() + kMostParts);
  std::size_t count = 0;
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  for (std::size_t at = 0; at < text.size();) {
    utf8proc_int32_t code = 0;
    const auto size = utf8proc_iterate(bytes + at, static_cast<utf8proc_ssize_t>(text.size() - at), &code);
    if (size <= 0) throw std::runtime_error("text to normalize is not valid UTF-8");
    if (codes.size() < count + kMostParts) codes.resize(2 * codes.size());
    int last_class = 0;
    const auto room = static_cast<utf8proc_ssize_t>(codes.size() - count);
    const auto made = utf8proc_decompose_char(code, codes.data() + count, room, kDecompose, &last_class);
    if (made < 0 || made > room) throw std::runtime_error("utf8proc cannot decompose a character");
    count += static_cast<std::size_t>(made);
    at += static_cast<std::size_t>(size);
  }
  codes.resize(count);
  return codes;
}

auto combining_class(utf8proc_int32_t code) { return utf8proc_get_property(code)->combining_class; }

// Canonical order. utf8proc's own is an insertion sort: minutes for a megabyte of alternating marks.
void order_marks(std::vector<utf8proc_int32_t>& codes) {
  for (auto it = codes.begin(); it != codes.end();) {
    it = std::find_if(it, codes.end(), [](auto code) { return combining_class(code) != 0; });
    const auto end = std::find_if(it, codes.end(), [](auto code) { return combining_class(code) == 0; });
    std::stable_sort(it, end, [](auto a, auto b) { return combining_class(a) < combining_class(b); });
    it = end;
  }
}

}  // namespace

std::string normalize_nfc(std::string_view text) {
  if (is_ascii(text)) return std::string(text);
  std::vector<utf8proc_int32_t> codes = decompose(text);
  order_marks(codes);
  const auto count = utf8proc_normalize_utf32(codes.data(), static_cast<utf8proc_ssize_t>(codes.size()), kCompose);
  if (count < 0) throw std::runtime_error(std::string("utf8proc: ") + utf8proc_errmsg(count));
  std::string out;
  out.reserve(text.size());
  for (utf8proc_ssize_t i = 0; i < count; ++i) {
    utf8proc_uint8_t buffer[4];
    const auto size = utf8proc_encode_char(codes[static_cast<std::size_t>(i)], buffer);
    out.append(reinterpret_cast<const char*>(buffer), static_cast<std::size_t>(size));
  }
  return out;
}

}  // namespace crossover
