// Where the time of a load went, rank by rank, from what its workers and readers recorded.
#pragma once

#include <string>
#include <vector>

#include "engine/load/convert.h"
#include "kernels/trace.h"

namespace crossover {

// Shares of wall time over workers and all readers; thread-seconds without those of shared readers.
std::vector<PhaseShare> load_shares(const std::vector<Trace>& workers, const ConvertReport& converted, double begin_s, double end_s);

// What a thread of a rank was in, from the begin of the load. Workers count from 0, reader threads from -1 down.
struct LoadSpan {
  int rank, thread;
  std::string phase;
  double start_s, end_s;
};

// Of one rank, thread by thread; neighbours of one phase within 2 ms joined.
void add_timeline(int rank, const std::vector<Trace>& workers, const std::vector<Trace>& readers, double begin_s, std::vector<LoadSpan>& out);

// Of each trace: seconds in any range but "wait".
std::vector<double> busy_seconds(const std::vector<Trace>& traces, double begin_s, double end_s);

}  // namespace crossover
