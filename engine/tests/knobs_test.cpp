#include "engine/knobs.h"

#include <gtest/gtest.h>

namespace crossover {
namespace {

std::string refusal(const std::string& name, const std::string& value) {
  Knobs knobs;
  try {
    knobs.set(name, value, "test");
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "";
}

TEST(Knobs, EveryOneHasAPlaceADefaultItAllowsAndAMeaning) {
  std::string last;
  for (const KnobInfo& knob : all_knobs()) {
    EXPECT_TRUE(std::string(knob.name).starts_with("CROSSOVER_"));
    EXPECT_LT(last, knob.name) << "keep the registry in order";
    EXPECT_GT(std::string(knob.meaning).size(), 10u);
    last = knob.name;
    if (std::string(knob.type) != "path") {
      EXPECT_EQ(refusal(knob.name, knob.default_value), "");
    }
    EXPECT_EQ(Knobs().all().at(knob.name).origin, "default");
  }
}

TEST(Knobs, TypoIsAnErrorWithTheNearestName) {
  EXPECT_NE(refusal("CROSSOVER_GDN_PREFIL", "chunked").find("did you mean CROSSOVER_GDN_PREFILL?"), std::string::npos);
  EXPECT_NE(refusal("CROSSOVER_ZZZZZZZZZZZZZZ", "1").find("`crossover knobs` lists them"), std::string::npos);
}

TEST(Knobs, EmptyAndUnlistedValuesAreErrors) {
  EXPECT_NE(refusal("CROSSOVER_READ", "").find("empty value"), std::string::npos);
  EXPECT_NE(refusal("CROSSOVER_READ", "MMAP").find("use one of auto, mmap, pread"), std::string::npos);
}

TEST(Knobs, EnvironmentIsReadWholeAndRemembered) {
  std::string good = "CROSSOVER_READ=pread", other = "PATH=/bin", bad = "CROSSOVER_RAED=pread", test_data = "CROSSOVER_GOLDEN=/data";
  char* block[] = {good.data(), other.data(), test_data.data(), nullptr};
  Knobs knobs;
  knobs.set_from_environment(block);
  EXPECT_EQ(knobs.get("CROSSOVER_READ"), "pread");
  EXPECT_EQ(knobs.all().at("CROSSOVER_READ").origin, "env");
  char* wrong[] = {bad.data(), nullptr};
  EXPECT_THROW(knobs.set_from_environment(wrong), std::invalid_argument);
  EXPECT_THROW(knobs.get("CROSSOVER_NOT_THERE"), std::invalid_argument);
}

TEST(Nearest, PrefersTheCloserAndRefusesTheFar) {
  EXPECT_EQ(nearest("thread", {"threads", "ranks"}), "threads");
  EXPECT_EQ(nearest("promt_tokens", {"prompt_tokens", "depth_tokens"}), "prompt_tokens");
  EXPECT_EQ(nearest("xyz", {"threads", "ranks"}), "");
}

}  // namespace
}  // namespace crossover
