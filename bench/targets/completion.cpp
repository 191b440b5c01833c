#include "bench/targets/completion.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "bench/json_text.h"
#include "bench/targets/event_stream.h"

namespace crossover {

namespace {

using nlohmann::json;

constexpr std::size_t kMaxEventBytes = std::size_t{16} << 20;
constexpr std::size_t kMaxQuotedBytes = 200;
constexpr std::int64_t kMaxTokens = 10'000'000;  // as in scenarios/schema.json; beyond it a count is garbage

const json& member(const json& object, const char* name) {
  static const json kNone;
  const auto it = object.is_object() ? object.find(name) : object.end();
  return it == object.end() ? kNone : *it;
}

std::optional<std::int64_t> count(const json& value, const char* what) {
  if (value.is_null()) return std::nullopt;
  if (!value.is_number_integer() || value < 0 || value > kMaxTokens)
    throw std::runtime_error(fmt::format("{} is {}, which is no count", what, quote_first_line(value.dump(-1, ' ', true))));
  return value.get<std::int64_t>();
}

std::string string_of(const json& value, const char* what) {
  if (value.is_null()) return "";
  if (!value.is_string()) throw std::runtime_error(fmt::format("{} is a {}, which is no text", what, value.type_name()));
  return value.get<std::string>();
}

std::optional<double> positive(const json& value) {
  if (!value.is_number() || !std::isfinite(value.get<double>()) || value.get<double>() <= 0) return std::nullopt;
  return value.get<double>();
}

std::string error_text(const json& document) {
  const json& error = member(document, "error");
  for (const json* holder : {&error, &document}) {
    const json& message = holder->is_string() ? *holder : member(*holder, "message");
    if (message.is_string()) return message.get<std::string>();
  }
  return error.is_null() ? "" : error.dump();
}

class Reader {
 public:
  // False after [DONE].
  bool take(const ServerEvent& event) {
    ++events_;
    if (event.data == "[DONE]") return false;
    if (event.name == "error") throw std::runtime_error(reported(server_message(event.data)));
    try {
      read(event, parse_json(event.data, "its data"));
    } catch (const Reported&) {
      throw;
    } catch (const std::exception& error) {
      throw std::runtime_error(fmt::format("event {} of the stream: {}, in {}", events_, error.what(), quote_first_line(event.data)));
    }
    return true;
  }

  Completion completion;

 private:
  struct Reported : std::runtime_error {
    using std::runtime_error::runtime_error;
  };

  std::string reported(const std::string& message) const {
    return fmt::format("the server reported an error in event {}: {}", events_, message);
  }

  void read(const ServerEvent& event, const json& document) {
    if (!document.is_object()) throw std::runtime_error("it is no JSON object");
    if (!member(document, "error").is_null() || member(document, "object") == "error")
      throw Reported(reported(quote_first_line(error_text(document))));
    running_tokens_.reset();
    read_usage(member(document, "usage"));
    read_timings(member(document, "timings"));
    const json& choices = member(document, "choices");
    if (choices.is_null() || choices.empty()) return;
    if (!choices.is_array() || !choices[0].is_object()) throw std::runtime_error("choices is no list of objects");
    if (choices.size() > 1 || count(member(choices[0], "index"), "choices/0/index").value_or(0) > 0)
      throw std::runtime_error("it has several choices, and one is measured");
    read_choice(choices[0], event.time_s);
  }

  void read_usage(const json& usage) {
    if (const auto tokens = count(member(usage, "prompt_tokens"), "usage/prompt_tokens")) completion.prompt_tokens = tokens;
    if (const auto tokens = count(member(usage, "completion_tokens"), "usage/completion_tokens")) {
      completion.completion_tokens = tokens;
      running_tokens_ = tokens;
    }
    const json& details = member(usage, "prompt_tokens_details");
    reused(count(member(usage, "prompt_cache_hit_tokens"), "usage/prompt_cache_hit_tokens"), "usage");
    reused(count(member(details, "cached_tokens"), "usage/prompt_tokens_details/cached_tokens"), "usage");
  }

  // Of llama.cpp's server. `tokens_cached` beside it is the whole context, so it is not read.
  void read_timings(const json& timings) {
    reused(count(member(timings, "cache_n"), "timings/cache_n"), "timings");
    const auto generated = count(member(timings, "predicted_n"), "timings/predicted_n");
    if (generated) running_tokens_ = generated;
    if (const auto milliseconds = positive(member(timings, "prompt_ms"))) completion.server_prefill_s = *milliseconds / 1e3;
    const auto rate = positive(member(timings, "predicted_per_second"));
    if (rate && generated && *generated > 1) completion.server_decode_tokens_per_s = rate;
  }

  // Where two fields speak of it the larger one counts: a reuse must not be hidden.
  void reused(std::optional<std::int64_t> tokens, const char* field) {
    if (!tokens || *tokens < completion.reused_tokens.value_or(0)) return;
    completion.reused_tokens = tokens, completion.reuse_report = field;
  }

