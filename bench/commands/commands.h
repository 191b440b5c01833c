// One file per command. Each function adds its subcommand to the application; the callback runs it and sets exit_code
// (interface: 0 done or FASTER/EQUIVALENT, 1 SLOWER, 2 INCONCLUSIVE, 3 INVALID). Errors are thrown; main prints them and exits 4.
// Data goes to stdout, progress and diagnostics to stderr.
#pragma once

#include "bench/commands/command_line.h"

namespace crossover::commands {

void add_run(Command app, int& exit_code);
void add_ab(Command app, int& exit_code);
void add_compare(Command app, int& exit_code);
void add_history(Command app, int& exit_code);
void add_report(Command app, int& exit_code);
void add_synth(Command app, int& exit_code);
void add_quantize(Command app, int& exit_code);
void add_generate(Command app, int& exit_code);
void add_knobs(Command app, int& exit_code);
void add_doctor(Command app, int& exit_code);
void add_calibrate(Command app, int& exit_code);
void add_cache(Command app, int& exit_code);
void add_list(Command app, int& exit_code);
void add_sample(Command app, int& exit_code);  // hidden: takes one sample in this process
void add_simulated_sample(Command app, int& exit_code);  // hidden: plays a program whose truth is known

}  // namespace crossover::commands
