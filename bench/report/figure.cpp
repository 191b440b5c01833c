#include "bench/report/figure.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <stdexcept>

#include "bench/report/palette.h"
#include "bench/report/words.h"
#include "bench/whole_file.h"

namespace crossover::report {

namespace {

namespace fs = std::filesystem;

// Runs gnuplot inside `folder`; what went wrong, empty when nothing did.
std::string run_gnuplot(const fs::path& folder, const std::vector<std::string>& scripts) {
  const std::string log = scripts.front() + ".log";
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addchdir_np(&actions, folder.c_str());
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
  std::vector<std::string> words{"gnuplot", "-d"};  // -d: no settings of the person who runs it
  words.insert(words.end(), scripts.begin(), scripts.end());
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  pid_t child = 0;
  const int failed = posix_spawnp(&child, "gnuplot", &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (failed == ENOENT) return "gnuplot is not installed (Debian: apt-get install gnuplot-nox)";
  if (failed) return std::string("gnuplot could not be started: ") + std::strerror(failed);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
  const std::string said = read_if_there(folder / log);
  std::error_code ignored;
  fs::remove(folder / log, ignored);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return "";
  return "gnuplot failed: " + said.substr(0, 300);
}

// 1, 2 or 5 times a power of ten, so that about `most` marks stand on the axis.
std::string marks_of_x(const Figure& figure, double most) {
  if (!(figure.x_span > 0) || !std::isfinite(figure.x_span)) return "";
  const double power = std::pow(10, std::floor(std::log10(figure.x_span / most))), rest = figure.x_span / most / power;
  return fmt::format("set xtics {:.9g}\n", std::max(figure.x_step, power * (rest <= 1   ? 1
                                                                            : rest <= 2 ? 2
                                                                            : rest <= 5 ? 5
                                                                                        : 10)));
}

std::string file_of(const Figure& figure) {
  std::string text = "# " + label(figure.caption, 200) + "\nreset\nset encoding utf8\n";
  const std::size_t plot = figure.script.rfind("plot ");
  text += figure.script.substr(0, plot) + marks_of_x(figure, 9);
  text += fmt::format("set terminal svg size 800,{} noenhanced font 'sans-serif,13' background '{}'\nset output '{}.svg'\n{}\n",
                      figure.height, kLight.page, figure.stem, figure.script.substr(plot));
  text += marks_of_x(figure, 4.5) + fmt::format(
                                        "set terminal svg size 400,{} noenhanced font 'sans-serif,13' background "
                                        "'{}'\nset output '{}-narrow.svg'\nreplot\n",
                                        figure.narrow_height, kLight.page, figure.stem);
  text += marks_of_x(figure, 9) + fmt::format(
                                      "set terminal pngcairo size 1600,{} noenhanced font 'sans-serif,13' fontscale 2 "
                                      "pointscale 2 linewidth 2 background '{}'\n"
                                      "set output '{}.png'\nreplot\nunset output\n",
                                      2 * figure.height, kLight.page, figure.stem);
  return text;
}

void replace_all(std::string& text, const std::string& from, const std::string& to) {
  for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) text.replace(at, from.size(), to);
}

// Everything from `from` to the next `to`, these included.
void cut_all(std::string& text, const std::string& from, const std::string& to) {
  std::string kept;
  std::size_t done = 0;
  for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, done)) {
    const std::size_t end = text.find(to, at + from.size());
    if (end == std::string::npos) break;
    kept.append(text, done, at - done);
    done = end + to.size();
  }
  text = kept.append(text, done, std::string::npos);
}

// gnuplot writes a colour in two ways: of text and of all else.
void replace_color(std::string& svg, const std::string& hex, const std::string& with) {
  const auto channel = [&](std::size_t at) { return std::stoi(hex.substr(at, 2), nullptr, 16); };
  replace_all(svg, fmt::format("rgb({:3}, {:3}, {:3})", channel(1), channel(3), channel(5)), with);
  replace_all(svg, fmt::format("rgb({},{},{})", channel(1), channel(3), channel(5)), with);
}

// Groups that hold nothing, of which gnuplot writes many.
void cut_empty_groups(std::string& svg) {
  for (std::size_t at = svg.find("<g "); at != std::string::npos; at = svg.find("<g ", at)) {
    const std::size_t end = svg.find('>', at);
    std::size_t next = end == std::string::npos ? end : svg.find_first_not_of(" \n\t", end + 1);
    if (next != std::string::npos && svg.compare(next, 4, "</g>") == 0)
      svg.erase(at, next + 4 - at);
    else
      ++at;
  }
}

// Points of one size and colour in a row become a group that says both once: half the bytes of a picture full of
// points.
void group_points(std::string& svg) {
  std::string out, open;
  std::size_t done = 0;
  for (std::size_t at = svg.find("<use "); at != std::string::npos; at = svg.find("<use ", at + 1)) {
    const std::size_t end = svg.find('>', at) + 1;
    if (end == 0) break;
    int shape = 0;
    double x = 0, y = 0, scale = 0;
    char color[32] = "";
    if (std::sscanf(svg.substr(at, end - at).c_str(),
                    "<use href='#gpPt%d' transform='translate(%lf,%lf) scale(%lf)' color='%31[^']'", &shape, &x, &y,
                    &scale, color) != 5 ||
        !(scale > 0))
      continue;
    const std::string between = svg.substr(done, at - done),
                      group = fmt::format("<g transform='scale({})' color='{}'>\n", scale, color);
    if (group != open || between.find_first_not_of(" \n") != std::string::npos) {
      out += (open.empty() ? "" : "</g>\n") + between + group;
      open = group;
    }
    out += fmt::format("<use href='#gpPt{}' x='{:.2f}' y='{:.2f}'/>\n", shape, x / scale, y / scale);
    done = end;
  }
  svg = out + (open.empty() ? "" : "</g>") + svg.substr(done);
}

