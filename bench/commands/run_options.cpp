#include "bench/commands/run_options.h"


namespace crossover::commands {

Option add_list_option(Command command, const std::string& name, std::vector<std::string>& values, const std::string& about,
                             const std::string& type) {
  return command.add_option(name, values, about).type_name(type).one_each_time();
}

void add_export_option(Command command, std::vector<std::string>& exports) {
  add_list_option(command, "--export", exports,
                  "write the results too as json, junit, csv, markdown, github, gbench, llama-bench or openmetrics", "FORMAT=FILE");
}

void add_run_options(Command command, RunOptionsText& options) {
  command.add_option("--out", options.out, "folder for journal, result and report; default crossover-out/NAME/UTC")
      .type_name("DIR");
  add_list_option(command, "--set", options.sets, "change the scenario; VALUE is JSON, else a string", "/POINTER=VALUE");
  command.add_option("--pairs", options.pairs, "pairs of samples in each cell, an even number; more than a run whose result is known had are a plan of their own")
      .range(2, 10000);
  command.add_flag("--resume", options.resume,
                   "continue the journal in --out (default: the newest run of the scenario)");
  command.add_flag("--dry-run", options.dry_run, "print the plan, its order and an estimate; take no sample");
  command.add_option("--max-time", options.max_time_s, "start no sample that would end later; continue with --resume")
      .type_name("S")
      .positive();
  command.add_flag("--report-only", options.report_only, "exit 0 for every verdict; errors stay 4");
  command.add_flag("--inherit-env", options.inherit_env,
                   "pass on CROSSOVER_* variables that the scenario does not set; ask endpoints by the environment's proxy");
  command.add_flag("--quiet", options.quiet, "no progress and no notes on stderr");
  add_export_option(command, options.exports);
}

RunRequest to_request(const RunOptionsText& options) {
  RunRequest request;
  request.out = options.out;
  request.changes.sets = options.sets;
  if (options.pairs > 0) request.changes.pairs = options.pairs;
  if (options.max_time_s > 0) request.max_time_s = options.max_time_s;
  request.resume = options.resume, request.dry_run = options.dry_run, request.report_only = options.report_only;
  request.inherit_env = options.inherit_env, request.quiet = options.quiet;
  for (const std::string& text : options.exports) request.exports.push_back(parse_export(text));
  return request;
}

}  // namespace crossover::commands
