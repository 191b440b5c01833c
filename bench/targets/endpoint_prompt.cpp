#include "bench/targets/endpoint_prompt.h"

#include <fmt/format.h>

#include <iterator>
#include <nlohmann/json.hpp>
#include <random>
#include <stdexcept>

#include "bench/json_text.h"

namespace crossover {

namespace {

// Common enough to be one token each, with the space before it, in the vocabularies of today's models.
constexpr const char* kWords[] = {
    "time",     "year",    "people", "way",     "day",     "man",  "thing", "woman", "life",     "child",  "world",   "school", "state",
    "family",   "student", "group",  "country", "problem", "hand", "part",  "place", "case",     "week",   "company", "system", "program",
    "question", "work",    "number", "night",   "point",   "home", "water", "room",  "mother",   "area",   "money",   "story",  "fact",
    "month",    "lot",     "right",  "study",   "book",    "eye",  "job",   "word",  "business", "issue",  "side",    "kind",   "head",
    "house",    "service", "friend", "father",  "power",   "hour", "game",  "line",  "end",      "member", "law",     "car"};

// mt19937_64 is specified bit by bit, so a seed gives the same words on every machine.
std::string random_words(std::uint64_t seed, std::int64_t count) {
  std::mt19937_64 random(seed);
  std::string text;
  for (std::int64_t i = 0; i < count; ++i) text += std::string(" ") + kWords[random() % std::size(kWords)];
  return text;
}

std::string text_of_file(const std::string& file, const std::string& nonce) {
  constexpr std::string_view kPlaceholder = "{nonce}";
  std::string text = read_text_file(file);
  if (text.empty()) throw std::runtime_error(fmt::format("prompt_file {} is empty", file));
  try {
    const std::string checked = nlohmann::json(text).dump();
  } catch (const nlohmann::json::exception&) {
    throw std::runtime_error(fmt::format("prompt_file {} is no UTF-8 text, which a request needs", file));
  }
  const bool begins_with_it = text.starts_with(kPlaceholder);
  for (std::size_t at = text.find(kPlaceholder); at != std::string::npos; at = text.find(kPlaceholder, at + nonce.size()))
    text.replace(at, kPlaceholder.size(), nonce);
  return begins_with_it ? text : nonce + "\n" + text;
}

}  // namespace

std::string endpoint_prompt(const nlohmann::json& job) {
  const std::string nonce = job.at("nonce").get<std::string>();
  if (job.contains("prompt_file")) return text_of_file(job.at("prompt_file").get<std::string>(), nonce);
  return nonce + random_words(job.at("prompt_seed").get<std::uint64_t>(), job.at("prompt_tokens").get<std::int64_t>());
}

}  // namespace crossover
