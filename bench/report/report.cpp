#include "bench/report/report.h"

#include <algorithm>
#include <fstream>
#include <stdexcept>

#include "bench/report/page.h"

namespace crossover {

namespace {

namespace fs = std::filesystem;

void write_file(const fs::path& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  if (!file)
    throw std::runtime_error("cannot write " + path.string() + "; is the disk full? Or give another folder with --out");
}

}  // namespace

void write_report(const std::vector<fs::path>& result_files, const fs::path& out_dir, bool publish) {
  if (result_files.empty())
    throw std::invalid_argument("asked for a report of no result file; give at least one result.json");
  std::vector<report::Page> pages;
  for (const fs::path& file : result_files) pages.push_back({report::load_result(file, publish), {}});

  std::error_code failed;
  fs::create_directories(out_dir / "plots", failed);
  if (failed)
    throw std::runtime_error("cannot make the report folder " + out_dir.string() + ": " + failed.message() +
                             "; give another one with --out");
  std::vector<std::string> taken;
  for (report::Page& page : pages) {
    const std::string name = report::file_stem(page.result.name);
    std::string stem = name;
    for (int n = 2; std::find(taken.begin(), taken.end(), stem) != taken.end(); ++n)
      stem = name + "-" + std::to_string(n);
    taken.push_back(stem);
    page.plots = report::draw_strip_plots(page.result, stem, out_dir / "plots");
    if (publish) write_file(out_dir / (stem + ".json"), page.result.kept_copy);
  }
  write_file(out_dir / "summary.md", report::markdown(pages));
  write_file(out_dir / "report.html", report::html(pages));
  write_file(out_dir / "trace.json", report::trace_json(pages));
}

}  // namespace crossover
