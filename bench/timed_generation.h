// One generation with the times of its events, as interface metrics define them.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "engine/generate.h"

namespace crossover {

// What kernels/cost.h says of the operations that ran, over all ranks.
struct CountedWork {
  double flops = 0, bytes = 0;
};

struct TimedGeneration {
  std::vector<std::int32_t> tokens;
  std::vector<Choice> choices;         // how each token was chosen
  std::vector<std::int64_t> probe_ids;         // a few ids spread over the vocabulary
  std::vector<std::vector<float>> probes;      // their logits at each choice, so that outputs can be compared by value
  double submitted_s = 0, prefilled_s = 0, last_token_s = 0;  // monotonic clock
  double prefill_s = 0;                // first embed .. last prompt row's logits
  std::optional<double> ttft_s;        // tokens submitted .. first id returned
  std::optional<double> decode_s;      // first id .. last id; at least two ids
  std::vector<double> token_s;         // between consecutive ids, [tokens - 1]
  CountedWork prefill_work, decode_work;

  // (n - 1) / decode_s; absent when the window is shorter than 0.2 s, which a clock tick or one hiccup would dominate.
  std::optional<double> decode_tokens_per_s() const;
};

TimedGeneration timed_generate(Engine& engine, const GenerateOptions& options, const RowSink& rows = {});

}  // namespace crossover
