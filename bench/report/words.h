// Words and numbers of a report.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include "bench/report/view.h"

namespace crossover::report {

struct Escape {
  char from;
  std::string_view to;
};
// Each character that has an escape becomes it; of the control characters without one only those of `kept` stay.
std::string escape(std::string_view text, std::initializer_list<Escape> escapes, std::string_view kept);
std::string escape_html(std::string_view text);      // also safe inside a quoted attribute; control characters are dropped
std::string escape_markdown(std::string_view text);  // for a table cell: one line, nothing of it is markup

std::string number(double value);                              // four significant digits: 0.01234, 1.235, 1.235e+09
std::string number(const std::optional<double>& value);        // an absent value is a dash
std::string percent(const std::optional<double>& value);       // "-12.3 %"
std::string percent(const std::optional<Interval>& interval);  // "-14.5 to -10.1 %"
std::string seconds(const std::optional<double>& value);       // "12.3 ms"
std::string seconds(const std::optional<Interval>& interval);

// "12.3 % faster", "12.3 % slower"; smaller or larger for bytes; better or worse for what is neither a time nor a rate
// nor bytes.
std::string change(double effect_percent, const std::string& metric);
std::string changes(const Interval& effect_percent,
                    const std::string& metric);  // "12.3 to 14.1 % faster", "1.2 % faster to 0.8 % slower"

std::string meaning(
    const std::string& metric);  // "time of the whole load" of "load.total_s"; "" where the name is not known

// What a metric is measured in, by its name, with the prefix that suits values of this size: {1e3, "ms"} for "load.total_s" of 0.2.
struct Scale {
  double factor;     // shown = value * factor
  std::string unit;  // "" where the name says none
};
Scale scale_of(const std::string& metric, double size);
std::string quantity(const Scale& scale, const std::optional<double>& value);
std::string quantity(const std::string& metric, const std::optional<double>& value);  // "12.3 ms", "25.4 tokens/s", "1.36 GB", "58.3 %"

Scale scale_of(const MetricRow& row);  // one for both arms: that of the larger

// At most `bytes` of a text for gnuplot, in single quotes: nothing in it ends the quotes or starts a command.
std::string label(const std::string& text, std::size_t bytes = 60);

// A share of a load, a prefill or a decode ("load.read_s"), not a headline ("load.total_s", "decode.tokens_per_s").
bool is_part(const std::string& metric);

// What the verdict's own sentence leaves open, from the row of the primary metric: the effect with its interval where
// `reason` has none, the smallest effect that could have been seen.
std::string sentence(const MetricRow& primary, const std::string& reason);

// One sentence for a person who knows none of this: "B (pool) is 42.80 % faster than A (serial): 2.39 s instead of 4.37
// s (time of the whole load: load.total_s, medians)."
std::string plain_answer(const ResultView& result, const CellView& cell);
std::string plain_answer(const ResultView& result);  // of several cells: in how many of them which arm is faster
std::string short_answer(
    const CellView& cell);  // "12.3 % faster (11.1 to 13.4 % faster)", a line of a list of cells; "" without an effect
std::string how_sure(const CellView& cell);      // the interval, pairs, smallest effect that would have been seen
std::string how_sure(const ResultView& result);  // of several cells

// "chunk=64"; the value alone where a name of the result's cells is longer than a line of a picture holds. "" where the
// run has one cell.
std::string cell_label(const ResultView& result, const CellView& cell);
bool full_names(const ResultView& result);
std::string what_would_change_it(const ResultView& result, const CellView& cell);  // empty for an INVALID result: its reason says it

}  // namespace crossover::report
