// Texts with their ids from the reference tokenizer, and the comparison with them.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/text/utf8.h"
#include "engine/tokenizer.h"

namespace crossover {

using nlohmann::json;
using Ids = std::vector<std::int32_t>;

inline const std::filesystem::path kData = std::filesystem::path(CROSSOVER_SOURCE_DIR) / "engine/tests/data/tokenizer";

inline json read_json(const std::filesystem::path& path) {
  std::ifstream file(path);
  return json::parse(file);
}

inline std::string streamed(const Tokenizer& tokenizer, const Ids& ids, bool skip_special) {
  StreamDecoder stream(tokenizer, skip_special);
  std::string text;
  for (const std::int32_t id : ids) {
    text += stream.push(id);
    EXPECT_EQ(text, repair_utf8(text)) << "a part that was handed out was no valid UTF-8";
  }
  return text + stream.finish();
}

inline void check_pairs(const Tokenizer& tokenizer, const json& golden, std::size_t least_pairs) {
  ASSERT_GE(golden["pairs"].size(), least_pairs);
  for (const json& pair : golden["pairs"]) {
    const auto text = pair["text"].get<std::string>();
    const auto ids = pair["ids"].get<Ids>();
    EXPECT_EQ(tokenizer.encode(text), ids) << pair["text"];
    EXPECT_EQ(tokenizer.decode(ids, false), pair["decoded"].get<std::string>()) << pair["text"];
    EXPECT_EQ(streamed(tokenizer, ids, false), pair["decoded"].get<std::string>()) << pair["text"];
    if (!pair.contains("decoded_skip")) continue;
    EXPECT_EQ(tokenizer.decode(ids, true), pair["decoded_skip"].get<std::string>()) << pair["text"];
    EXPECT_EQ(streamed(tokenizer, ids, true), pair["decoded_skip"].get<std::string>()) << pair["text"];
  }
  for (const json& only : golden["decode_only"]) {
    const auto ids = only["ids"].get<Ids>();
    EXPECT_EQ(tokenizer.decode(ids, false), only["decoded"].get<std::string>()) << only["ids"];
    EXPECT_EQ(streamed(tokenizer, ids, false), only["decoded"].get<std::string>()) << only["ids"];
  }
}

}  // namespace crossover
