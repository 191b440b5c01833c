#include "engine/checkpoint/config.h"

#include "fuzz/fuzz_targets.h"
#include "fuzz/input_file.h"
#include "fuzz/refusal.h"

namespace crossover::fuzz {

void config(std::string_view input) {
  const InputFile file(input, "config.json");
  may_refuse([&] { read_config(file.path().parent_path()); });
}

}  // namespace crossover::fuzz
