#include "bench/endpoint_workload.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <vector>

namespace crossover {

namespace {

using nlohmann::json;
using Names = std::vector<std::string>;

const Names& own_fields() {
  static const Names kNames{"api",        "api_key_env", "ca_file", "connect_timeout_s", "headers",         "idle_timeout_s",
                            "model_name", "prompt_file", "request", "temperature",       "template_tokens", "url"};
  return kNames;
}

const Names& shared_fields() {
  static const Names kNames{"kind", "prompt_tokens", "generate_tokens", "cpus", "priority", "cooldown_s"};
  return kNames;
}

bool holds(const Names& names, const std::string& name) { return std::find(names.begin(), names.end(), name) != names.end(); }

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

bool printable(const std::string& text) {
  return std::all_of(text.begin(), text.end(), [](unsigned char c) { return c >= 0x20 && c != 0x7f; });
}

// The message does not repeat the url: a password may be in it.
void check_url(const json& workload, const std::string& what) {
  if (!workload.contains("url"))
    throw std::invalid_argument(what + " has no url; an endpoint kind asks one, like http://127.0.0.1:8080/v1");
  const std::string url = workload.at("url").get<std::string>();
  const std::size_t scheme = url.starts_with("http://") ? 7 : url.starts_with("https://") ? 8 : 0;
  const std::string host = url.substr(scheme, url.find_first_of("/?#", scheme) - scheme);
  if (scheme == 0 || host.empty() || !printable(url) || url.find_first_of(" #") != std::string::npos)
    throw std::invalid_argument(what + "/url is no http or https address; write it like http://127.0.0.1:8080/v1");
  const std::string query = lower(url.substr(std::min(url.find('?'), url.size())));
  const auto asks_for = [&](const char* name) { return query.find(name) != std::string::npos; };
  if (host.find('@') != std::string::npos || asks_for("key=") || asks_for("token=") || asks_for("secret=") || asks_for("password="))
    throw std::invalid_argument(what + "/url holds a secret, which would stand in every result; name its variable in api_key_env instead");
}

void check_headers(const json& workload, const std::string& what) {
  static const Names kSecret{"authorization", "proxy-authorization", "api-key", "x-api-key", "cookie"};
  static const Names kOfTheRequest{"host", "content-length", "transfer-encoding", "connection", "expect", "accept-encoding"};
  const json headers = workload.value("headers", json::object());
  for (const auto& [name, value] : headers.items()) {
    const std::string text = value.get<std::string>();
    const bool token =
        !name.empty() && std::all_of(name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) || c == '-' || c == '_'; });
    if (!token || text.empty() || !printable(text))
      throw std::invalid_argument(
          fmt::format("{}/headers: '{}' is no header with a value in one line", what, printable(name) ? name : "?"));
    if (holds(kOfTheRequest, lower(name)))
      throw std::invalid_argument(fmt::format("{}/headers: {} is set by the request itself; leave it out", what, name));
    if (holds(kSecret, lower(name)) && text.find("{api_key}") == std::string::npos)
      throw std::invalid_argument(
          fmt::format("{}/headers: {} would put a secret into every result; name its variable in api_key_env and "
                      "write {{api_key}} here",
                      what, name));
    if (text.find("{api_key}") != std::string::npos && !workload.contains("api_key_env"))
      throw std::invalid_argument(
          fmt::format("{}/headers: {} has {{api_key}} and api_key_env is missing; name the variable there", what, name));
  }
}

void check_request(const json& workload, const std::string& what) {
  static const Names kFilled{"prompt", "messages", "stream", "n", "best_of"};
  const json request = workload.value("request", json::object());
  for (const auto& [name, value] : request.items()) {
    if (holds(kFilled, name))
      throw std::invalid_argument(
          fmt::format("{}/request: {} is filled by the harness, one streamed choice for a fresh prompt; leave it out", what, name));
    if (name == "model" && workload.contains("model_name"))
      throw std::invalid_argument(fmt::format("{}/request has model and there is a model_name; keep one", what));
  }
}

}  // namespace

void fill_endpoint_workload(json& workload) {
  const auto fill = [&](const char* field, json value) {
    if (!workload.contains(field)) workload[field] = std::move(value);
  };
  fill("api", "completions");
  fill("generate_tokens", 64);
  fill("temperature", 0);
  fill("template_tokens", 0);
  fill("connect_timeout_s", 10);
  fill("idle_timeout_s", 60);
}

void check_endpoint_workload(json& workload, const std::string& where, const std::string& source) {
  const std::string what = fmt::format("{}: {}", source, where);
  for (const auto& [field, value] : workload.items())
    if (!holds(own_fields(), field) && !holds(shared_fields(), field))
      throw std::invalid_argument(fmt::format("{} has {}, which an endpoint has no use for; its fields are {}, {}", what, field,
                                              fmt::join(shared_fields(), ", "), fmt::join(own_fields(), ", ")));
  check_url(workload, what);
  check_headers(workload, what);
  check_request(workload, what);
  if (workload.contains("prompt_file") && workload.contains("prompt_tokens"))
    throw std::invalid_argument(fmt::format("{} has prompt_file and prompt_tokens; keep one", what));
  if (!workload.contains("prompt_file") && !workload.contains("prompt_tokens")) workload["prompt_tokens"] = 512;
  if (workload.at("generate_tokens") < 1)
    throw std::invalid_argument(fmt::format("{} asks for no token; set generate_tokens to at least 1", what));
}

void refuse_endpoint_fields(const json& workload, const std::string& where, const std::string& source) {
  for (const auto& [field, value] : workload.items())
    if (holds(own_fields(), field))
      throw std::invalid_argument(fmt::format("{}: {} has {}, which is for workloads of kind endpoint", source, where, field));
}

}  // namespace crossover