// The picture without its head, in the colours of the page, its points taken from point_shapes().
std::string inline_svg(std::string svg, const std::string& words, const char* which) {
  const std::size_t box = svg.find("viewBox=");
  if (box == std::string::npos) return "";
  const std::string view_box = svg.substr(box, svg.find('"', box + 9) + 1 - box);
  svg.erase(0, svg.find('>', box) + 1);
  cut_all(svg, "<title>", "</title>");
  cut_all(svg, "<desc>", "</desc>");
  cut_all(svg, "<defs>", "</defs>");
  cut_all(svg, " id=\"", "\"");
  const std::size_t background = svg.find("<rect");
  if (background != std::string::npos && svg.find("fill=\"" + std::string(kLight.page), background) < svg.find('>', background))
    svg.erase(background, svg.find('>', background) + 1 - background);
  const std::pair<const char*, const char*> colors[] = {{kLight.a, "a"},     {kLight.b, "b"},       {kLight.line, "line"},
                                                        {kLight.ink, "ink"}, {kLight.soft, "soft"}, {kLight.good, "good"},
                                                        {kLight.bad, "bad"}, {kLight.open, "open"}};
  for (const auto& [hex, name] : colors) replace_color(svg, hex, fmt::format("var(--{})", name));
  for (const char quote : {'"', '\''}) {
    const std::string q(1, quote);
    replace_all(svg, "color=" + q + "black" + q, "color=" + q + "inherit" + q);
    replace_all(svg, "=" + q + "black" + q, "=" + q + "currentColor" + q);
  }
  replace_all(svg, "xlink:href", "href");
  replace_all(svg, "\t", "");
  group_points(svg);
  cut_empty_groups(svg);
  cut_empty_groups(svg);
  replace_all(svg, "\n\n", "\n");
  replace_all(svg, " stroke-linecap=\"butt\" stroke-linejoin=\"miter\"", "");  // what a browser does anyway
  return fmt::format("<svg class=\"{}\" {} role=\"img\" aria-label=\"{}\">{}", which, view_box, escape_html(words),
                     svg.substr(0, svg.rfind("</svg>") + 6));
}

}  // namespace

// As gnuplot's svg terminal draws its points 6 (ring), 7 (disc), 9 (triangle), 5 (square), 13 (diamond) and 2 (cross).
std::string point_shapes() {
  return "<svg width=\"0\" height=\"0\" style=\"position:absolute\" aria-hidden=\"true\"><defs>"
         "<path id=\"gpPt1\" stroke-width=\".3\" stroke=\"currentColor\" d=\"M-1,-1L1,1M1,-1L-1,1\"/>"
         "<rect id=\"gpPt4\" fill=\"currentColor\" stroke=\"none\" x=\"-1\" y=\"-1\" width=\"2\" height=\"2\"/>"
         "<circle id=\"gpPt5\" fill=\"none\" stroke-width=\".25\" stroke=\"currentColor\" r=\"1\"/>"
         "<circle id=\"gpPt6\" fill=\"currentColor\" stroke=\"none\" r=\"1\"/>"
         "<path id=\"gpPt8\" fill=\"currentColor\" stroke=\"none\" d=\"M0,-1.33L-1.33,.67L1.33,.67z\"/>"
         "<path id=\"gpPt12\" fill=\"currentColor\" stroke=\"none\" d=\"M0,-1.4L-1.4,0L0,1.4L1.4,0z\"/>"
         "</defs></svg>\n";
}

std::string file_stem(const std::string& name) {
  std::string stem;
  for (const char c : name.substr(0, 80)) stem += std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' || c == '.' ? c : '-';
  if (stem.empty() || stem.front() == '.' || stem.front() == '-') stem.insert(0, "result");
  return stem;
}

void draw(std::vector<Figure>& figures, const fs::path& plots_dir) {
  std::vector<std::string> scripts;
  for (const Figure& figure : figures) {
    if (!figure.trouble.empty()) continue;
    scripts.push_back(figure.stem + ".gp");
    std::ofstream file(plots_dir / scripts.back());
    file << file_of(figure);
    file.close();
    if (!file) throw std::runtime_error("cannot write " + (plots_dir / scripts.back()).string() + "; give another folder with --out");
  }
  if (scripts.empty()) return;
  const bool all_drawn = run_gnuplot(plots_dir, scripts).empty();  // one process for all; where it fails, each by itself
  for (Figure& figure : figures) {
    if (!figure.trouble.empty()) continue;
    if (!all_drawn) figure.trouble = run_gnuplot(plots_dir, {figure.stem + ".gp"});
    if (!figure.trouble.empty()) continue;
    figure.svg = inline_svg(read_if_there(plots_dir / (figure.stem + ".svg")), figure.words, "wide");
    figure.narrow_svg = inline_svg(read_if_there(plots_dir / (figure.stem + "-narrow.svg")), figure.words, "narrow");
  }
}

}  // namespace crossover::report
