#include "engine/checkpoint/gguf.h"

#include "engine/checkpoint/source.h"
#include "engine/tokenizer.h"
#include "fuzz/fuzz_targets.h"
#include "fuzz/input_file.h"
#include "fuzz/refusal.h"

namespace crossover::fuzz {

namespace {

constexpr std::uintmax_t kWeightsBytes = std::uintmax_t{1} << 30;  // so that the tensors of a header are inside the file

}  // namespace

void gguf(std::string_view input) {
  const InputFile file(input, "model.gguf", kWeightsBytes);
  may_refuse([&] { read_gguf_header(file.path()); });
  may_refuse([&] { open_checkpoint(file.path()); });
  may_refuse([&] { Tokenizer::from_file(file.path()).encode("a text"); });
}

}  // namespace crossover::fuzz
