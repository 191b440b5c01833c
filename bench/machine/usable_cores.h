// How many cores this process may use.
#pragma once

namespace crossover {

// Cores of the affinity mask, no more than the cgroup's CPU quota rounded up; at least 1. The default of every `threads`.
int usable_cores();

}  // namespace crossover
