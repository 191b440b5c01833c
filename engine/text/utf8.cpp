#include "engine/text/utf8.h"

#include <algorithm>

namespace crossover {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

struct Lead {
  std::size_t size_bytes;   // of the whole character; 0 when the byte cannot begin one
  unsigned char low, high;  // what the second byte may be: excludes overlong forms, surrogates and beyond U+10FFFF
};

Lead lead_of(unsigned char byte) {
  if (byte < 0x80) return {1, 0, 0};
  if (byte < 0xC2) return {0, 0, 0};
  if (byte < 0xE0) return {2, 0x80, 0xBF};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte < 0xF0) return {3, 0x80, 0xBF};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte < 0xF4) return {4, 0x80, 0xBF};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

// Appends the repaired text to `out`; the number of bytes consumed, which is all but an incomplete end.
std::size_t append_repaired(std::string_view text, std::string& out) {
  std::size_t at = 0;
  while (at < text.size()) {
    const Utf8Step step = next_utf8(text.substr(at));
    if (step.kind == Utf8Step::Kind::kIncomplete) break;
    out += step.kind == Utf8Step::Kind::kCharacter ? text.substr(at, step.size_bytes) : kReplacement;
    at += step.size_bytes;
  }
  return at;
}

}  // namespace

Utf8Step next_utf8(std::string_view text) {
  const Lead lead = lead_of(static_cast<unsigned char>(text[0]));
  if (lead.size_bytes == 0) return {Utf8Step::Kind::kInvalid, 1};
  for (std::size_t i = 1; i < lead.size_bytes; ++i) {
    if (i == text.size()) return {Utf8Step::Kind::kIncomplete, i};
    const auto byte = static_cast<unsigned char>(text[i]);
    const bool fits = i == 1 ? byte >= lead.low && byte <= lead.high : byte >= 0x80 && byte <= 0xBF;
    if (!fits) return {Utf8Step::Kind::kInvalid, i};
  }
  return {Utf8Step::Kind::kCharacter, lead.size_bytes};
}

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

std::string repair_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  if (append_repaired(text, out) < text.size()) out += kReplacement;
  return out;
}

std::string take_complete_utf8(std::string& pending) {
  std::string out;
  pending.erase(0, append_repaired(pending, out));
  return out;
}

}  // namespace crossover
