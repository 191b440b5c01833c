#include "bench/profile/gpu_trace.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "bench/profile/activity_json.h"
#include "bench/profile/traffic.h"

namespace crossover {
namespace {

using nlohmann::json;

constexpr std::size_t kMostPhaseSpans = 20'000;

// The phases of every rank as the device's events tell them.
void put_phase_rows(const Engine& engine, double begin_s, json& trace) {
  const std::vector<LoadSpan> spans = engine.pass_timeline(begin_s);
  std::map<int, json> rows;
  for (std::size_t i = 0; i < std::min(spans.size(), kMostPhaseSpans); ++i)
    rows[spans[i].rank].push_back({spans[i].phase, spans[i].start_s, spans[i].end_s, spans[i].phase});
  for (auto& [rank, list] : rows) trace["rows"].push_back({{"name", fmt::format("rank {} phases", rank)}, {"spans", std::move(list)}});
  if (spans.size() > kMostPhaseSpans) trace["phase_spans_left_out"] = spans.size() - kMostPhaseSpans;
}

}  // namespace

void GpuTrace::begin(Engine& engine, bool counters) {
  why_ = library_.why();
  if (library_.found()) {
    recorder_.emplace(library_);
    try {
      recorder_->start();
      engine.set_range_listener(&*recorder_);
    } catch (const std::runtime_error& error) {
      why_ = error.what();
      recorder_.reset();
    }
  }
  if (!counters) counters_.why = "a sample that counted failed";
  else if (recorder_) counters_ = cupti::sample_counters(library_, engine.gpus());
  launches_ = engine.kernel_launches();
  begin_s_ = monotonic_s();
}

void GpuTrace::end(Engine& engine, Sample& sample) {
  const std::int64_t launches = engine.kernel_launches() - launches_;
  json trace{{"rows", json::array()}};
  if (recorder_) {
    engine.set_range_listener(nullptr);
    std::vector<cupti::CounterSamples> samples;
    for (const auto& sampler : counters_.of_devices) samples.push_back(sampler->stop());
    const cupti::Activity activity = recorder_->stop();
    counters_.of_devices.clear();  // not before: that may end what records
    trace = cupti::activity_json(activity, launches, begin_s_);
    trace["source"] = "cupti";
    std::vector<cupti::DeviceTraffic> traffic;
    for (const cupti::CounterSamples& of_device : samples) traffic.push_back(cupti::traffic_of(activity, of_device));
    trace["counters"] = cupti::counters_json(traffic, counters_.why);
    for (std::string& flag : cupti::counter_flags(traffic)) sample.flags.push_back(std::move(flag));
    sample.path["kernels"] = cupti::kernel_path(activity);
    const auto seen = static_cast<std::int64_t>(activity.kernels.size());
    if (activity.dropped > 0) sample.flags.push_back(fmt::format("trace: CUPTI dropped {} records", activity.dropped));
    else if (seen != launches) sample.flags.push_back(fmt::format("trace: the engine counted {} launches, CUPTI saw {} kernels", launches, seen));
  } else {
    trace["source"] = "events", trace["why"] = why_, trace["launches"] = {{"engine", launches}};
    trace["counters"] = cupti::counters_json({}, why_);
  }
  if (library_.found()) trace["cupti"] = {{"library", library_.path()}, {"version", library_.version()}};
  put_phase_rows(engine, begin_s_, trace);
  sample.trace = trace.dump();
}

}  // namespace crossover
