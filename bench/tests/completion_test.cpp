#include "bench/targets/completion.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>
#include <stdexcept>

#include "bench/tests/loopback_server.h"

namespace crossover {
namespace {

using nlohmann::json;

// One piece a second.
Completion read(const std::vector<std::string>& pieces) {
  std::vector<ReceivedPiece> received;
  for (const std::string& piece : pieces) received.push_back({static_cast<double>(received.size() + 1), piece});
  return read_completion(received);
}

std::string refusal(const std::vector<std::string>& pieces) {
  try {
    read(pieces);
  } catch (const std::runtime_error& error) {
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << "one line";
    return error.what();
  }
  return "accepted";
}

void expect_refusal(const std::vector<std::string>& pieces, const std::string& why) {
  const std::string said = refusal(pieces);
  EXPECT_NE(said.find(why), std::string::npos) << "said: " << said << "\nwanted: " << why;
}

std::string text_event(const json& text, json more = json::object()) {
  more["choices"] = {{{"index", 0}, {"text", text}}};
  return event_of(more);
}
std::string delta_event(const json& delta) { return event_of({{"choices", {{{"index", 0}, {"delta", delta}}}}}); }
const std::string kDone = "data: [DONE]\n\n";

TEST(Completion, ReadsTextAndTimes) {
  const Completion completion =
      read({text_event("one"), ": ping\n\n", text_event(" two"), event_of({{"choices", {{{"text", ""}, {"finish_reason", "length"}}}}}),
            event_of({{"choices", json::array()}, {"usage", {{"prompt_tokens", 9}, {"completion_tokens", 2}}}}), kDone});
  EXPECT_EQ(completion.text, "one two");
  ASSERT_EQ(completion.arrivals.size(), 2U);
  EXPECT_EQ(completion.arrivals[0].time_s, 1);
  EXPECT_EQ(completion.arrivals[1].time_s, 3);
  EXPECT_EQ(completion.finish_reason, "length");
  EXPECT_EQ(*completion.prompt_tokens, 9);
  EXPECT_FALSE(completion.reused_tokens.has_value());
  const TokenCount count = count_tokens(completion);
  EXPECT_EQ(count.total, 2);
  EXPECT_EQ(count.source, "usage");
}

TEST(Completion, DoesNotTakeARoleForAToken) {
  const Completion completion =
      read({delta_event({{"role", "assistant"}, {"content", nullptr}}), delta_event({{"role", "assistant"}, {"content", ""}}),
            delta_event({{"reasoning_content", "hm"}}), delta_event({{"content", "yes"}}), delta_event(json::object()), kDone});
  ASSERT_EQ(completion.arrivals.size(), 2U);
  EXPECT_EQ(completion.arrivals[0].time_s, 3);
  EXPECT_EQ(completion.text, "hmyes");
  EXPECT_EQ(count_tokens(completion).source, "assumed");
}

TEST(Completion, CountsTokensAsTheServerStatesThem) {
  // Ids of each event: 1 + 3 tokens.
  const auto with_ids = [](const char* text, std::vector<int> ids) {
    return event_of({{"choices", {{{"text", text}, {"token_ids", ids}}}}});
  };
  TokenCount count = count_tokens(read({with_ids("a", {5}), with_ids("bcd", {6, 7, 8}), kDone}));
  EXPECT_EQ(count.total, 4);
  EXPECT_EQ(count.first, 1);
  EXPECT_EQ(count.source, "events");
  // A running usage: 2, then 2 + 3.
  const auto with_usage = [](const char* text, int n) { return text_event(text, {{"usage", {{"completion_tokens", n}}}}); };
  count = count_tokens(read({with_usage("a", 2), with_usage("b", 5), kDone}));
  EXPECT_EQ(count.total, 5);
  EXPECT_EQ(count.first, 2) << "what came with the first token is outside of the window";
  // Log probabilities of chat.
  const std::string logprobs =
      event_of({{"choices", {{{"delta", {{"content", "ab"}}}, {"logprobs", {{"content", {{{"token", "a"}}, {{"token", "b"}}}}}}}}}});
  EXPECT_EQ(count_tokens(read({logprobs, logprobs, kDone})).total, 4);
  // A part of a character is a token without a text.
  EXPECT_EQ(read({with_ids("", {5}), with_ids("\u00e9", {6}), kDone}).arrivals[0].time_s, 1);
  // Only the total is known.
  const std::string usage = event_of({{"choices", json::array()}, {"usage", {{"completion_tokens", 12}}}});
  count = count_tokens(read({text_event("abc"), text_event("def"), usage, kDone}));
  EXPECT_EQ(count.total, 12);
  EXPECT_EQ(count.first, 1);
  EXPECT_EQ(count.source, "usage");
}

TEST(Completion, LeavesTheEndOfTextOutOfTheCount) {
  const auto ended = [](const char* reason) {
    return std::vector<std::string>{text_event("a"), text_event("b"), event_of({{"choices", {{{"text", ""}, {"finish_reason", reason}}}}}),
                                    event_of({{"choices", json::array()}, {"usage", {{"completion_tokens", 3}}}}), kDone};
  };
  EXPECT_EQ(count_tokens(read(ended("stop"))).total, 2);
  EXPECT_EQ(count_tokens(read(ended("length"))).total, 3);
}

TEST(Completion, FindsReuseWhereverServersReportIt) {
  const auto reused = [](const json& more) { return *read({text_event("a", more), kDone}).reused_tokens; };
  EXPECT_EQ(reused({{"usage", {{"prompt_tokens_details", {{"cached_tokens", 16}}}}}}), 16);
  EXPECT_EQ(reused({{"usage", {{"prompt_cache_hit_tokens", 64}}}}), 64);
  EXPECT_EQ(reused({{"timings", {{"cache_n", 3}}}}), 3);
  EXPECT_EQ(reused({{"timings", {{"cache_n", 0}}}}), 0);
  EXPECT_EQ(reused({{"timings", {{"cache_n", 0}}}, {"usage", {{"prompt_tokens_details", {{"cached_tokens", 8}}}}}}), 8)
      << "the larger one counts";
  EXPECT_FALSE(
      read({text_event("a", {{"usage", {{"prompt_tokens_details", nullptr}}}, {"tokens_cached", 99}}), kDone}).reused_tokens.has_value());
}

TEST(Completion, NamesWhatIsWrong) {
  const std::string good = text_event("a");
  expect_refusal({}, "answered with nothing");
  expect_refusal({"\n\n  \n"}, "answered with nothing");
  expect_refusal({"<html>\n<p>oops"}, "no event stream but \"<html>\"");
  expect_refusal({R"({"choices": [{"text": "all at once"}]})"}, "no event stream but");
  expect_refusal({good, good}, "cut before [DONE], after 2 events");
  expect_refusal({good, "data: {\"choices\": [{\"te"}, "cut before [DONE], after 1 events");
  expect_refusal({kDone}, "without a token");
  expect_refusal({event_of({{"choices", {{{"text", ""}, {"finish_reason", "stop"}}}}}), kDone}, "without a token (finish_reason \"stop\")");
  expect_refusal({good, "data: {oops}\n\n", kDone}, "event 2 of the stream: its data is not JSON");
  expect_refusal({"data: \xff\xfe\n\n"}, "event 1 of the stream: its data is not JSON");
  expect_refusal({"data: [1, 2]\n\n"}, "no JSON object");
  expect_refusal({"data: " + std::string(100000, '[') + "\n\n"}, "nests deeper");
  expect_refusal({"data: " + std::string(17 << 20, 'x')}, "longer than 16777216 bytes");
  expect_refusal({text_event(5)}, "choices/0/text is a number, which is no text");
  expect_refusal({event_of({{"choices", "many"}})}, "choices is no list of objects");
  expect_refusal({event_of({{"choices", {{{"text", "a"}}, {{"text", "b"}}}}})}, "several choices");
  expect_refusal({event_of({{"choices", {{{"text", "a"}, {"index", 1}}}}})}, "several choices");
  expect_refusal({text_event("a", {{"usage", {{"completion_tokens", -3}}}})}, "usage/completion_tokens is \"-3\", which is no count");
  expect_refusal({text_event("a", {{"usage", {{"completion_tokens", 1e300}}}})}, "which is no count");
  expect_refusal({text_event("a", {{"usage", {{"prompt_tokens", "9"}}}})}, "usage/prompt_tokens is");
  for (const char* error : {"data: {\"error\": {\"message\": \"out of memory\\nsecond line\", \"code\": 500}}\n\n",
                            "error: {\"message\": \"out of memory\"}\n\n", "event: error\ndata: \"out of memory\"\n\n",
                            "data: {\"object\": \"error\", \"message\": \"out of memory\"}\n\n"})
    expect_refusal({good, error, kDone}, "the server reported an error in event 2: \"out of memory\"");
}

TEST(Completion, AcceptsDoneWithoutAnEmptyLineAfterIt) {
  EXPECT_EQ(read({text_event("a"), "data: [DONE]"}).text, "a");
  EXPECT_EQ(read({text_event("a"), "data:[DONE]\r\n"}).text, "a");
}

TEST(Completion, RefusesTokensByTheBillion) {
  const auto claims = [](std::int64_t n) { return text_event("a", {{"usage", {{"completion_tokens", n}}}}); };
  expect_refusal({claims(std::int64_t{1} << 60), kDone}, "which is no count");
  Completion completion = read({claims(9'000'000), kDone});
  completion.arrivals.push_back(completion.arrivals[0]);
  EXPECT_THROW(count_tokens(completion), std::runtime_error);
}

// Whatever the bytes, the end is a completion or one line of reason.
TEST(Completion, SurvivesDamage) {
  const std::string whole =
      delta_event({{"role", "assistant"}}) + text_event("one", {{"timings", {{"cache_n", 0}, {"predicted_n", 1}, {"prompt_ms", 3.5}}}}) +
      delta_event({{"content", "two"}}) +
      event_of({{"choices", json::array()}, {"usage", {{"completion_tokens", 2}, {"prompt_tokens_details", {{"cached_tokens", 1}}}}}}) +
      kDone;
  std::mt19937 random(7);
  const std::string kBytes = std::string("\0\r\n\"{}[]:,dat 09-e\\\xff\xc3", 24);
  int accepted = 0;
  for (int round = 0; round < 4000; ++round) {
    std::string bytes = whole;
    for (unsigned i = 0; i < 1 + round % 4U; ++i) {
      const std::size_t at = random() % bytes.size();
      if (random() % 3 == 0)
        bytes.erase(at, 1 + random() % 9);
      else if (random() % 2 == 0)
        bytes[at] = kBytes[random() % kBytes.size()];
      else
        bytes.insert(at, bytes.substr(random() % bytes.size(), random() % 40));
    }
    const std::size_t cut = random() % (bytes.size() + 1);
    try {
      count_tokens(read({bytes.substr(0, cut), bytes.substr(cut)}));
      ++accepted;
    } catch (const std::runtime_error& error) {
      json(std::string(error.what())).dump();  // throws for what the journal could not hold
    }
  }
  EXPECT_GT(accepted, 0);
  EXPECT_LT(accepted, 4000);
}

TEST(Quoting, FitsAMessage) {
  EXPECT_EQ(quote_first_line("  \n a \"b\" \xff\x01\nmore"), "\"a \\\"b\\\" \uFFFD\\u0001\"");
  EXPECT_LT(quote_first_line(std::string(100000, 'x')).size(), 250U);
  EXPECT_EQ(server_message(R"({"error": {"message": "no such model", "type": "x"}})"), "\"no such model\"");
  EXPECT_EQ(server_message(R"({"detail": "Not Found"})"), R"("{\"detail\": \"Not Found\"}")");
  EXPECT_EQ(server_message("\n<h1>Bad Gateway</h1>\n"), "\"<h1>Bad Gateway</h1>\"");
  EXPECT_EQ(server_message(" \n"), "");
}

}  // namespace
}  // namespace crossover
