#include "engine/text/byte_alphabet.h"

namespace crossover {
namespace {

bool prints_as_itself(unsigned byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

constexpr unsigned kFirstSubstitute = 0x100;
constexpr unsigned kSubstitutes = 68;

std::array<unsigned char, kSubstitutes> substituted_bytes() {
  std::array<unsigned char, kSubstitutes> bytes{};
  std::size_t count = 0;
  for (unsigned byte = 0; byte < 256; ++byte)
    if (!prints_as_itself(byte)) bytes[count++] = static_cast<unsigned char>(byte);
  return bytes;
}

std::string two_bytes(unsigned code) {
  return {static_cast<char>(0xC0 | code >> 6), static_cast<char>(0x80 | (code & 0x3F))};
}

}  // namespace

std::array<std::string, 256> byte_alphabet() {
  std::array<std::string, 256> alphabet;
  unsigned substitute = kFirstSubstitute;
  for (unsigned byte = 0; byte < 256; ++byte) {
    const unsigned code = prints_as_itself(byte) ? byte : substitute++;
    alphabet[byte] = code < 0x80 ? std::string(1, static_cast<char>(code)) : two_bytes(code);
  }
  return alphabet;
}

std::string token_bytes(std::string_view text) {
  static const std::array<unsigned char, kSubstitutes> kSubstituted = substituted_bytes();
  std::string bytes;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const auto lead = static_cast<unsigned char>(text[at]);
    unsigned code = lead;
    if (lead >= 0x80) {
      if (lead > 0xDF || at + 1 == text.size()) return std::string(text);
      code = (lead & 0x1Fu) << 6 | (static_cast<unsigned char>(text[++at]) & 0x3Fu);
    }
    if (code < kFirstSubstitute && prints_as_itself(code)) {
      bytes += static_cast<char>(code);
    } else if (code >= kFirstSubstitute && code < kFirstSubstitute + kSubstitutes) {
      bytes += static_cast<char>(kSubstituted[code - kFirstSubstitute]);
    } else {
      return std::string(text);
    }
  }
  return bytes;
}

}  // namespace crossover
