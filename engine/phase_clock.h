// Who times the phases of a pass: the host, a GPU's own clock, or nobody. And what came of it.
#pragma once

#include <string>
#include <vector>

#include "engine/rank.h"

namespace crossover {

// For the pass of so many tokens that the rank begins. knob: CROSSOVER_GPU_PHASES. False: ranges of this pass are not timed, because the
// host's times would be those of launches.
bool times_ranges(Rank& rank, const std::string& knob, std::size_t tokens);

// Engine::phases and Engine::pass_timeline.
std::vector<RankPhases> pass_phases(const Ranks& ranks, double begin_s, double end_s);
std::vector<LoadSpan> pass_timeline(const Ranks& ranks, double begin_s);

}  // namespace crossover
