#include "engine/generate.h"

#include <algorithm>

namespace crossover {

std::vector<std::int32_t> generate(Engine& engine, const GenerateOptions& options, const GenerateEvents& events) {
  const std::vector<std::int32_t>& stops = engine.config().end_of_text;
  Sampler sampler(options.sampler);
  std::vector<std::int32_t> tokens;
  std::span<const float> logits = engine.feed(options.prompt, events.row);
  if (events.prefilled) events.prefilled();
  const auto prompt_rows = static_cast<std::int64_t>(options.prompt.size());
  while (static_cast<std::int64_t>(tokens.size()) < options.max_tokens) {
    const std::int32_t id = sampler.sample(logits);
    tokens.push_back(id);
    if (events.token) events.token(sampler.last(), logits);
    const bool stop = !options.ignore_end_of_text && std::find(stops.begin(), stops.end(), id) != stops.end();
    if (stop || static_cast<std::int64_t>(tokens.size()) == options.max_tokens) break;
    logits = engine.feed({&tokens.back(), 1});
    if (events.row) events.row(prompt_rows + static_cast<std::int64_t>(tokens.size()) - 1, ConstRows(logits.data(), 1, static_cast<std::int64_t>(logits.size())));
  }
  return tokens;
}

}  // namespace crossover
