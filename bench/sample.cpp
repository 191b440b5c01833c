#include "bench/sample.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <ctime>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace crossover {

namespace {

using nlohmann::json;

[[noreturn]] void refuse(const std::string& field, const char* wanted) {
  throw std::runtime_error(fmt::format("the sample's field '{}' is not {}", field, wanted));
}

double number(const json& value, const std::string& field) {
  if (!value.is_number() || !std::isfinite(value.get<double>())) refuse(field, "a finite number");
  return value.get<double>();
}

std::int64_t whole(const json& value, const std::string& field) {
  if (!value.is_number_integer()) refuse(field, "a whole number");
  if (value.is_number_unsigned() && value.get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX))
    refuse(field, "below 2^63");
  return value.get<std::int64_t>();
}

int small(const json& value, const std::string& field) {
  const std::int64_t wide = whole(value, field);
  if (wide < INT32_MIN || wide > INT32_MAX) refuse(field, "a number of 32 bits");
  return static_cast<int>(wide);
}

std::string text(const json& value, const std::string& field) {
  if (!value.is_string()) refuse(field, "a string");
  return value.get<std::string>();
}

// Calls read(value) where the field is there; every field is optional.
template <typename Read>
void with(const json& object, const char* field, Read read) {
  const auto it = object.find(field);
  if (it != object.end() && !it->is_null()) read(*it);
}

const json& array(const json& value, const std::string& field) {
  if (!value.is_array()) refuse(field, "a list");
  return value;
}

const json& object(const json& value, const std::string& field) {
  if (!value.is_object()) refuse(field, "an object");
  return value;
}

json phase_to_json(const SamplePhase& phase) {
  json out{{"name", phase.name}, {"rank", phase.rank}, {"start_s", phase.start_s}, {"duration_s", phase.duration_s},
           {"parent", phase.parent}};
  if (phase.busy_s) out["busy_s"] = *phase.busy_s;
  return out;
}

SamplePhase phase_from_json(const json& value) {
  SamplePhase phase;
  with(object(value, "phases"), "name", [&](const json& v) { phase.name = text(v, "phases.name"); });
  with(value, "rank", [&](const json& v) { phase.rank = small(v, "phases.rank"); });
  with(value, "start_s", [&](const json& v) { phase.start_s = number(v, "phases.start_s"); });
  with(value, "duration_s", [&](const json& v) { phase.duration_s = number(v, "phases.duration_s"); });
  with(value, "busy_s", [&](const json& v) { phase.busy_s = number(v, "phases.busy_s"); });
  with(value, "parent", [&](const json& v) { phase.parent = small(v, "phases.parent"); });
  return phase;
}

// [{"rank", "thread", "spans": [[phase, start_s, end_s], ...]}, ...]
json timeline_to_json(const std::vector<SampleSpan>& timeline) {
  const auto micros = [](double seconds) { return std::round(seconds * 1e6) / 1e6; };
  json threads = json::array();
  for (const SampleSpan& span : timeline) {
    if (threads.empty() || threads.back()["rank"] != span.rank || threads.back()["thread"] != span.thread)
      threads.push_back({{"rank", span.rank}, {"thread", span.thread}});
    threads.back()["spans"].push_back({span.phase, micros(span.start_s), micros(span.end_s)});
  }
  return threads;
}

void timeline_of_thread(const json& from, std::vector<SampleSpan>& timeline) {
  SampleSpan span;
  with(object(from, "timeline"), "rank", [&](const json& v) { span.rank = small(v, "timeline.rank"); });
  with(from, "thread", [&](const json& v) { span.thread = small(v, "timeline.thread"); });
  with(from, "spans", [&](const json& v) {
    for (const json& entry : array(v, "timeline.spans")) {
      if (array(entry, "timeline.spans").size() != 3) refuse("timeline.spans", "a list of [phase, start_s, end_s]");
      span.phase = text(entry[0], "timeline.spans"), span.start_s = number(entry[1], "timeline.spans");
      span.end_s = number(entry[2], "timeline.spans");
      timeline.push_back(span);
    }
  });
}

