// The timeline of a load in steps that an eye can tell apart: thousands of short ranges become at most kTimelineSteps a thread.
#pragma once

#include <vector>

#include "bench/sample.h"
#include "engine/engine.h"

namespace crossover {

inline constexpr int kTimelineSteps = 400;

// In each step the phase that the thread was in longest; steps in no phase are left out, neighbours of one phase are joined. Spans come
// thread by thread, as in `spans`.
std::vector<SampleSpan> coarse_timeline(const std::vector<LoadSpan>& spans, double total_s);

}  // namespace crossover
