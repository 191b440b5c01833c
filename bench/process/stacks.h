// Where a process that does not end is, seen from outside.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>

namespace crossover {

// The threads of a process and of its descendants: name, state, the system call and the kernel function they are in, and the file and
// offset of their instruction, as far as /proc tells. Not a stack: it needs neither a debugger nor the help of the process.
std::string thread_table(pid_t pid);

// Stacks of the process and its descendants from eu-stack or gdb; empty where neither is installed or may look into them.
std::string debugger_stacks(pid_t pid);

// Cuts what print_stacks_on_signals (bench/process/stack_signal.h) printed out of a text, and returns it with names made readable.
std::string take_printed_stacks(std::string& text);

}  // namespace crossover
