// One file per command. Each function adds its subcommand to the application; the callback runs it and sets exit_code
// (interface: 0 done or FASTER/EQUIVALENT, 1 SLOWER, 2 INCONCLUSIVE, 3 INVALID). Errors are thrown; main prints them and exits 4.
// Data goes to stdout, progress and diagnostics to stderr.
#pragma once

namespace CLI { class App; }

namespace crossover::commands {

void add_run(CLI::App& app, int& exit_code);
void add_ab(CLI::App& app, int& exit_code);
void add_compare(CLI::App& app, int& exit_code);
void add_history(CLI::App& app, int& exit_code);
void add_report(CLI::App& app, int& exit_code);
void add_synth(CLI::App& app, int& exit_code);
void add_quantize(CLI::App& app, int& exit_code);
void add_generate(CLI::App& app, int& exit_code);
void add_knobs(CLI::App& app, int& exit_code);
void add_doctor(CLI::App& app, int& exit_code);
void add_calibrate(CLI::App& app, int& exit_code);
void add_cache(CLI::App& app, int& exit_code);
void add_list(CLI::App& app, int& exit_code);
void add_sample(CLI::App& app, int& exit_code);  // hidden: takes one sample in this process
void add_simulated_sample(CLI::App& app, int& exit_code);  // hidden: plays a program whose truth is known

}  // namespace crossover::commands
