#include "bench/report/report.h"

#include <algorithm>
#include <fstream>
#include <stdexcept>

#include "bench/report/page.h"

namespace crossover {

namespace {

namespace fs = std::filesystem;

void close_file(std::ofstream& file, const fs::path& path) {
  file.close();
  if (!file) throw std::runtime_error("cannot write " + path.string() + "; is the disk full? Or give another folder with --out");
}

void write_file(const fs::path& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  close_file(file, path);
}

}  // namespace

void write_report(const std::vector<fs::path>& result_files, const fs::path& out_dir, bool publish) {
  if (result_files.empty()) throw std::invalid_argument("asked for a report of no result file; give at least one result.json");
  std::vector<report::Page> pages;
  for (const fs::path& file : result_files) pages.push_back({report::load_result(file, publish), {}, ""});

  std::error_code failed;
  fs::create_directories(out_dir / "plots", failed);
  if (failed)
    throw std::runtime_error("cannot make the report folder " + out_dir.string() + ": " + failed.message() +
                             "; give another one with --out");
  std::vector<std::string> taken{"report"};  // report.html is the page itself, or the index
  for (report::Page& page : pages) {
    const std::string name = report::file_stem(page.result.name);
    page.stem = name;
    for (int n = 2; std::find(taken.begin(), taken.end(), page.stem) != taken.end(); ++n) page.stem = name + "-" + std::to_string(n);
    taken.push_back(page.stem);
    page.figures = report::figures_of(page.result, page.stem);
    report::draw(page.figures, out_dir / "plots");
    if (publish) write_file(out_dir / (page.stem + ".json"), page.result.kept_copy);
    if (pages.size() > 1) write_file(out_dir / (page.stem + ".html"), report::html(page));
  }
  write_file(out_dir / "summary.md", report::markdown(pages));
  write_file(out_dir / "report.html", pages.size() > 1 ? report::html_index(pages) : report::html(pages.front()));
  std::ofstream trace(out_dir / "trace.json", std::ios::binary);
  report::write_trace(pages, trace);
  close_file(trace, out_dir / "trace.json");
}

}  // namespace crossover
