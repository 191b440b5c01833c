#include "bench/timed_generation.h"

#include <algorithm>

#include "kernels/trace.h"

namespace crossover {

namespace {

CountedWork work_of(const Counters& counters) {
  CountedWork work;
  for (const auto& [name, n] : counters.counts) {
    if (name.starts_with("flops.")) work.flops += static_cast<double>(n);
    else if (name.starts_with("bytes.") && counters.counts.contains("launches." + name.substr(6))) work.bytes += static_cast<double>(n);
  }
  return work;
}

CountedWork between(const CountedWork& begin, const CountedWork& end) { return {end.flops - begin.flops, end.bytes - begin.bytes}; }

}  // namespace

std::optional<double> TimedGeneration::decode_tokens_per_s() const {
  constexpr double kShortestWindow_s = 0.2;
  if (!decode_s || *decode_s < kShortestWindow_s) return std::nullopt;
  return static_cast<double>(token_s.size()) / *decode_s;
}

TimedGeneration timed_generate(Engine& engine, const GenerateOptions& options, const RowSink& rows) {
  TimedGeneration run;
  double first_s = 0, last_s = 0;
  CountedWork prefilled;
  run.token_s.reserve(static_cast<std::size_t>(options.max_tokens));
  run.choices.reserve(static_cast<std::size_t>(options.max_tokens));
  constexpr std::int64_t kProbes = 30;
  for (std::int64_t i = 0; i < std::min(kProbes, engine.config().vocab); ++i) run.probe_ids.push_back(i * engine.config().vocab / kProbes);
  GenerateEvents events;
  events.prefilled = [&] { run.prefilled_s = monotonic_s(); };
  events.token = [&](const Choice& choice, std::span<const float> logits) {
    const double now_s = monotonic_s();
    const bool first = !run.ttft_s;
    if (first) {
      run.ttft_s = now_s - run.submitted_s;
    } else {
      run.token_s.push_back(now_s - last_s);
      run.decode_s = now_s - first_s;
    }
    last_s = now_s;
    run.choices.push_back(choice);
    std::vector<float>& probes = run.probes.emplace_back();
    for (std::int64_t id : run.probe_ids) probes.push_back(logits[static_cast<std::size_t>(id)]);
    if (!first) return;
    prefilled = work_of(engine.counters());
    first_s = last_s = monotonic_s();  // the counting is in neither window
  };
  events.row = rows;
  const CountedWork begin = work_of(engine.counters());
  run.submitted_s = monotonic_s();
  run.tokens = generate(engine, options, events);
  const CountedWork end = work_of(engine.counters());
  if (!run.ttft_s) prefilled = end;
  run.prefill_work = between(begin, prefilled), run.decode_work = between(prefilled, end);
  run.prefill_s = run.prefilled_s - run.submitted_s;
  run.last_token_s = last_s;
  return run;
}

}  // namespace crossover
