#include "bench/report/words.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <map>

namespace crossover::report {

namespace {

constexpr const char* kAbsent = "–";

std::string trimmed(double value) {
  if (std::abs(value) >= 1e6) return fmt::format("{:.3g}", value);
  const std::string text = fmt::format("{:.2f}", value);
  return text == "-0.00" ? "0.00" : text;
}

// Marks that make a page show a text in another order than it is in (Unicode's bidirectional controls U+202A to U+202E, U+2066 to U+2069).
std::string without_direction_marks(const std::string& text) {
  if (text.find("\xE2\x80") == std::string::npos && text.find("\xE2\x81") == std::string::npos) return text;
  std::string kept;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto last = i + 2 < text.size() ? static_cast<unsigned char>(text[i + 2]) : 0;
    const bool mark = (text.compare(i, 2, "\xE2\x80") == 0 && last >= 0xAA && last <= 0xAE) ||
                      (text.compare(i, 2, "\xE2\x81") == 0 && last >= 0xA6 && last <= 0xA9);
    if (mark) i += 2;
    else kept += text[i];
  }
  return kept;
}

// One unit for both ends of an interval: that of the larger.
struct Unit {
  double scale;
  const char* name;
};

Unit unit_of(double seconds) {
  const double size = std::abs(seconds);
  if (size >= 1) return {1, "s"};
  if (size >= 1e-3) return {1e3, "ms"};
  return {1e6, "µs"};
}

const char* direction(double effect_percent, const std::string& metric) {
  const bool good = effect_percent < 0;
  if (metric.ends_with("bytes")) return good ? "smaller" : "larger";
  if (metric.ends_with("_s")) return good ? "faster" : "slower";
  return good ? "better" : "worse";
}

}  // namespace

std::string escape(std::string_view text, std::initializer_list<Escape> escapes, std::string_view kept) {
  std::string escaped;
  for (const char c : text) {
    const auto* const found = std::find_if(escapes.begin(), escapes.end(), [c](const Escape& candidate) { return candidate.from == c; });
    if (found != escapes.end()) escaped += found->to;
    else if (static_cast<unsigned char>(c) >= 0x20 || kept.find(c) != std::string_view::npos) escaped += c;
  }
  return escaped;
}

std::string escape_html(std::string_view text) {
  return without_direction_marks(
      escape(text, {{'&', "&amp;"}, {'<', "&lt;"}, {'>', "&gt;"}, {'"', "&quot;"}, {'\'', "&#39;"}, {'\x7f', ""}}, "\n\t"));
}

std::string escape_markdown(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '<')
      escaped += "&lt;";
    else if (c == '>')
      escaped += "&gt;";
    else if (c == '&')
      escaped += "&amp;";
    else if (static_cast<unsigned char>(c) < 0x20)
      escaped += ' ';
    else if (std::string_view("\\`*[]|~").find(c) != std::string_view::npos)
      (escaped += '\\') += c;
    else
      escaped += c;
  }
  return escaped;
}

std::string number(double value) { return fmt::format("{:.4g}", value); }

std::string number(const std::optional<double>& value) { return value ? number(*value) : kAbsent; }

std::string percent(const std::optional<double>& value) { return value ? trimmed(*value) + " %" : kAbsent; }

std::string percent(const std::optional<Interval>& interval) {
  return interval ? trimmed(interval->low) + " to " + trimmed(interval->high) + " %" : kAbsent;
}

std::string seconds(const std::optional<double>& value) {
  if (!value) return kAbsent;
  const Unit unit = unit_of(*value);
  return fmt::format("{:.4g} {}", *value * unit.scale, unit.name);
}

std::string seconds(const std::optional<Interval>& interval) {
  if (!interval) return kAbsent;
  const Unit unit = unit_of(std::max(std::abs(interval->low), std::abs(interval->high)));
  return fmt::format("{:.4g} to {:.4g} {}", interval->low * unit.scale, interval->high * unit.scale, unit.name);
}

std::string change(double effect_percent, const std::string& metric) {
  return fmt::format("{} % {}", trimmed(std::abs(effect_percent)), direction(effect_percent, metric));
}

std::string changes(const Interval& effect_percent, const std::string& metric) {
  const auto [low, high] = effect_percent;
  if ((low < 0) != (high < 0)) return change(low, metric) + " to " + change(high, metric);
  return fmt::format("{} to {}", trimmed(std::min(std::abs(low), std::abs(high))),
                     change(std::abs(low) > std::abs(high) ? low : high, metric));
}

