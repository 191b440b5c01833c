#include "bench/report/words.h"

#include <fmt/format.h>

#include <cmath>

namespace crossover::report {

namespace {

constexpr const char* kAbsent = "–";

std::string trimmed(double value) { return fmt::format("{:.2f}", value == 0 ? 0.0 : value); }

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

}  // namespace

std::string escape_html(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      case '\'':
        escaped += "&#39;";
        break;
      default:
        if (static_cast<unsigned char>(c) >= 0x20 || c == '\n' || c == '\t') escaped += c;
    }
  }
  return escaped;
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

std::string change(double effect_percent) {
  return fmt::format("{:.2f} % {}", std::abs(effect_percent), effect_percent < 0 ? "faster" : "slower");
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
    text = fmt::format("B is {} than A in {}", change(*primary.effect_percent), primary.name);
    text += primary.interval_percent
                ? fmt::format(" (95 % interval: {} to {}). ", change(primary.interval_percent->low),
                              change(primary.interval_percent->high))
                : " (too few pairs for an interval). ";
  }
  if (primary.mde_percent && reason.find("smallest") == std::string::npos)
    text += fmt::format("The smallest effect that this run could be expected to find: {:.2f} %.", *primary.mde_percent);
  return text;
}

}  // namespace crossover::report
