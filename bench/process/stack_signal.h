// Stacks from inside, without a debugger: a process of crossover prints where all its threads are when it is asked to, and where it
// was when it crashes. Functions that the program does not export appear as an offset for addr2line(1).
#pragma once

#include <csignal>

namespace crossover {

inline constexpr int kStackSignal = SIGUSR1;      // asks for the stacks of all threads
inline constexpr const char* kStacksBegin = "=== stacks of process ";
inline constexpr const char* kStacksEnd = "=== end of stacks\n";

// From now on kStackSignal prints all stacks to descriptor 2, between the two lines above, and the process goes on; SIGSEGV, SIGBUS,
// SIGILL, SIGFPE and SIGABRT print the stack of the thread that got them, and end it as ever. SIGUSR2 is used between its threads.
// Signals that somebody handles already (a sanitizer) are left alone.
void print_stacks_on_signals();

}  // namespace crossover
