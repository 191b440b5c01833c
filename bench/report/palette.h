// The colours of a report, on a light and on a dark page. Text has a contrast of at least 4.5 on both of its backgrounds, marks of at
// least 3 (WCAG 2.1, 1.4.3 and 1.4.11). The arms are blue and orange, which every kind of colour blindness keeps apart, and differ in shape
// too.
#pragma once

#include <string>

namespace crossover::report {

struct Palette {
  const char *page, *card, *line;  // backgrounds, borders and grids
  const char *ink, *soft;          // text
  const char *good, *bad, *open;   // verdicts, as text and as marks
  const char *a, *b;               // the arms, as text and as marks
};

inline constexpr Palette kLight{"#ffffff", "#f4f6f8", "#cfd6dd", "#1b1f24", "#515a64",
                                "#176f31", "#b91c28", "#855800", "#0b5cad", "#a84300"};
inline constexpr Palette kDark{"#0d1117", "#161b22", "#3a424c", "#e6edf3", "#a3adb8",
                               "#4cc566", "#ff8b83", "#dba73a", "#74b8ff", "#ffad66"};

// (L1 + 0.05) / (L2 + 0.05) of two "#rrggbb" colours, the lighter one above: 1 to 21. WCAG 2.1, "contrast ratio".
double contrast(const std::string& x, const std::string& y);

std::string style_sheet();  // of every page; both palettes, small screens, paper

}  // namespace crossover::report
