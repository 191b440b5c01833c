// Words and numbers of a report.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "bench/report/view.h"

namespace crossover::report {

std::string escape_html(std::string_view text);  // also safe inside a quoted attribute; control characters are dropped
std::string escape_markdown(std::string_view text);  // for a table cell: one line, nothing of it is markup

std::string number(double value);                              // four significant digits: 0.01234, 1.235, 1.235e+09
std::string number(const std::optional<double>& value);        // an absent value is a dash
std::string percent(const std::optional<double>& value);       // "-12.3 %"
std::string percent(const std::optional<Interval>& interval);  // "-14.5 to -10.1 %"
std::string seconds(const std::optional<double>& value);       // "12.3 ms"
std::string seconds(const std::optional<Interval>& interval);
std::string change(double effect_percent);  // "12.3 % faster", "12.3 % slower"

// A share of a load, a prefill or a decode ("load.read_s"), not a headline ("load.total_s", "decode.tokens_per_s").
bool is_part(const std::string& metric);

// What the verdict's own sentence leaves open, from the row of the primary metric: the effect with its interval where
// `reason` has none, the smallest effect that could have been seen.
std::string sentence(const MetricRow& primary, const std::string& reason);

}  // namespace crossover::report
