// Parts of a result file that need more than copying.
#pragma once

#include "bench/report/read_json.h"

namespace crossover::report {

bool higher_is_better(const Json& scenario, const std::string& metric);  // stated, else by its suffix; false where nothing says it
std::vector<KnobRow> knobs_of(const Json& knobs);
std::vector<KnobRow> arms_of(const Json& scenario, const std::vector<KnobRow>& resolved);
// What the samples of an arm say under a name, each value with how often, controls left out; by cell, under -1 of all
// cells. Of the counters those that are to differ.
std::map<long, std::vector<KnobRow>> paths_of(const Json& samples, const Json& differs);
std::vector<Axis> axes_of(const Json& scenario);
std::vector<Fact> settings_of(const std::string& cell_name, const std::vector<Axis>& axes);  // empty where the name fits no axes
std::vector<PairView> pairs_of(const ResultView& result, long cell);
void add_crossings(const Json& curves, ResultView& result);

// What each check of a cell saw, `paths` being those of its own samples.
std::vector<GateRow> gates_of(const Json& cell, const Json& scenario, const std::vector<KnobRow>& knobs,
                              const std::vector<KnobRow>& paths);

}  // namespace crossover::report
