#include "engine/model.h"

namespace crossover {

const char* name(Arch arch) {
  switch (arch) {
    case Arch::kQwen35: return "qwen35";
    case Arch::kQwen35Moe: return "qwen35moe";
    case Arch::kQwen3Next: return "qwen3next";
  }
  return "unknown";
}

}  // namespace crossover
