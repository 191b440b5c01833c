// Whether the kept reference tensors still belong to what synth writes. Where CROSSOVER_REFERENCE_CHECKPOINTS names a
// folder, the checkpoints stay there, as input for tools/oracle/make_model_references.py.
#include "engine/tests/reference_checkpoints.h"

#include <nlohmann/json.hpp>

#include "engine/checkpoint/safetensors.h"
#include "engine/tests/checkpoint_files.h"

namespace crossover::test {
namespace {

// The embedding rows of the prompt's last tokens, which the references hold as hidden.embed.
TEST(ReferenceCheckpoints, AreWhatTheirTensorsWereMadeFrom) {
  const TempFolder scratch;
  const char* keep = std::getenv("CROSSOVER_REFERENCE_CHECKPOINTS");
  for (const ReferenceCheckpoint& reference : reference_checkpoints()) {
    SCOPED_TRACE(reference.name);
    const fs::path checkpoint = (keep ? fs::path(keep) : scratch.path()) / reference.name;
    write_synth(reference.options, checkpoint);
    const fs::path folder = reference_folder(reference.name);
    if (!fs::exists(folder / "tokens.json")) {
      ADD_FAILURE() << "no reference tensors; tools/oracle/make_model_references.py makes them";
      continue;
    }
    const auto prompt =
        nlohmann::json::parse(read_bytes(folder / "tokens.json")).at("prompt").get<std::vector<std::size_t>>();

    const Source source = open_checkpoint(checkpoint);
    const std::vector<float> embedding = values_of(source, *source.find("token_embd.weight"));
    const auto hidden = static_cast<std::size_t>(source.config.hidden);
    const std::string golden = read_bytes(folder / "golden.safetensors");
    int compared = 0;
    for (const StoredTensor& tensor : read_safetensors_header(folder / "golden.safetensors")) {
      if (tensor.name != "hidden.embed") continue;
      std::vector<float> expected(tensor.bytes / sizeof(float));
      std::memcpy(expected.data(), golden.data() + tensor.offset, tensor.bytes);
      const std::size_t rows = expected.size() / hidden;
      for (std::size_t i = 0; i < expected.size(); ++i) {
        const std::size_t token = prompt[prompt.size() - rows + i / hidden];
        ASSERT_EQ(expected[i], embedding[token * hidden + i % hidden])
            << "synth gives other weights than when the references were made";
      }
      ++compared;
    }
    EXPECT_EQ(compared, 1);
  }
}

}  // namespace
}  // namespace crossover::test
