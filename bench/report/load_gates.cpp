#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "bench/report/load_parts.h"
#include "bench/report/words.h"

namespace crossover::report {

namespace {

std::string state_of(const std::string& gate) {
  if (gate == "pass" || gate == "fail") return gate;
  return gate == "ignored" ? "not asked" : "open";
}

void add_outputs(const Json& outputs, const Json& asked, std::vector<GateRow>& rows) {
  if (!outputs.is_object()) return;
  std::string saw;
  const auto add = [&](const std::string& part) { saw += (saw.empty() ? "" : "; ") + part; };
  if (const Json& identical = member(outputs, "identical"); identical.is_boolean())
    add(identical == true ? "identical in every pair" : "not identical");
  if (const auto token = number(outputs, "first_divergence")) add(fmt::format("first unlike at token {:.0f}", *token));
  if (const auto gap = number(outputs, "logit_gap")) add("logit gap there " + report::number(*gap));
  if (const auto nmse = number(outputs, "logit_nmse")) add("largest error of the logits (NMSE) " + report::number(*nmse));
  const auto allowed = number(member(asked, "tolerance"), "logit_nmse");
  if (allowed) add(report::number(*allowed) + " is allowed");
  const std::string gate = text(outputs, "gate");
  const bool identical = member(outputs, "identical") == true;
  rows.push_back({allowed ? "outputs of A and B as alike as asked" : "same outputs from A and B",
                  saw.empty() ? "nothing compared" : saw,
                  gate.empty() ? (identical ? "pass" : "open") : state_of(gate)});
}

void add_controls(const Json& controls, std::vector<GateRow>& rows) {
  const auto add = [&](const std::string& name, const Json& control) {
    const auto shift = number(control, "shift_percent"), p = number(control, "p_adjusted");
    std::string saw = shift ? fmt::format("moved by {}", percent(shift)) : "not measured in both arms";
    if (p) saw += fmt::format(", adjusted p {}", report::number(*p));
    rows.push_back({"control " + name + " stays put", saw, !shift ? "open" : member(control, "moved") == true ? "fail" : "pass"});
  };
  if (controls.is_object())
    for (const auto& [name, control] : controls.items()) add(name, control);
  else if (controls.is_array())
    for (const Json& control : controls) add(text(control, "metric"), control);
}

using Rows = std::vector<KnobRow>;

const KnobRow* seen_as(const std::string& what, const Rows& knobs, const Rows& paths) {
  const std::string name = what.starts_with("counters.") ? what : what.substr(what.find('.') + 1);
  const Rows& rows = what.starts_with("knobs.") ? knobs : paths;
  const auto found = std::find_if(rows.begin(), rows.end(), [&](const KnobRow& row) { return row.name == name; });
  return found == rows.end() ? nullptr : &*found;
}

void add_expectations(const Json& expect, const Rows& knobs, const Rows& paths, std::vector<GateRow>& rows) {
  if (const Json& differs = member(expect, "differs"); differs.is_array())
    for (const Json& item : differs) {
      const std::string what = text_of(item);
      const KnobRow* row = seen_as(what, knobs, paths);
      rows.push_back({what + " differs between the arms", row ? fmt::format("A {}; B {}", row->a, row->b) : "see the samples",
                      !row               ? "open"
                      : row->a != row->b ? "pass"
                                         : "fail"});
    }
  for (const auto& [key, wanted] : member(expect, "path").items()) {
    const std::string arm = key.starts_with("A.") || key.starts_with("B.") ? key.substr(0, 1) : "";
    const KnobRow* row = seen_as("path." + (arm.empty() ? key : key.substr(2)), knobs, paths);
    const bool good = row && (arm == "B" || row->a == text_of(wanted)) && (arm == "A" || row->b == text_of(wanted));
    rows.push_back({fmt::format("{} takes the path {}", key, text_of(wanted)),
                    row ? fmt::format("A {}; B {}", row->a, row->b) : "no such path reported", good ? "pass" : "fail"});
  }
}

void add_page_cache(const Rows& paths, std::vector<GateRow>& rows) {
  const KnobRow* row = seen_as("page cache before", {}, paths);
  if (row)
    rows.push_back({"equal page cache before each sample", fmt::format("A {}; B {}", row->a, row->b), row->a == row->b ? "pass" : "fail"});
}

// Gates that the result says itself. Of those that the rows above look at more closely only a failure that they do not show.
void add_recorded(const Json& gates, std::vector<GateRow>& rows) {
  static const std::map<std::string, const char*> kNames{{"conditions", "equal conditions (throttling, cores, priority)"},
                                                         {"reuse", "no prompt taken from a cache"},
                                                         {"limits", "nothing faster than this machine can be"},
                                                         {"boundaries", "no time moved out of what is measured"},
                                                         {"capacity", "memory and context as asked"},
                                                         {"failures", "as many failed samples in both arms"},
                                                         {"outputs", "same outputs from A and B"},
                                                         {"differs", "what should differ differs"},
                                                         {"path", "the paths asked for ran"},
                                                         {"page_cache", "equal page cache before each sample"},
                                                         {"controls", "controls stay put"}};
  static const std::set<std::string> kSeenAbove{"failures", "outputs", "differs", "path", "page_cache", "controls"};
  const bool failed_above = std::any_of(rows.begin(), rows.end(), [](const GateRow& row) { return row.state == "fail"; });
  for (const auto& [name, gate] : gates.items()) {
    const std::string state = text(gate, "state"), finding = text(gate, "finding");
    if (!gate.is_object() || (kSeenAbove.contains(name) && (state != "fail" || failed_above))) continue;
    const auto known = kNames.find(name);
    rows.push_back({known == kNames.end() ? name : known->second,
                    finding.empty() ? (state == "pass" ? "nothing out of order" : "–") : finding,
                    state == "pass" || state == "fail" || state.starts_with("not ") ? state : "open"});
  }
}

}  // namespace

std::vector<GateRow> gates_of(const Json& cell, const Json& scenario, const Rows& knobs, const Rows& paths) {
  std::vector<GateRow> rows;
  add_outputs(member(cell, "outputs"), member(member(scenario, "expect"), "outputs"), rows);
  add_controls(member(cell, "controls"), rows);
  add_expectations(member(scenario, "expect"), knobs, paths, rows);
  add_page_cache(paths, rows);
  if (const Json& failed = member(cell, "failed"); failed.is_object())
    rows.push_back({"as many failed samples in both arms", fmt::format("A {}, B {}", text(failed, "A"), text(failed, "B")),
                    member(failed, "A") == member(failed, "B") ? "pass" : "fail"});
  add_recorded(member(cell, "gates"), rows);
  std::vector<Fact> others;
  for (const char* key : {"determinism", "path", "paths", "page_cache", "clocks"})
    if (const Json& value = member(cell, key); !value.is_null()) flatten(value, key, others);
  if (const Json& flags = member(cell, "flags"); flags.is_array() && !flags.empty())
    for (const Json& flag : flags)
      others.push_back(
          {"flag", text_of(flag) == "inert?" ? "inert?: the arms' knobs differ and nothing they did was seen to differ" : text_of(flag)});
  for (const Fact& other : others) rows.push_back({other.name, other.value, "noted"});
  return rows;
}

}  // namespace crossover::report
