#include "engine/checkpoint/safetensors.h"

#include "fuzz/fuzz_targets.h"
#include "fuzz/input_file.h"
#include "fuzz/refusal.h"

namespace crossover::fuzz {

void safetensors(std::string_view input) {
  const InputFile file(input, "model.safetensors");
  may_refuse([&] { read_safetensors_header(file.path()); });
}

}  // namespace crossover::fuzz