std::string meaning(const std::string& metric) {
  static const std::map<std::string, const char*> kMeanings{{"process.start_s", "start of the process"},
                                                            {"load.total_s", "time of the whole load"},
                                                            {"prefill.total_s", "time to read the prompt"},
                                                            {"prefill.tokens_per_s", "prompt tokens read per second"},
                                                            {"ttft_s", "time to the first token"},
                                                            {"decode.total_s", "time to generate the tokens"},
                                                            {"decode.tokens_per_s", "tokens generated per second"},
                                                            {"quantize.weights_per_s", "weights quantized per second"},
                                                            {"memory.peak_bytes", "most memory held"},
                                                            {"wall_s", "time from start to end"}};
  if (const auto known = kMeanings.find(metric); known != kMeanings.end()) return known->second;
  if (!is_part(metric)) return "";
  const std::size_t dot = metric.find('.');
  return fmt::format("time in the part {} of {}", metric.substr(dot + 1, metric.size() - dot - 3),
                     metric.starts_with("load.")     ? "a load"
                     : metric.starts_with("decode.") ? "generating tokens"
                                                     : "reading the prompt");
}

bool is_part(const std::string& metric) {
  const auto starts = [&](const char* group) { return metric.starts_with(group); };
  return (starts("load.") || starts("prefill.") || starts("decode.")) && metric.ends_with("_s") &&
         !metric.ends_with(".total_s") && !metric.ends_with("_per_s");
}

std::string sentence(const MetricRow& primary, const std::string& reason) {
  std::string text;
  if (!primary.effect_percent) return fmt::format("No effect could be computed for {}.", primary.name);
  if (reason.find("interval") == std::string::npos) {
    text = fmt::format("B is {} than A in {}", change(*primary.effect_percent, primary.name), primary.name);
    text += primary.interval_percent
                ? fmt::format(" (95 % interval: {}). ", changes(*primary.interval_percent, primary.name))
                : " (too few pairs for an interval). ";
  }
  if (primary.mde_percent && reason.find("smallest") == std::string::npos)
    text += fmt::format("The smallest effect that this run could be expected to find: {:.2f} %.", *primary.mde_percent);
  return text;
}

Scale scale_of(const std::string& metric, double size) {
  size = std::abs(size);
  const auto metric_prefix = [&](const std::string& unit) {
    return size >= 1e9 ? Scale{1e-9, "G" + unit} : size >= 1e6 ? Scale{1e-6, "M" + unit} : size >= 1e4 ? Scale{1e-3, "k" + unit} : Scale{1, unit};
  };
  if (metric.ends_with("_per_s")) {
    const std::string stem = metric.substr(0, metric.size() - 6);
    const std::string what = stem.substr(stem.find_last_of("._") == std::string::npos ? 0 : stem.find_last_of("._") + 1);
    if (what == "bytes") return metric_prefix("B/s");
    if (size < 1e6) return {1, what + "/s"};
    const Scale scale = metric_prefix(" " + what + "/s");
    return scale;
  }
  if (metric.ends_with("_s")) {
    const Unit unit = unit_of(size);
    return {unit.scale, unit.name};
  }
  if (metric.ends_with("bytes")) return metric_prefix("B");
  if (metric.ends_with("_share")) return {100, "%"};
  return {1, ""};
}

Scale scale_of(const MetricRow& row) { return scale_of(row.name, std::max(std::abs(row.a.value_or(0)), std::abs(row.b.value_or(0)))); }

std::string quantity(const std::string& metric, const std::optional<double>& value) { return quantity(scale_of(metric, value.value_or(0)), value); }

std::string quantity(const Scale& scale, const std::optional<double>& value) {
  if (!value) return kAbsent;
  return fmt::format("{:.4g}{}{}", *value * scale.factor, scale.unit.empty() ? "" : " ", scale.unit);
}

std::string label(const std::string& text, std::size_t bytes) {
  std::string cut = text.substr(0, bytes);
  if (text.size() > bytes) {  // not in the middle of a character
    while (!cut.empty() && (static_cast<unsigned char>(text[cut.size()]) & 0xC0) == 0x80) cut.pop_back();
    cut += "..";
  }
  std::string safe;
  for (const char c : without_direction_marks(cut)) {
    const auto byte = static_cast<unsigned char>(c);
    safe += byte >= 0x80 || std::isalnum(byte) || std::string_view(" ._-/%,:;()=+*").find(c) != std::string_view::npos ? c : '?';
  }
  return safe;
}

}  // namespace crossover::report
