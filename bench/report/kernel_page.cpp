#include "bench/report/kernel_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "bench/micro/table.h"
#include "bench/report/figure.h"
#include "bench/report/html_parts.h"
#include "bench/report/read_json.h"

namespace crossover {

namespace {

namespace fs = std::filesystem;
using report::Json;

constexpr std::size_t kWords = 4;  // columns before the numbers: kernel, shape, threads, what bounds it

std::string cells_html(const micro_bench::Cells& cells, std::size_t words) {
  std::string rows;
  for (const std::vector<std::string>& row : cells.rows) {
    rows += "<tr>";
    for (std::size_t i = 0; i < row.size(); ++i) rows += i < words ? report::cell(row[i]) : report::number_cell(row[i]);
    rows += "</tr>\n";
  }
  return report::table(cells.head, rows, static_cast<int>(words));
}

// Of the machine that was measured; its name and its folders are nobody's business.
std::string machine_html(const Json& run) {
  std::vector<report::Fact> ceilings, context;
  report::flatten(report::member(run, "ceilings"), "", ceilings);
  for (const char* name : {"date", "num_cpus", "mhz_per_cpu", "cpu_scaling_enabled", "library_build_type"})
    if (const std::string value = report::text(report::member(run, "context"), name); !value.empty()) context.push_back({name, value});
  return report::facts("Ceilings", ceilings) + report::facts("Context", context);
}

}  // namespace

bool is_kernel_run(const fs::path& file) try {
  const Json run = report::parse_bounded(file, "samples");
  return report::member(run, "benchmarks").is_array() && report::member(run, "schema").is_null();
} catch (const std::exception&) {
  return false;
}

fs::path write_kernel_page(const fs::path& file, const fs::path& out_dir) {
  const Json run = report::parse_bounded(file, "");
  const bool gpu = !report::member(run, "ceilings").is_object();
  micro_bench::Cells cells;
  try {
    cells = gpu ? micro_bench::gpu_kernel_cells(run.dump()) : micro_bench::kernel_cells(run.dump());
  } catch (const std::exception& error) {
    throw std::runtime_error(fmt::format("{}: {}", file.string(), error.what()));
  }
  const std::string name = report::file_stem(file.stem().string());
  std::string body = "<main>\n" + report::paragraph("Crossover kernels", "eyebrow") +
                     fmt::format("<h1>{} kernels and shapes: {}</h1>\n", cells.rows.size(), name) +
                     report::paragraph(gpu ? "Each kernel of the backend cuda beside the ceiling that bounds it, which the same run measured."
                                           : "GFLOP/s, Gop/s (int8) or GB/s (memory) by what bounds a kernel, in parentheses the part of its machine's ceiling "
                                             "for as many threads. \"fastest / NAME\" says how many times as fast ours is.") +
                     cells_html(cells, gpu ? 1 : kWords) + machine_html(run) + report::paragraph("Source: " + file.filename().string(), "note") + "</main>\n";
  std::error_code failed;
  fs::create_directories(out_dir, failed);
  const fs::path page = out_dir / (name + (name == "report" || name == "trend" ? "-kernels.html" : ".html"));
  std::ofstream out(page, std::ios::binary);
  out << report::document("Crossover kernels: " + name, body);
  out.close();
  if (!out) throw std::runtime_error(fmt::format("cannot write {}; give another folder with --out", page.string()));
  return page;
}

}  // namespace crossover
