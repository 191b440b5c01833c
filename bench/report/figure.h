// Pictures of a result, drawn by gnuplot, each with words that say the same and the numbers behind it.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "bench/report/view.h"

namespace crossover::report {

struct Figure {
  std::string stem;  // file name without extension, below the plots folder
  std::string kind;  // "effects", "samples", "pairs", "phases", "timeline", "floors", "curve", "series"
  long cell = -1;    // -1: of all cells
  std::string caption;
  std::string words;              // the text alternative: what the picture shows, with its numbers
  std::vector<std::string> head;  // of the numbers behind it
  std::vector<std::vector<std::string>> rows;
  std::string script;                     // data and commands, up to "plot ..."
  int height = 300, narrow_height = 300;  // of 800 and of 400 units of width
  double x_span = 0;  // what the horizontal axis covers, so that its marks keep their distance; 0: as gnuplot sets them
  double x_step = 0;  // no marks closer than this: 1 where it counts
  std::string svg, narrow_svg;            // ready to stand inside HTML; empty where gnuplot did not draw
  std::string trouble;                    // why not: gnuplot is missing, what it said, nothing to draw
};

// Every picture of a result, not yet drawn. `stem` starts their file names.
std::vector<Figure> figures_of(const ResultView& result, const std::string& stem);

// Writes STEM.gp (the data and the commands), STEM.svg, STEM-narrow.svg (for a phone) and STEM.png, and fills in the svgs.
// std::runtime_error where the folder cannot be written; what gnuplot cannot do is the figure's trouble.
void draw(std::vector<Figure>& figures, const std::filesystem::path& plots_dir);

// The shapes of points, once in a page: the svgs refer to them.
std::string point_shapes();

// Letters, digits, '-', '_' and '.' only, at most 80; never empty, hidden or a way out of the folder.
std::string file_stem(const std::string& name);

}  // namespace crossover::report
