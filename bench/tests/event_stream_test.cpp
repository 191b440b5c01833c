#include "bench/targets/event_stream.h"

#include <gtest/gtest.h>

#include <stdexcept>

namespace crossover {
namespace {

using Events = std::vector<ServerEvent>;

Events read(const std::vector<std::string>& pieces) {
  EventStream stream(1000);
  Events events;
  double time_s = 1;
  for (const std::string& piece : pieces) stream.add(piece, time_s++, events);
  stream.finish(time_s, events);
  return events;
}

std::string shown(const Events& events) {
  std::string text;
  for (const ServerEvent& event : events) text += "<" + event.name + "|" + event.data + ">";
  return text;
}

// Input, and what the rules of the standard make of it.
const std::pair<std::string, std::string> kCases[] = {
    {"data: a\n\ndata: b\n\n", "<|a><|b>"},
    {"data: a\r\n\r\ndata: b\r\n\r\n", "<|a><|b>"},
    {"data: a\r\rdata: b\r\r", "<|a><|b>"},
    {"data:a\ndata:  b\n\n", "<|a\n b>"},                       // one space belongs to the field
    {"data: YHOO\ndata: +2\ndata: 10\n\n", "<|YHOO\n+2\n10>"},  // the standard's own example
    {": comment\n\n:\n:: \ndata: a\n: comment\n\n", "<|a>"},
    {"event: error\ndata: bad\n\ndata: a\n\n", "<error|bad><|a>"},
    {"error: {\"code\": 1}\n\n", "<error|{\"code\": 1}>"},  // a field of no standard, but sent
    {"event: lonely\n\ndata: a\n\n", "<|a>"},               // no data, no event; its name is forgotten
    {"data\n\ndata\ndata\n\ndata:\n\n", "<|><|\n><|>"},     // a field without a colon has an empty value
    {"id: 7\nretry: 10\nnonsense\n data: x\ndata: a\n\n", "<|a>"},
    {"\xef\xbb\xbf"
     "data: a\n\n",
     "<|a>"},
    {"data: \xef\xbb\xbf"
     "a\n\n",
     "<|\xef\xbb\xbf"
     "a>"},
    {std::string("data: a\0b\n\n", 11), std::string("<|a\0b>", 6)},
    {"data: \xff\xfe\n\n", "<|\xff\xfe>"},
    {"data: a\n", "<|a>"},
    {"data: a", "<|a>"},
    {"data: a\r", "<|a>"},
    {"\n\r\n\r\r\n\n", ""},
    {"", ""},
};

TEST(EventStream, FollowsTheStandard) {
  for (const auto& [input, wanted] : kCases) EXPECT_EQ(shown(read({input})), wanted) << input;
}

TEST(EventStream, GivesTheSameWhereverItIsSplit) {
  for (const auto& [input, wanted] : kCases) {
    std::vector<std::string> bytes;
    for (const char byte : input) bytes.emplace_back(1, byte);
    EXPECT_EQ(shown(read(bytes)), wanted) << input;
    for (std::size_t at = 0; at <= input.size(); ++at)
      EXPECT_EQ(shown(read({input.substr(0, at), "", input.substr(at)})), wanted) << input << " split at " << at;
  }
}

TEST(EventStream, TakesTheTimeOfThePieceThatCompletesAnEvent) {
  const Events events = read({"data: a", "\n", "\ndata: b\n\nda", "ta: c\r", "\r", "\n"});
  ASSERT_EQ(events.size(), 3U);
  EXPECT_EQ(events[0].time_s, 3);
  EXPECT_EQ(events[1].time_s, 3);
  EXPECT_EQ(events[2].time_s, 5) << "a CR ends the line at once, whatever follows";
}

TEST(EventStream, BoundsAnEvent) {
  EXPECT_EQ(read({"data: " + std::string(900, 'x') + "\n\n"}).size(), 1U);
  EXPECT_THROW(read({"data: " + std::string(1000, 'x') + "\n\n"}), std::runtime_error);
  EXPECT_THROW(read(std::vector<std::string>(300, "xxxx")), std::runtime_error) << "a line that never ends";
  EXPECT_THROW(read(std::vector<std::string>(600, "data: x\n")), std::runtime_error) << "an event that never ends";
  EXPECT_EQ(read(std::vector<std::string>(300, "data: x\n\n")).size(), 300U);
}

}  // namespace
}  // namespace crossover
