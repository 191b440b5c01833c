#include "bench/report/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "bench/commands/commands.h"
#include "bench/commands/run_options.h"
#include "bench/export/export.h"
#include "bench/report/kernel_page.h"
#include "bench/report/trend_page.h"

namespace crossover::commands {

void add_report(Command app, int&) {
  struct Options {
    std::vector<std::filesystem::path> results;
    std::filesystem::path out, history;
    std::vector<std::string> exports;
    bool publish = false;
  };
  auto options = std::make_shared<Options>();
  const Command command =
      app.add_subcommand("report", "Write report.html, summary.md, trace.json and plots of result files");
  command.footer("Example: crossover report crossover-out/demo_decode/*/result.json --out report");
  command.add_option("results", options->results, "result.json of crossover run, or what crossover_micro wrote, one or several").type_name("RESULT.json");
  command.add_option("--history", options->history, "write trend.html of this history too, or alone: every headline metric over time, changes marked")
      .type_name("FILE");
  command.add_option("--out", options->out, "folder to write into; made where missing").required().type_name("DIR");
  command.add_flag("--publish", options->publish, "leave out host names and absolute paths; write NAME.json too, the result to be kept");
  add_export_option(command, options->exports);
  command.callback([options] {
    std::vector<ExportTo> exports;  // a typo is found before anything is written
    for (const std::string& text : options->exports) exports.push_back(parse_export(text));
    if (!options->history.empty()) {
      write_trend_page(options->history, options->out);
      fmt::print("{}\n", (options->out / "trend.html").string());
      if (options->results.empty()) return;
    }
    const auto kernels = std::stable_partition(options->results.begin(), options->results.end(), [](const auto& file) { return !is_kernel_run(file); });
    const std::vector<std::filesystem::path> results(options->results.begin(), kernels);
    std::string written;
    for (auto file = kernels; file != options->results.end(); ++file) written += write_kernel_page(*file, options->out).string() + "\n";
    if (written.empty() || !results.empty() || !exports.empty()) {
      write_report(results, options->out, options->publish);
      for (const ExportTo& to : exports) write_export(to, results, options->publish);
      written += (options->out / "report.html").string() + "\n";
    }
    fmt::print("{}", written);
  });
}

}  // namespace crossover::commands
