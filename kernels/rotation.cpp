#include "kernels/rotation.h"

namespace crossover {

const char* name(Rotation rotation) {
  switch (rotation) {
    case Rotation::kNone: return "none";
    case Rotation::kHadamard: return "fwht";
    case Rotation::kSigned: return "signed";
  }
  return "unknown";
}

std::optional<Rotation> parse_rotation(std::string_view text) {
  for (const Rotation rotation : {Rotation::kNone, Rotation::kHadamard, Rotation::kSigned})
    if (text == name(rotation)) return rotation;
  return std::nullopt;
}

}  // namespace crossover