LogitRow row_from_json(const json& value) {
  LogitRow row;
  with(object(value, "top_logits"), "ids", [&](const json& v) {
    for (const json& id : array(v, "top_logits.ids")) row.ids.push_back(whole(id, "top_logits.ids"));
  });
  with(value, "logits", [&](const json& v) {
    for (const json& logit : array(v, "top_logits.logits")) row.logits.push_back(number(logit, "top_logits.logits"));
  });
  if (row.ids.size() != row.logits.size()) refuse("top_logits", "as many ids as logits");
  return row;
}

void read_identity(const json& from, Sample& sample) {
  with(from, "arm", [&](const json& v) {
    if (text(v, "arm") != "A" && v != "B") refuse("arm", "A or B");
    sample.arm = v.get<std::string>()[0];
  });
  with(from, "cell", [&](const json& v) { sample.cell = small(v, "cell"); });
  with(from, "pair", [&](const json& v) { sample.pair = small(v, "pair"); });
  with(from, "position", [&](const json& v) { sample.position = small(v, "position"); });
  with(from, "control", [&](const json& v) {
    if (!v.is_boolean()) refuse("control", "true or false");
    sample.control = v.get<bool>();
  });
  with(from, "started_at", [&](const json& v) { sample.started_at = text(v, "started_at"); });
  with(from, "failure", [&](const json& v) { sample.failure = text(v, "failure"); });
  with(from, "exit", [&](const json& v) { sample.exit = small(v, "exit"); });
  with(from, "signal", [&](const json& v) { sample.signal = small(v, "signal"); });
  with(from, "last_phase", [&](const json& v) { sample.last_phase = text(v, "last_phase"); });
  with(from, "stderr_tail", [&](const json& v) { sample.stderr_tail = text(v, "stderr_tail"); });
  with(from, "stack", [&](const json& v) { sample.stack = text(v, "stack"); });
  with(from, "main_started_s", [&](const json& v) { sample.main_started_s = number(v, "main_started_s"); });
}

void read_measurements(const json& from, Sample& sample) {
  with(from, "metrics", [&](const json& v) {
    for (const auto& [name, value] : object(v, "metrics").items()) sample.metrics[name] = number(value, "metrics." + name);
  });
  with(from, "series", [&](const json& v) {
    for (const auto& [name, values] : object(v, "series").items())
      for (const json& value : array(values, "series." + name))
        sample.series[name].push_back(number(value, "series." + name));
  });
  with(from, "phases", [&](const json& v) {
    for (const json& phase : array(v, "phases")) sample.phases.push_back(phase_from_json(phase));
  });
  with(from, "timeline", [&](const json& v) {
    for (const json& thread : array(v, "timeline")) timeline_of_thread(thread, sample.timeline);
  });
  with(from, "counters", [&](const json& v) {
    for (const auto& [name, value] : object(v, "counters").items())
      sample.counters[name] = number(value, "counters." + name);
  });
  with(from, "path", [&](const json& v) {
    for (const auto& [name, value] : object(v, "path").items()) sample.path[name] = text(value, "path." + name);
  });
  with(from, "quantized_file", [&](const json& v) { sample.quantized_file = text(v, "quantized_file"); });
  with(from, "knobs", [&](const json& v) {
    for (const auto& [name, value] : object(v, "knobs").items()) {
      const json& entry = object(value, "knobs." + name);
      sample.knobs[name] = {text(entry.value("value", json()), "knobs." + name + ".value"),
                            text(entry.value("origin", json()), "knobs." + name + ".origin")};
    }
  });
}

void read_conditions_and_output(const json& from, Sample& sample) {
  with(from, "page_cache", [&](const json& v) {
    PageCacheState state;
    with(object(v, "page_cache"), "state", [&](const json& s) { state.state = text(s, "page_cache.state"); });
    with(v, "bytes_resident_before", [&](const json& s) { state.bytes_resident_before = whole(s, "page_cache"); });
    with(v, "bytes_total", [&](const json& s) { state.bytes_total = whole(s, "page_cache"); });
    sample.page_cache = state;
  });
  with(from, "clocks", [&](const json& v) { sample.clocks = object(v, "clocks").dump(); });
  with(from, "trace", [&](const json& v) { sample.trace = object(v, "trace").dump(); });
  with(from, "granted", [&](const json& v) {
    with(object(v, "granted"), "cpus", [&](const json& cpus) {
      for (const json& cpu : array(cpus, "granted.cpus")) sample.cpus.push_back(small(cpu, "granted.cpus"));
    });
    with(v, "priority", [&](const json& priority) { sample.priority = small(priority, "granted.priority"); });
  });
  with(from, "output_hash", [&](const json& v) { sample.output_hash = text(v, "output_hash"); });
  with(from, "output_tokens", [&](const json& v) {
    for (const json& id : array(v, "output_tokens")) sample.output_tokens.push_back(whole(id, "output_tokens"));
  });
  with(from, "top_logits", [&](const json& v) {
    for (const json& row : array(v, "top_logits")) sample.top_logits.push_back(row_from_json(row));
  });
  with(from, "flags", [&](const json& v) {
    for (const json& flag : array(v, "flags")) sample.flags.push_back(text(flag, "flags"));
  });
}