  void read_choice(const json& choice, double time_s) {
    std::string text = string_of(member(choice, "text"), "choices/0/text");
    const json& delta = member(choice, "delta");
    for (const char* part : {"reasoning_content", "reasoning", "content", "refusal"}) text += string_of(member(delta, part), part);
    if (const json& calls = member(delta, "tool_calls"); calls.is_array() && !calls.empty()) text += calls.dump();
    const std::string finish = string_of(member(choice, "finish_reason"), "choices/0/finish_reason");
    if (!finish.empty()) completion.finish_reason = finish;
    const std::optional<std::int64_t> stated = stated_tokens(choice);
    if (running_tokens_) counted_tokens_ = *running_tokens_;
    const bool only_ids = text.empty() && finish.empty() && stated.value_or(0) > 0;  // a part of a character: a token, no text yet
    if (text.empty() && !only_ids) return;
    completion.arrivals.push_back({time_s, stated});
    completion.text += text;
  }

  std::optional<std::int64_t> stated_tokens(const json& choice) const {
    const json& logprobs = member(choice, "logprobs");
    for (const json* list : {&member(choice, "token_ids"), &member(logprobs, "tokens"), &member(logprobs, "content")})
      if (list->is_array() && !list->empty()) return static_cast<std::int64_t>(list->size());
    if (running_tokens_ && *running_tokens_ >= counted_tokens_) return *running_tokens_ - counted_tokens_;
    return std::nullopt;
  }

  std::int64_t events_ = 0;
  std::optional<std::int64_t> running_tokens_;  // generated so far, as the event at hand states it
  std::int64_t counted_tokens_ = 0;             // as an earlier event stated it
};

std::string beginning(const std::vector<ReceivedPiece>& pieces) {
  std::string text;
  for (std::size_t i = 0; i < pieces.size() && text.size() < 4096; ++i) text += pieces[i].bytes;
  return text;
}

}  // namespace

std::string quote_first_line(const std::string& text) {
  const std::size_t start = std::min(text.find_first_not_of(" \t\r\n"), text.size());
  std::string line = text.substr(start, text.find_first_of("\r\n", start) - start);
  if (line.size() > kMaxQuotedBytes) line = line.substr(0, kMaxQuotedBytes) + "...";
  return json(line).dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string server_message(const std::string& body) {
  if (body.find_first_not_of(" \t\r\n") == std::string::npos) return "";
  try {
    if (const std::string text = error_text(parse_json(body, "")); !text.empty()) return quote_first_line(text);
  } catch (const std::runtime_error&) {  // no JSON: a proxy's page, say
  }
  return quote_first_line(body);
}

TokenCount count_tokens(const Completion& completion) {
  const auto& arrivals = completion.arrivals;
  const auto events = static_cast<std::int64_t>(arrivals.size());
  if (std::all_of(arrivals.begin(), arrivals.end(), [](const TokenArrival& arrival) { return arrival.tokens.has_value(); })) {
    std::int64_t total = 0;
    for (const TokenArrival& arrival : arrivals) total += *arrival.tokens;
    if (total > kMaxTokens) throw std::runtime_error(fmt::format("the events of the stream claim {} tokens", total));
    return {total, std::max<std::int64_t>(1, *arrivals.front().tokens), "events"};
  }
  const std::int64_t used = completion.completion_tokens.value_or(0);
  if (used <= 0) return {events, 1, "assumed"};
  const bool end_of_text = completion.finish_reason == "stop" && used == events + 1;
  return {end_of_text ? events : used, 1, "usage"};
}

Completion read_completion(const std::vector<ReceivedPiece>& pieces) {
  EventStream stream(kMaxEventBytes);
  std::vector<ServerEvent> events;
  for (const ReceivedPiece& piece : pieces) stream.add(piece.bytes, piece.time_s, events);
  std::vector<ServerEvent> rest;
  stream.finish(pieces.empty() ? 0 : pieces.back().time_s, rest);
  if (!rest.empty() && rest[0].data == "[DONE]") events.push_back(rest[0]);  // an unfinished event counts as cut, but for this one
  if (events.empty()) {
    const std::string answer = server_message(beginning(pieces));
    throw std::runtime_error(answer.empty() ? "the server answered with nothing" : "the server sent no event stream but " + answer);
  }
  Reader reader;
  for (const ServerEvent& event : events) {
    if (reader.take(event)) continue;
    if (!reader.completion.arrivals.empty()) return reader.completion;
    throw std::runtime_error(
        fmt::format("the server ended the stream without a token (finish_reason {})", quote_first_line(reader.completion.finish_reason)));
  }
  throw std::runtime_error(fmt::format("the stream was cut before [DONE], after {} events with text", reader.completion.arrivals.size()));
}

}  // namespace crossover
