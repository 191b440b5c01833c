#include "bench/report/plots.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>

namespace crossover::report {

namespace {

namespace fs = std::filesystem;

// Readable on a white and on a black page, and apart for colour-blind eyes; the arms differ in shape as well.
constexpr const char* kColorA = "#3b82f6";
constexpr const char* kColorB = "#e07b00";

// gnuplot runs shell commands in backquotes and expands macros, so a label keeps only what cannot start one.
std::string label(const std::string& text) {
  std::string safe;
  for (const char c : text.substr(0, 100))
    safe += std::isalnum(static_cast<unsigned char>(c)) || std::strchr(" ._-/%,:()", c) ? c : '?';
  return safe;
}

std::string read_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// Runs gnuplot inside `folder`; what went wrong, empty when nothing did.
std::string run_gnuplot(const fs::path& folder, const std::string& script) {
  const std::string log = script + ".log";
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addchdir_np(&actions, folder.c_str());
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
  std::string program = "gnuplot", defaults = "-d", file = script;  // -d: no settings of the person who runs it
  char* arguments[] = {program.data(), defaults.data(), file.data(), nullptr};
  pid_t child = 0;
  const int failed = posix_spawnp(&child, "gnuplot", &actions, nullptr, arguments, environ);
  posix_spawn_file_actions_destroy(&actions);
  if (failed == ENOENT) return "gnuplot is not installed (Debian: apt-get install gnuplot-nox)";
  if (failed) return std::string("gnuplot could not be started: ") + std::strerror(failed);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
  const std::string said = read_file(folder / log);
  std::error_code ignored;
  fs::remove(folder / log, ignored);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return "";
  return "gnuplot failed: " + said.substr(0, 300);
}

std::string data_block(const char* name, const ResultView& result, long cell, const char* arm) {
  std::string block = fmt::format("${} << EOD\n", name);
  for (std::size_t i = 0; i < result.samples.size(); ++i) {
    const SampleView& sample = result.samples[i];
    const auto value = sample.metrics.find(result.primary);
    if (sample.cell == cell && sample.arm == arm && sample.counts() && value != sample.metrics.end())
      block += fmt::format("{} {}\n", i + 1, value->second);
  }
  return block + "EOD\n";
}

std::string script_of(const ResultView& result, const CellView& cell, long index, const std::string& stem) {
  const MetricRow* primary = cell.metrics.empty() ? nullptr : &cell.metrics.front();
  std::string plots;
  const auto add_arm = [&](const char* arm, const char* color, int shape, const std::optional<double>& median) {
    plots += fmt::format("{}${} using 1:2 with points pt {} ps 0.9 lc rgb '{}' title '{}'",
                         plots.empty() ? "plot " : ", \\\n  ", arm, shape, color, arm);
    if (median)
      plots += fmt::format(", \\\n  {} with lines dt 2 lw 1.2 lc rgb '{}' title '{} median'", *median, color, arm);
  };
  add_arm("A", kColorA, 7, primary ? primary->a : std::nullopt);
  add_arm("B", kColorB, 9, primary ? primary->b : std::nullopt);
  std::string script = "# Every sample of the primary metric in the order it ran.\n";
  script += data_block("A", result, index, "A") + data_block("B", result, index, "B");
  script += fmt::format(
      "set xlabel 'sample, in the order they ran'\nset ylabel '{}'\nset xrange [0:{}]\nset offsets 0, 0, graph 0.08, "
      "graph 0.08\n"
      "set key outside right top\nset grid ytics lt 1 lw 0.4 lc rgb '#888888'\n",
      label(result.primary), result.samples.size() + 1);
  script += fmt::format("set terminal svg size 860,300 noenhanced font 'sans-serif,12'\nset output '{}.svg'\n{}\n",
                        stem, plots);
  script += fmt::format(
      "set terminal pngcairo size 1720,600 noenhanced font 'sans-serif,12' fontscale 2 pointscale 2 linewidth 2\nset "
      "output '{}.png'\nreplot\n",
      stem);
  return script;
}

void replace_all(std::string& text, const std::string& from, const std::string& to) {
  for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
}

// The picture without its XML head, in the text colour of the page, with ids that no other picture of the page has.
std::string inline_svg(std::string svg, const std::string& stem) {
  const std::size_t start = svg.find("<svg");
  if (start == std::string::npos) return "";
  svg.erase(0, start);
  for (const char quote : {'"', '\''}) {
    const std::string q(1, quote);
    replace_all(svg, "color=" + q + "black" + q, "color=" + q + "inherit" + q);
    replace_all(svg, "=" + q + "black" + q, "=" + q + "currentColor" + q);
    replace_all(svg, " id=" + q, " id=" + q + stem + "-");
    replace_all(svg, "href=" + q + "#", "href=" + q + "#" + stem + "-");
  }
  return svg;
}

}  // namespace

std::string file_stem(const std::string& name) {
  std::string stem;
  for (const char c : name.substr(0, 80))
    stem += std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' || c == '.' ? c : '-';
  if (stem.empty() || stem.front() == '.' || stem.front() == '-') stem.insert(0, "result");
  return stem;
}

std::vector<Plot> draw_strip_plots(const ResultView& result, const std::string& stem, const fs::path& plots_dir) {
  std::vector<Plot> plots;
  for (std::size_t i = 0; i < result.cells.size(); ++i) {
    Plot plot;
    plot.cell = static_cast<long>(i);
    plot.stem = result.cells.size() > 1 ? fmt::format("{}-cell{}", stem, i + 1) : stem;
    plot.caption = fmt::format("Every sample of {} in the order it ran{}{}", result.primary,
                               result.cells[i].name.empty() ? "" : ", ", result.cells[i].name);
    const bool any = std::any_of(result.samples.begin(), result.samples.end(), [&](const SampleView& sample) {
      return sample.cell == plot.cell && sample.counts() && sample.metrics.contains(result.primary);
    });
    if (!any) {
      plot.trouble = "no sample has the primary metric";
    } else {
      const std::string script = plot.stem + ".gp";
      std::ofstream file(plots_dir / script);
      file << script_of(result, result.cells[i], plot.cell, plot.stem);
      file.close();
      if (!file)
        throw std::runtime_error("cannot write " + (plots_dir / script).string() + "; give another folder with --out");
      plot.trouble = run_gnuplot(plots_dir, script);
      if (plot.trouble.empty()) plot.svg = inline_svg(read_file(plots_dir / (plot.stem + ".svg")), plot.stem);
    }
    plots.push_back(std::move(plot));
  }
  return plots;
}

}  // namespace crossover::report
