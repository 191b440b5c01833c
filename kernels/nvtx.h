// The ranges of Trace as a profiler from outside sees them (Nsight Systems): NVTX 3, headers only, which looks for a tool at the first range of
// the process. Without a tool a range costs two calls through null pointers; without its header (CMake: CROSSOVER_NVTX) two empty ones.
#pragma once

namespace crossover::nvtx {

bool is_built_in();
void push(const char* name);  // on the calling thread, in the domain "crossover"
void pop();

}  // namespace crossover::nvtx