void put_outcome(const Sample& sample, json& out) {
  if (sample.control) out["control"] = true;
  if (!sample.failure.empty()) out["failure"] = sample.failure;
  if (sample.signal != 0) out["signal"] = sample.signal;
  if (!sample.last_phase.empty()) out["last_phase"] = sample.last_phase;
  if (!sample.stderr_tail.empty()) out["stderr_tail"] = sample.stderr_tail;
  if (!sample.stack.empty()) out["stack"] = sample.stack;
  if (sample.main_started_s) out["main_started_s"] = *sample.main_started_s;
  if (!sample.series.empty()) out["series"] = sample.series;
  if (!sample.timeline.empty()) out["timeline"] = timeline_to_json(sample.timeline);
  if (!sample.counters.empty()) out["counters"] = sample.counters;
  if (!sample.path.empty()) out["path"] = sample.path;
  if (!sample.quantized_file.empty()) out["quantized_file"] = sample.quantized_file;
  if (!sample.output_hash.empty()) out["output_hash"] = sample.output_hash;
  if (!sample.output_tokens.empty()) out["output_tokens"] = sample.output_tokens;
}

}  // namespace

json sample_to_json(const Sample& sample) {
  json out{{"schema", kSampleSchema},   {"arm", std::string(1, sample.arm)}, {"cell", sample.cell},
           {"pair", sample.pair},       {"position", sample.position},       {"started_at", sample.started_at},
           {"exit", sample.exit},       {"metrics", sample.metrics},         {"flags", sample.flags}};
  put_outcome(sample, out);
  for (const SamplePhase& phase : sample.phases) out["phases"].push_back(phase_to_json(phase));
  for (const auto& [name, knob] : sample.knobs) out["knobs"][name] = {{"value", knob.value}, {"origin", knob.origin}};
  for (const LogitRow& row : sample.top_logits) out["top_logits"].push_back({{"ids", row.ids}, {"logits", row.logits}});
  if (sample.page_cache)
    out["page_cache"] = {{"state", sample.page_cache->state},
                         {"bytes_resident_before", sample.page_cache->bytes_resident_before},
                         {"bytes_total", sample.page_cache->bytes_total}};
  if (!sample.clocks.empty()) out["clocks"] = json::parse(sample.clocks);
  if (!sample.trace.empty()) out["trace"] = json::parse(sample.trace);
  if (!sample.cpus.empty()) out["granted"]["cpus"] = sample.cpus;
  if (sample.priority) out["granted"]["priority"] = *sample.priority;
  return out;
}

Sample sample_from_json(const json& from) {
  object(from, "(the whole)");
  if (from.value("schema", json()) != kSampleSchema)
    throw std::runtime_error(fmt::format("the sample's schema is {}; this build reads {}",
                                         from.value("schema", json()).dump(), kSampleSchema));
  Sample sample;
  read_identity(from, sample);
  read_measurements(from, sample);
  read_conditions_and_output(from, sample);
  return sample;
}

std::string utc_now() {
  const auto now = std::chrono::system_clock::now();
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count() % 1000;
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(std::chrono::system_clock::to_time_t(now)), ms);
}

std::optional<double> utc_seconds(const std::string& time) {
  std::tm parts{};
  const char* rest = strptime(time.c_str(), "%Y-%m-%dT%H:%M:%S", &parts);
  if (!rest || std::string_view(rest).size() != 5 || rest[0] != '.' || rest[4] != 'Z') return std::nullopt;
  return static_cast<double>(timegm(&parts)) + std::atof(rest);
}

}  // namespace crossover
