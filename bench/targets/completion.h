// What an OpenAI-compatible server streamed, read after the last byte has come: tokens with their times, counts and text.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace crossover {

struct ReceivedPiece {
  double time_s = 0;  // monotonic clock, when the network delivered it
  std::string bytes;
};

struct TokenArrival {
  double time_s = 0;
  std::optional<std::int64_t> tokens;  // as the server states them: ids, logprobs or a running count; absent when it does not
};

struct Completion {
  std::vector<TokenArrival> arrivals;                                  // events that carried text or stated tokens
  std::string text;                                                    // answer and reasoning, one after the other
  std::string finish_reason;                                           // "length", "stop", ...
  std::optional<std::int64_t> prompt_tokens, completion_tokens;        // of `usage`
  std::optional<std::int64_t> reused_tokens;                           // of the prompt, from a prefix cache
  std::string reuse_report;                                            // which field said it; empty when none did
  std::optional<double> server_prefill_s, server_decode_tokens_per_s;  // as the server's own `timings` have them
};

struct TokenCount {
  std::int64_t total = 0;  // end-of-text ignored
  std::int64_t first = 1;  // of them in the first event, so outside of the window of decode
  std::string source;      // "events" that state their tokens, "usage", or "assumed": one in each event
};

// Of a completion with at least one arrival. std::runtime_error for more tokens than anybody asks for.
TokenCount count_tokens(const Completion& completion);

// std::runtime_error with one line: no event stream, an event that is not what it must be (with its number), an error that the
// server reports, no token, an end before [DONE]. Any bytes are safe.
Completion read_completion(const std::vector<ReceivedPiece>& pieces);

// Fit for a message: the first line with text as a JSON string of at most 200 bytes, invalid UTF-8 replaced.
std::string quote_first_line(const std::string& text);

// The message inside an error that a server sent as JSON, else the first line; quoted. Empty for an empty text.
std::string server_message(const std::string& body);

}  // namespace crossover
