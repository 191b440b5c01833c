#include "engine/text/normalize.h"

#include <utf8proc.h>

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "engine/text/unicode_ranges.h"
#include "engine/text/utf8.h"

namespace crossover {
namespace {

constexpr auto kDecompose = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE);
constexpr auto kCompose = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE);

// The reference tokenizer's normalizer has the tables of Unicode 9.0. What later versions added stands still there: a
// later mark is not moved and ends a sequence. Those code points of Unicode 16.0 that have a combining class or take
// part in a composition:
constexpr CodeRange kLater[] = {
    {0x7FD, 0x7FD},     {0x897, 0x89F},     {0x8CA, 0x8D3},     {0x9FE, 0x9FE},     {0xC3C, 0xC3C},
    {0xD3B, 0xD3C},     {0xEBA, 0xEBA},     {0x1715, 0x1715},   {0x1ABF, 0x1ACE},   {0x1DF6, 0x1DFA},
    {0xA82C, 0xA82C},   {0x105C9, 0x105C9}, {0x105D2, 0x105D2}, {0x105DA, 0x105DA}, {0x105E4, 0x105E4},
    {0x10D24, 0x10D27}, {0x10D69, 0x10D6D}, {0x10EAB, 0x10EAC}, {0x10EFD, 0x10EFF}, {0x10F46, 0x10F50},
    {0x10F82, 0x10F85}, {0x11070, 0x11070}, {0x1133B, 0x1133B}, {0x11382, 0x11385}, {0x1138B, 0x1138B},
    {0x1138E, 0x1138E}, {0x11390, 0x11391}, {0x113B8, 0x113B8}, {0x113BB, 0x113BB}, {0x113C2, 0x113C2},
    {0x113C5, 0x113C5}, {0x113C7, 0x113C9}, {0x113CE, 0x113D0}, {0x1145E, 0x1145E}, {0x11839, 0x1183A},
    {0x11930, 0x11930}, {0x11935, 0x11935}, {0x11938, 0x11938}, {0x1193D, 0x1193E}, {0x11943, 0x11943},
    {0x119E0, 0x119E0}, {0x11A34, 0x11A34}, {0x11A47, 0x11A47}, {0x11A99, 0x11A99}, {0x11D42, 0x11D42},
    {0x11D44, 0x11D45}, {0x11D97, 0x11D97}, {0x11F41, 0x11F42}, {0x1611E, 0x16129}, {0x1612F, 0x1612F},
    {0x16D63, 0x16D63}, {0x16D67, 0x16D6A}, {0x16FF0, 0x16FF1}, {0x1E08F, 0x1E08F}, {0x1E130, 0x1E136},
    {0x1E2AE, 0x1E2AE}, {0x1E2EC, 0x1E2EF}, {0x1E4EC, 0x1E4EF}, {0x1E5EE, 0x1E5EF},
};

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

bool is_later(char32_t code) {
  const auto* range =
      std::lower_bound(std::begin(kLater), std::end(kLater), code, [](CodeRange r, char32_t c) { return r.last < c; });
  return range != std::end(kLater) && range->first <= code;
}

char32_t code_at(std::string_view text, std::size_t at) {
  utf8proc_int32_t code = 0;
  utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()) + at,
                   static_cast<utf8proc_ssize_t>(text.size() - at), &code);
  return static_cast<char32_t>(code);
}

void append_nfc(std::string_view text, std::string& out) {
  std::vector<utf8proc_int32_t> codes = decompose(text);
  order_marks(codes);
  const auto count = utf8proc_normalize_utf32(codes.data(), static_cast<utf8proc_ssize_t>(codes.size()), kCompose);
  if (count < 0) throw std::runtime_error(std::string("utf8proc: ") + utf8proc_errmsg(count));
  for (utf8proc_ssize_t i = 0; i < count; ++i) {
    utf8proc_uint8_t buffer[4];
    const auto size = utf8proc_encode_char(codes[static_cast<std::size_t>(i)], buffer);
    out.append(reinterpret_cast<const char*>(buffer), static_cast<std::size_t>(size));
  }
}

}  // namespace

std::string normalize_nfc(std::string_view text) {
  if (is_ascii(text)) return std::string(text);
  std::string out;
  out.reserve(text.size());
  std::size_t begin = 0;
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Step step = next_utf8(text.substr(at));
    if (step.size_bytes > 1 && is_later(code_at(text, at))) {
      append_nfc(text.substr(begin, at - begin), out);
      out += text.substr(at, step.size_bytes);
      begin = at + step.size_bytes;
    }
    at += step.size_bytes;
  }
  append_nfc(text.substr(begin), out);
  return out;
}

}  // namespace crossover
