// Turns result files into something a person reads: summary.md, one self-contained report.html, plots/*.svg and *.png.
#pragma once

#include <filesystem>
#include <vector>

namespace crossover {

// Writes OUT/summary.md, OUT/report.html and OUT/plots. `publish` leaves host names and absolute paths out and
// writes OUT/NAME.json too, the result itself as it may be kept beside what cites it. Plots come
// from gnuplot; where it is missing the report says so and carries everything else. std::invalid_argument for no files;
// std::runtime_error for a result file that cannot be read or is none (named), and for a folder that cannot be written.
void write_report(const std::vector<std::filesystem::path>& result_files, const std::filesystem::path& out_dir,
                  bool publish);

}  // namespace crossover
