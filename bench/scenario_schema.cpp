#include "bench/scenario_schema.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <nlohmann/json.hpp>
#include <stdexcept>
#include <valijson/adapters/nlohmann_json_adapter.hpp>
#include <valijson/schema.hpp>
#include <valijson/schema_parser.hpp>
#include <valijson/validation_results.hpp>
#include <valijson/validator.hpp>
#include <vector>

#include "bench/json_text.h"
#include "engine/knobs.h"

namespace crossover {

namespace {

using nlohmann::json;

const json& deref(const json& root, const json& node) {
  const auto it = node.find("$ref");
  return it == node.end() ? node : root.at(json::json_pointer(it->get<std::string>().substr(1)));
}

// The part of the schema that speaks about `field` of an object; null when none does.
const json* child_schema(const json& root, const json& node, const std::string& field) {
  const auto properties = node.find("properties");
  if (properties != node.end() && properties->contains(field)) return &deref(root, properties->at(field));
  const auto other = node.find("additionalProperties");
  return other != node.end() && other->is_object() ? &deref(root, *other) : nullptr;
}

const json& object_branch(const json& root, const json& node, const json& value) {
  if (node.contains("oneOf") && value.is_object())
    for (const json& branch : node["oneOf"])
      if (branch.value("type", "") == "object") return deref(root, branch);
  return node;
}

std::vector<std::string> field_names(const json& node) {
  std::vector<std::string> names;
  if (const auto properties = node.find("properties"); properties != node.end())
    for (const auto& [name, unused] : properties->items()) names.push_back(name);
  return names;
}

void check_fields(const json& root, const json& schema, const json& value, const std::string& where, const std::string& source) {
  const json& node = object_branch(root, schema, value);
  if (!value.is_object()) return;
  for (const auto& [field, inner] : value.items()) {
    if (const json* child = child_schema(root, node, field)) {
      check_fields(root, *child, inner, where + "/" + field, source);
      continue;
    }
    if (node.value("additionalProperties", json(true)) != json(false)) continue;
    const std::string in = where.empty() ? "at the top" : "in " + where;
    if (where == "/arms")
      throw std::invalid_argument(fmt::format("{}: unknown arm '{}'; a scenario has exactly the arms A and B", source, field));
    const std::string guess = nearest(field, field_names(node));
    throw std::invalid_argument(fmt::format("{}: unknown field '{}' {}; {}", source, field, in,
                                            guess.empty() ? fmt::format("fields there: {}", fmt::join(field_names(node), ", "))
                                                          : fmt::format("did you mean '{}'?", guess)));
  }
}

std::string allowed(const json& node) {
  if (node.contains("enum")) return "one of " + node["enum"].dump();
  std::string text = !node.contains("type")        ? "another value"
                     : node["type"].is_string() ? node["type"].get<std::string>()
                                                : node["type"].dump();
  if (node.contains("minimum")) text += fmt::format(", at least {}", node["minimum"].dump());
  if (node.contains("maximum")) text += fmt::format(", at most {}", node["maximum"].dump());
  if (node.contains("minLength") || node.contains("minItems")) text += ", not empty";
  if (node.contains("pattern")) text += fmt::format(" matching {}", node["pattern"].get<std::string>());
  if (node.contains("required")) text += fmt::format(" with {}", fmt::join(node["required"], ", "));
  if (node.contains("oneOf")) {
    text.clear();
    for (const json& branch : node["oneOf"]) text += (text.empty() ? "" : " or ") + allowed(branch);
  }
  return text;
}

struct Complaint {
  std::string where, what;
};

// The deepest error: the outer ones only say that something inside was wrong.
Complaint first_complaint(const json& document, const json& schema_json) {
  valijson::Schema schema;
  valijson::SchemaParser parser(valijson::SchemaParser::kDraft7);
  parser.populateSchema(valijson::adapters::NlohmannJsonAdapter(schema_json), schema);
  valijson::Validator validator;
  valijson::ValidationResults results;
  if (validator.validate(schema, valijson::adapters::NlohmannJsonAdapter(document), &results)) return {};
  Complaint deepest;
  std::size_t depth = 0;
  for (valijson::ValidationResults::Error error; results.popError(error);) {
    if (error.context.size() < depth) continue;
    depth = error.context.size();
    deepest = {"", error.description};
    for (std::size_t i = 1; i < error.context.size(); ++i)
      deepest.where += "/" + error.context[i].substr(1, error.context[i].size() - 2);
  }
  return deepest;
}

const json& schema_at(const json& root, const std::string& where) {
  const json* node = &root;
  for (std::size_t start = 1; start < where.size();) {
    const std::size_t end = std::min(where.find('/', start), where.size());
    const std::string step = where.substr(start, end - start);
    const json* next = child_schema(root, *node, step);
    if (!next && node->contains("items")) next = &deref(root, node->at("items"));
    if (!next) break;
    node = next;
    start = end + 1;
  }
  return *node;
}

}  // namespace

std::string schema_complaint(const json& document, const std::string& schema_text) {
  const Complaint complaint = first_complaint(document, json::parse(schema_text));
  return complaint.what.empty() ? "" : complaint.where + ": " + complaint.what;
}

void check_scenario_shape(const json& scenario, const std::string& source) {
  const json schema = parse_json(scenario_schema_text(), "scenarios/schema.json");
  if (!scenario.is_object()) throw std::invalid_argument(source + " is no JSON object; a scenario is one");
  check_fields(schema, schema, scenario, "", source);
  const Complaint complaint = first_complaint(scenario, schema);
  if (complaint.what.empty()) return;
  const json& node = schema_at(schema, complaint.where);
  std::string found = "nothing";
  const json::json_pointer at(complaint.where);
  if (scenario.contains(at)) found = scenario.at(at).dump().substr(0, 80);
  const json required = node.value("required", json::array());
  for (const json& name : required)
    if (found != "nothing" && scenario.at(at).is_object() && !scenario.at(at).contains(name))
      throw std::invalid_argument(fmt::format("{}: field {} is missing{}", source, name.dump(),
                                              complaint.where.empty() ? "" : " in " + complaint.where));
  throw std::invalid_argument(
      fmt::format("{}: {} is {}; allowed: {}", source, complaint.where.empty() ? "the whole" : complaint.where, found, allowed(node)));
}

}  // namespace crossover
