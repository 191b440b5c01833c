#include "bench/targets/endpoint_job.h"

#include <fmt/format.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "bench/process/child_environment.h"
#include "bench/sha256.h"
#include "bench/targets/completion.h"
#include "bench/targets/endpoint_prompt.h"
#include "bench/targets/http_stream.h"

namespace crossover {

namespace {

using nlohmann::json;

constexpr double kShortestWindow_s = 0.2;  // below it a clock tick or one hiccup would dominate a rate

constexpr const char* kHiddenKey = "[key]";  // a server may repeat the key in an error, before a cut could halve it

std::string replace_all(std::string text, const std::string& from, const std::string& to) {
  if (from.empty()) return text;
  for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) text.replace(at, from.size(), to);
  return text;
}

std::string api_key(const json& job) {
  if (!job.contains("api_key_env")) return "";
  const std::string name = job.at("api_key_env").get<std::string>();
  const char* key = std::getenv(name.c_str());
  if (!key || !*key)
    throw std::runtime_error(fmt::format("the environment variable {}, which api_key_env names, is not set; export it", name));
  for (const char* at = key; *at; ++at)
    if (static_cast<unsigned char>(*at) < 0x20 || *at == 0x7f)
      throw std::runtime_error(
          fmt::format("the environment variable {} holds a control character, which no key may; a line end, perhaps?", name));
  return key;
}

std::string filled(const std::string& text, const json& job) {
  return fill_placeholders(text, job.at("arm").get<std::string>().at(0), job.at("sample").get<int>(), job.at("nonce").get<std::string>());
}

void fill_strings(json& value, const json& job) {
  if (value.is_string()) value = filled(value.get<std::string>(), job);
  if (value.is_structured())
    for (json& inner : value) fill_strings(inner, job);
}

json body_of(const json& job) {
  const std::string prompt = endpoint_prompt(job);
  json body{{"stream", true},
            {"stream_options", {{"include_usage", true}}},
            {"max_tokens", job.at("generate_tokens")},
            {"temperature", job.at("temperature")}};
  if (job.contains("model_name")) body["model"] = job.at("model_name");
  if (job.at("api") == "chat")
    body["messages"] = {{{"role", "user"}, {"content", prompt}}};
  else
    body["prompt"] = prompt;
  const json extra = job.value("request", json::object());
  for (const auto& [field, value] : extra.items()) {
    if (value.is_null()) {
      body.erase(field);
      continue;
    }
    body[field] = value;
    fill_strings(body[field], job);
  }
  return body;
}

std::vector<std::string> headers_of(const json& job, const std::string& key) {
  json fields{{"Content-Type", "application/json"}, {"Accept", "text/event-stream"}, {"User-Agent", "crossover/" CROSSOVER_VERSION}};
  fields.update(job.value("headers", json::object()));
  std::vector<std::string> headers{"Expect:"};  // no waiting for leave to send a long prompt
  bool key_placed = false;
  for (const auto& [name, value] : fields.items()) {
    const std::string text = value.get<std::string>();
    key_placed = key_placed || text.find("{api_key}") != std::string::npos;
    headers.push_back(name + ": " + replace_all(filled(text, job), "{api_key}", key));
  }
  if (!key.empty() && !key_placed) headers.push_back("Authorization: Bearer " + key);
  return headers;
}

// `url` as OpenAI clients take it, ending in /v1, or the whole address of a completions service.
std::string address_of(const json& job) {
  const std::string url = job.at("url").get<std::string>();
  const std::size_t query = std::min(url.find('?'), url.size());
  std::string path = url.substr(0, query);
  while (path.ends_with('/')) path.pop_back();
  if (!path.ends_with("/completions")) path += job.at("api") == "chat" ? "/chat/completions" : "/completions";
  return path + url.substr(query);
}

HttpRequest request_of(const json& job, const std::string& key) {
  HttpRequest request;
  request.url = address_of(job);
  request.headers = headers_of(job, key);
  request.body = body_of(job).dump();
  request.ca_file = job.value("ca_file", "");
  request.connect_timeout_s = job.at("connect_timeout_s").get<double>();
  request.idle_timeout_s = job.at("idle_timeout_s").get<double>();
  request.end_mark = "data: [DONE]";
  request.environment_proxy = job.at("environment_proxy").get<bool>();
  return request;
}

std::string body_text(const HttpAnswer& answer) {
  std::string text;
  for (const ReceivedPiece& piece : answer.pieces) text += piece.bytes;
  return text;
}

Completion completion_of(const HttpAnswer& answer, const std::string& url) {
  const std::string where = url.substr(0, url.find('?'));  // a query may hold what is nobody's business
  if (answer.status == 0) throw std::runtime_error(fmt::format("no answer from {}: {}", where, answer.trouble));
  if (!answer.location.empty())
    throw std::runtime_error(fmt::format("HTTP {} from {} leads to {}; put that address into url", answer.status, where,
                                         answer.location.substr(0, answer.location.find('?'))));
  if (answer.status != 200) {
    const std::string message = server_message(body_text(answer));
    throw std::runtime_error(fmt::format("HTTP {} from {}{}", answer.status, where, message.empty() ? "" : ": " + message));
  }
  try {
    return read_completion(answer.pieces);
  } catch (const std::runtime_error& error) {
    throw std::runtime_error(answer.trouble.empty() ? error.what() : fmt::format("{} ({})", error.what(), answer.trouble));
  }
}

void add_decode(const Completion& completion, const TokenCount& count, Sample& sample) {
  const auto& arrivals = completion.arrivals;
  const double window_s = arrivals.back().time_s - arrivals.front().time_s;
  if (count.total <= count.first || window_s <= 0) return;
  sample.metrics["decode.total_s"] = window_s;
  if (window_s >= kShortestWindow_s) sample.metrics["decode.tokens_per_s"] = static_cast<double>(count.total - count.first) / window_s;
  std::vector<double>& token_s = sample.series["decode.token_s"];
  double last_s = arrivals.front().time_s;
  for (std::size_t i = 1; i < arrivals.size(); ++i) {
    const std::int64_t tokens = count.source == "events" ? *arrivals[i].tokens : 1;
    if (tokens == 0) continue;
    token_s.push_back(arrivals[i].time_s - last_s);
    token_s.resize(token_s.size() + static_cast<std::size_t>(tokens - 1));  // they came with it, 0 s later
    last_s = arrivals[i].time_s;
  }
}

void add_counts(const Completion& completion, const TokenCount& count, const json& job, Sample& sample) {
  const auto events = static_cast<std::int64_t>(completion.arrivals.size());
  sample.counters["tokens.generated"] = static_cast<double>(count.total);
  sample.counters["tokens.events"] = static_cast<double>(events);
  if (completion.prompt_tokens) sample.counters["tokens.prompt"] = static_cast<double>(*completion.prompt_tokens);
  sample.path["token_count"] = count.source;
  sample.path["finish"] = completion.finish_reason.empty() ? "unknown" : completion.finish_reason;
  sample.path["reuse_report"] = completion.reuse_report.empty() ? "none" : completion.reuse_report;
  if (count.source == "assumed") sample.flags.push_back("token count: one in each event is assumed, the server reports no usage");
  if (count.source == "usage" && count.total != events)
    sample.flags.push_back(fmt::format("token count: {} tokens in {} events, of which the first is taken for one", count.total, events));
  const auto wanted = job.at("generate_tokens").get<std::int64_t>();
  if (count.total < wanted) sample.flags.push_back(fmt::format("short answer: {} of {} tokens", count.total, wanted));
  if (!completion.reused_tokens) {
    sample.flags.push_back("reuse unknown: the server does not report cached prompt tokens");
    return;
  }
  const std::int64_t of_template = std::min(*completion.reused_tokens, job.at("template_tokens").get<std::int64_t>());
  const std::int64_t reused = *completion.reused_tokens - of_template;
  sample.counters["reused_tokens"] = static_cast<double>(reused);
  sample.counters["reused_template_tokens"] = static_cast<double>(of_template);
  if (reused > 0)
    sample.flags.push_back(
        fmt::format("prefix reuse: {} prompt tokens came from a cache; turn the server's prefix cache off, or name "
                    "what its chat template puts ahead of the prompt in template_tokens",
                    reused));
}

void measure(const json& job, const std::string& key, Sample& sample, const std::function<void(const std::string&)>& phase) {
  const HttpRequest request = request_of(job, key);
  HttpAnswer answer = post_stream(request, phase);
  for (ReceivedPiece& piece : answer.pieces) piece.bytes = replace_all(std::move(piece.bytes), key, kHiddenKey);
  const Completion completion = completion_of(answer, request.url);
  const TokenCount count = count_tokens(completion);
  sample.metrics["endpoint.connect_s"] = answer.connect_s;
  sample.metrics["endpoint.total_s"] = answer.pieces.back().time_s - answer.submitted_s;
  sample.metrics["ttft_s"] = completion.arrivals.front().time_s - answer.submitted_s;
  if (completion.server_prefill_s) sample.metrics["server.prefill_s"] = *completion.server_prefill_s;
  if (completion.server_decode_tokens_per_s) sample.metrics["server.decode_tokens_per_s"] = *completion.server_decode_tokens_per_s;
  add_decode(completion, count, sample);
  add_counts(completion, count, job, sample);
  sample.path["api"] = job.at("api").get<std::string>();
  sample.path["proxy"] = request.environment_proxy ? "environment" : "none";
  sample.output_hash = sha256_text(replace_all(completion.text, job.at("nonce").get<std::string>(), "{nonce}"));
}

}  // namespace

std::string endpoint_body(const std::string& job) { return body_of(json::parse(job)).dump(); }

Sample run_endpoint_job(const std::string& text, const std::function<void(const std::string&)>& phase) {
  const json job = json::parse(text);
  Sample sample;
  std::string key;
  try {
    key = api_key(job);
    measure(job, key, sample, phase);
  } catch (const std::exception& error) {
    sample = Sample();
    sample.failure = replace_all(error.what(), key, kHiddenKey);
  }
  return sample;
}

}  // namespace crossover
