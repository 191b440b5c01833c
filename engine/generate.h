// Prompt in, tokens out: the loop around Engine::feed.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "engine/engine.h"
#include "engine/sampler.h"

namespace crossover {

struct GenerateOptions {
  std::vector<std::int32_t> prompt;
  std::int64_t max_tokens = 0;  // 0: the prompt is fed, nothing is generated
  SamplerOptions sampler;
  bool ignore_end_of_text = false;
};

// Called as things happen, so that whoever measures takes the time; any may be empty.
struct GenerateEvents {
  std::function<void()> prefilled;                    // the last prompt row's logits are there
  std::function<void(const Choice&, std::span<const float> logits)> token;  // an id was chosen; the last one is not fed
  RowSink row;                                        // every row of logits; row i follows token i of prompt + generated
};

std::vector<std::int32_t> generate(Engine& engine, const GenerateOptions& options, const GenerateEvents& events = {});

}  // namespace crossover
