#include "bench/profile/traffic.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

namespace crossover::cupti {
namespace {

using nlohmann::json;

constexpr const char* kNoPhase = "none";
constexpr double kMostIdleShare = 0.1, kLeastSampledShare = 0.9;
constexpr double kMostLag_s = 1e-3;  // clocks that agree leave some samples; the first kernels may move little

double seconds(std::uint64_t ns) { return static_cast<double>(ns) * 1e-9; }

// A time in which the same phases ran, by their index; at least one.
struct Stretch {
  std::uint64_t start_ns, end_ns;
  std::vector<std::size_t> phases;
};

struct Edge {
  std::uint64_t at_ns;
  std::size_t phase;
  int change;
};

class Phases {
 public:
  std::size_t index_of(const std::string* name) {
    const auto [known, is_new] = index_.try_emplace(name ? *name : kNoPhase, list_.size());
    if (is_new) list_.push_back({.name = known->first});
    return known->second;
  }
  PhaseTraffic& operator[](std::size_t index) { return list_[index]; }
  std::vector<PhaseTraffic> by_name() && {
    std::sort(list_.begin(), list_.end(), [](const PhaseTraffic& a, const PhaseTraffic& b) { return a.name < b.name; });
    return std::move(list_);
  }

 private:
  std::map<std::string, std::size_t> index_;
  std::vector<PhaseTraffic> list_;
};

// Kernels and copies of the device whose times CUPTI could take.
std::vector<Edge> edges_of(const Activity& activity, int device, Phases& phases) {
  std::vector<Edge> edges;
  const auto add = [&](const auto& record) {
    const std::size_t phase = phases.index_of(activity.phase_of(record.correlation));
    if (record.start_ns > 0 && record.start_ns < record.end_ns) edges.insert(edges.end(), {{record.start_ns, phase, 1}, {record.end_ns, phase, -1}});
    return phase;
  };
  for (const Kernel& kernel : activity.kernels)
    if (static_cast<int>(kernel.device) == device) ++phases[add(kernel)].launches;
  for (const Copy& copy : activity.copies)
    if (static_cast<int>(copy.device) == device) add(copy);
  std::sort(edges.begin(), edges.end(), [](const Edge& a, const Edge& b) { return a.at_ns < b.at_ns; });
  return edges;
}

std::vector<Stretch> stretches_of(const std::vector<Edge>& edges, Phases& phases) {
  std::vector<Stretch> stretches;
  std::map<std::size_t, int> running;
  for (std::size_t i = 0; i < edges.size(); ++i) {
    if (const auto now = running.try_emplace(edges[i].phase, 0).first; (now->second += edges[i].change) == 0) running.erase(now);
    if (running.empty() || edges[i + 1].at_ns == edges[i].at_ns) continue;
    Stretch& stretch = stretches.emplace_back(Stretch{edges[i].at_ns, edges[i + 1].at_ns, {}});
    for (const auto& [phase, kernels] : running) {
      stretch.phases.push_back(phase);
      phases[phase].busy_s += seconds(stretch.end_ns - stretch.start_ns);
    }
  }
  return stretches;
}

// What ran in one sample, in seconds by phase.
struct Shares {
  std::map<std::size_t, double> own_s, ran_s;  // its part of the time, and all of the time it ran
  double busy_s = 0;
};

Shares shares_of(const CounterSample& sample, std::vector<Stretch>::const_iterator stretch, std::vector<Stretch>::const_iterator end) {
  Shares shares;
  for (; stretch != end && stretch->start_ns < sample.end_ns; ++stretch) {
    const std::uint64_t from_ns = std::max(stretch->start_ns, sample.start_ns), to_ns = std::min(stretch->end_ns, sample.end_ns);
    if (from_ns >= to_ns) continue;
    const double length_s = seconds(to_ns - from_ns);
    shares.busy_s += length_s;
    for (const std::size_t phase : stretch->phases) {
      shares.own_s[phase] += length_s / static_cast<double>(stretch->phases.size());
      shares.ran_s[phase] += length_s;
    }
  }
  return shares;
}

void divide(const CounterSample& sample, const Shares& shares, Phases& phases) {
  const double length_s = seconds(sample.end_ns - sample.start_ns);
  for (const auto& [index, own_s] : shares.own_s) {
    PhaseTraffic& phase = phases[index];
    const double share = own_s / shares.busy_s, ran_s = shares.ran_s.at(index);
    phase.read_bytes += share * sample.read_bytes, phase.written_bytes += share * sample.written_bytes;
    if (shares.own_s.size() > 1) phase.divided_bytes += share * (sample.read_bytes + sample.written_bytes);
    phase.sampled_s += ran_s;
    phase.peak_bytes += sample.peak_bytes * ran_s / length_s;
  }
}

// Samples begin on an idle device, so what they count should begin when it does something: the one sign that both are of one clock.
std::optional<double> lag_of(const DeviceTraffic& sum, const std::vector<CounterSample>& samples, const std::vector<Stretch>& stretches) {
  const double enough_bytes = 0.1 * (sum.read_bytes + sum.written_bytes) / static_cast<double>(std::max<std::size_t>(1, samples.size()));
  const auto first = std::find_if(samples.begin(), samples.end(), [&](const CounterSample& s) { return s.read_bytes + s.written_bytes > enough_bytes; });
  if (first == samples.end() || stretches.empty()) return std::nullopt;
  const std::uint64_t ran_ns = stretches.front().start_ns;
  return first->end_ns < ran_ns ? -seconds(ran_ns - first->end_ns) : seconds(first->start_ns - std::min(first->start_ns, ran_ns));
}

json phase_json(int device, const PhaseTraffic& phase) {
  json out{{"name", phase.name}, {"device", device}, {"launches", phase.launches}, {"busy_s", phase.busy_s}, {"sampled_s", phase.sampled_s}};
  if (phase.sampled_s <= 0) return out;
  const double bytes = phase.read_bytes + phase.written_bytes;
  out["read_bytes"] = phase.read_bytes, out["written_bytes"] = phase.written_bytes, out["bytes_per_s"] = bytes / phase.sampled_s;
  if (phase.peak_bytes > 0) out["of_peak_percent"] = 100 * bytes / phase.peak_bytes;
  if (bytes > 0) out["divided_percent"] = 100 * phase.divided_bytes / bytes;
  return out;
}

json device_json(const DeviceTraffic& traffic) {
  json out{{"device", traffic.device}, {"chip", traffic.chip}, {"samples", traffic.samples}, {"malformed", traffic.malformed}, {"overflow", traffic.overflow}};
  if (!traffic.trouble.empty()) out["why"] = traffic.trouble;
  if (traffic.samples == 0) return out;
  out["sampled_s"] = traffic.sampled_s, out["interval_s"] = traffic.sampled_s / static_cast<double>(traffic.samples);
  out["read_bytes"] = traffic.read_bytes, out["written_bytes"] = traffic.written_bytes, out["idle_bytes"] = traffic.idle_bytes;
  if (traffic.peak_bytes > 0) out["peak_bytes_per_s"] = traffic.peak_bytes / traffic.sampled_s;
  if (traffic.lag_s) out["lag_s"] = *traffic.lag_s;
  return out;
}

}  // namespace

DeviceTraffic traffic_of(const Activity& activity, const CounterSamples& samples) {
  DeviceTraffic out{.device = samples.device, .chip = samples.chip, .samples = samples.samples.size(), .lag_s = {}, .phases = {}, .overflow = samples.overflow,
                    .malformed = samples.malformed, .trouble = samples.trouble};
  Phases phases;
  const std::vector<Stretch> stretches = stretches_of(edges_of(activity, samples.device, phases), phases);
  auto stretch = stretches.begin();
  for (const CounterSample& sample : samples.samples) {
    while (stretch != stretches.end() && stretch->end_ns <= sample.start_ns) ++stretch;
    const Shares shares = shares_of(sample, stretch, stretches.end());
    divide(sample, shares, phases);
    out.sampled_s += seconds(sample.end_ns - sample.start_ns);
    out.read_bytes += sample.read_bytes, out.written_bytes += sample.written_bytes, out.peak_bytes += sample.peak_bytes;
    if (shares.busy_s <= 0) out.idle_bytes += sample.read_bytes + sample.written_bytes;
  }
  out.lag_s = lag_of(out, samples.samples, stretches);
  out.phases = std::move(phases).by_name();
  return out;
}

json counters_json(const std::vector<DeviceTraffic>& devices, const std::string& why) {
  json out = json::object();
  if (!why.empty()) out["why"] = why;
  if (devices.empty()) return out;
  out["metrics"] = counter_metrics(), out["devices"] = json::array(), out["phases"] = json::array();
  for (const DeviceTraffic& traffic : devices) {
    out["devices"].push_back(device_json(traffic));
    if (traffic.samples == 0) continue;
    for (const PhaseTraffic& phase : traffic.phases) out["phases"].push_back(phase_json(traffic.device, phase));
  }
  return out;
}

std::vector<std::string> counter_flags(const std::vector<DeviceTraffic>& devices) {
  std::vector<std::string> flags;
  for (const DeviceTraffic& traffic : devices) {
    double busy_s = 0, sampled_s = 0;
    for (const PhaseTraffic& phase : traffic.phases) busy_s += phase.busy_s, sampled_s += phase.sampled_s;
    const std::string counters = fmt::format("trace: counters of GPU {}", traffic.device);
    if (!traffic.trouble.empty()) flags.push_back(fmt::format("{}: {}", counters, traffic.trouble));
    else if (traffic.overflow) flags.push_back(counters + ": samples were lost, the hardware's buffer was full");
    if (traffic.samples > 0 && sampled_s < kLeastSampledShare * busy_s)
      flags.push_back(fmt::format("{} saw {:.0f} % of the time that its kernels ran", counters, 100 * sampled_s / busy_s));
    if (traffic.lag_s && std::abs(*traffic.lag_s) > kMostLag_s)
      flags.push_back(fmt::format("{} begin to count {:.1f} ms {} its first kernel: their clocks may differ, then phases have each other's bytes", counters,
                                  1e3 * std::abs(*traffic.lag_s), *traffic.lag_s < 0 ? "before" : "after"));
    if (const double bytes = traffic.read_bytes + traffic.written_bytes; traffic.idle_bytes > kMostIdleShare * bytes)
      flags.push_back(fmt::format("{}: {:.0f} % of the bytes were moved while nothing of this program ran there", counters, 100 * traffic.idle_bytes / bytes));
  }
  return flags;
}

}  // namespace crossover::cupti
