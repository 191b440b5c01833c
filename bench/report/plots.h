// Pictures of a result, drawn by gnuplot.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "bench/report/view.h"

namespace crossover::report {

struct Plot {
  std::string stem;  // file name without extension, below the plots folder
  std::string caption;
  std::string svg;      // ready to stand inside HTML; empty where gnuplot did not draw
  std::string trouble;  // why not: gnuplot is missing, or what it said
  long cell;
};

// One strip plot for each cell: every sample in the order it ran, arms marked, their medians as lines. Writes STEM.gp
// (the data and the commands), STEM.svg and STEM.png.
std::vector<Plot> draw_strip_plots(const ResultView& result, const std::string& stem,
                                   const std::filesystem::path& plots_dir);

// Letters, digits, '-', '_' and '.' only, at most 80; never empty, hidden or a way out of the folder.
std::string file_stem(const std::string& name);

}  // namespace crossover::report
