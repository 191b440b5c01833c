// What the scripts of several pictures share.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bench/report/figure.h"
#include "bench/report/palette.h"
#include "bench/report/words.h"

namespace crossover::report {

inline constexpr double kDrawableSize = 1e150;    // gnuplot's own arithmetic overflows beyond
inline constexpr std::size_t kMostPoints = 1500;  // of one arm in one picture
inline constexpr std::size_t kMostRows = 2000;    // of the numbers behind a picture

inline constexpr const char* kFrame =
    "set border 3 lc rgb '#515a64'\nset tics nomirror out scale 0.5 textcolor rgb '#1b1f24'\nset grid ytics lt 1 lw 0.5 lc rgb '#cfd6dd'\n"
    "set key outside top center horizontal samplen 1.5\n";

struct Point {
  double x, y;
};

// "$NAME << EOD ... EOD". Points too large to draw are left out; where there are more than `most`, each run of neighbours keeps its
// lowest and its highest. `left_out` counts what is not drawn.
std::string data_block(const std::string& name, const std::vector<Point>& points, std::size_t& left_out, std::size_t most = kMostPoints);

// "A: 8 samples, median 4.37 s, 4.10 s to 4.92 s"
std::string spread(const std::string& who, const std::string& metric, std::vector<double> values);

// "load.total_s, ms" up the side of a picture of that height; the unit alone where both are too long.
std::string y_title(const std::string& metric, const std::string& unit, int height);

std::string left_out_note(std::size_t left_out);  // "" for none

// The figures of each file that makes some.
std::vector<Figure> effect_figures(const ResultView& result);  // also curves
std::optional<Figure> samples_figure(const ResultView& result, long cell);
std::optional<Figure> pairs_figure(const ResultView& result, long cell);
std::optional<Figure> phases_figure(const ResultView& result, long cell);
std::optional<Figure> timeline_figure(const ResultView& result, long cell);
std::optional<Figure> floors_figure(const ResultView& result, long cell);
std::optional<Figure> series_figure(const ResultView& result, long cell);

std::string short_number(double value);  // for a table: up to six digits

}  // namespace crossover::report
