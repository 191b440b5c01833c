// The tokenizer inside a GGUF file (tokenizer.ggml.*) as data.
#pragma once

#include "engine/checkpoint/gguf.h"
#include "engine/text/tokenizer_json.h"

namespace crossover {

// Whether there is one at all; a file without says "none" or nothing.
bool has_tokenizer(const GgufHeader& header);

// The same as of the tokenizer.json that the file was written from, except that a GGUF file does not tell which added tokens are
// special beyond "control", nor, when another program wrote it, whether texts are normalized (they are, in all released models).
// std::runtime_error with the key and what was found there for anything else than byte-level BPE of these models.
TokenizerData read_gguf_tokenizer(const GgufHeader& header);

}  // namespace crossover
