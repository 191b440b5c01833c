// Finding NCCL, and by which way ranks sum.
#include "engine/nccl/library.h"

#include "engine/comm_choice.h"
#include "engine/tests/nccl/fake_library.h"

namespace crossover::nccl::test {
namespace {

using testing::Test;

class NcclLibrary : public FakeNccl {};

bool says(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST_F(NcclLibrary, IsFoundWithItsVersion) {
  const Library library(CROSSOVER_NCCL_FAKE);
  EXPECT_EQ(library.version(), "2.27.3");
  EXPECT_EQ(library.path(), CROSSOVER_NCCL_FAKE);
}

TEST_F(NcclLibrary, AVersionReadsAsItIsWritten) {
  EXPECT_EQ(version_text(22703), "2.27.3");
  EXPECT_EQ(version_text(21005), "2.10.5");
  EXPECT_EQ(version_text(2804), "2.8.4");
}

TEST_F(NcclLibrary, AMissingOneIsNamedWithWhatToInstall) {
  const std::string message = message_of([] { Library("libnccl_that_is_not_here.so.2"); });
  EXPECT_TRUE(says(message, "libnccl_that_is_not_here.so.2 could not be loaded")) << message;
  EXPECT_TRUE(says(message, "install NCCL 2.16 or newer")) << message;
  EXPECT_TRUE(says(message, "CROSSOVER_COMM=local")) << message;
}

TEST_F(NcclLibrary, AMissingFunctionIsNamed) {
  const std::string message = message_of([] { Library(CROSSOVER_NCCL_FAKE_WITHOUT_ABORT); });
  EXPECT_TRUE(says(message, CROSSOVER_NCCL_FAKE_WITHOUT_ABORT " has no function ncclCommAbort")) << message;
}

TEST_F(NcclLibrary, AnOldOneIsRefused) {
  fake().version = 21505;
  EXPECT_TRUE(says(message_of([] { Library(CROSSOVER_NCCL_FAKE); }), "is version 2.15.5, older than 2.16"));
  fake().version = 21600;
  EXPECT_EQ(Library(CROSSOVER_NCCL_FAKE).version(), "2.16.0");
}

CommWishes wishes(const char* backend, const char* comm, int ranks, int gpus) { return {backend, comm, ranks, gpus}; }

TEST_F(NcclLibrary, SumsWhereEveryRankHasAGpu) {
  EXPECT_TRUE(wants_nccl(wishes("cuda", "auto", 2, 2)));
  EXPECT_TRUE(wants_nccl(wishes("cuda", "auto", 2, 8)));
  EXPECT_FALSE(wants_nccl(wishes("cuda", "auto", 2, 1)));
  EXPECT_FALSE(wants_nccl(wishes("cuda", "auto", 1, 1)));
  EXPECT_FALSE(wants_nccl(wishes("cuda", "local", 2, 2)));
  EXPECT_FALSE(wants_nccl(wishes("cpu", "auto", 2, 0)));
  EXPECT_TRUE(wants_nccl(wishes("cuda", "nccl", 2, 2)));
  EXPECT_FALSE(wants_nccl(wishes("cuda", "nccl", 1, 1)));
}

TEST_F(NcclLibrary, WhatCannotBeIsRefused) {
  EXPECT_THROW(wants_nccl(wishes("cpu", "nccl", 2, 0)), std::invalid_argument);
  EXPECT_THROW(wants_nccl(wishes("cuda", "nccl", 4, 2)), std::runtime_error);
  const std::string message = message_of([] { wants_nccl(wishes("cuda", "nccl", 4, 1)); });
  EXPECT_TRUE(says(message, "4 ranks, 1 GPU found")) << message;
}

TEST_F(NcclLibrary, TheWayTakenIsNamed) {
  EXPECT_EQ(choose_comm(wishes("cpu", "auto", 2, 0), "unused", 1).path, "local");
  EXPECT_EQ(choose_comm(wishes("cuda", "auto", 3, 1), "unused", 1).path, "local-staged (3 virtual ranks on one GPU)");
  EXPECT_EQ(choose_comm(wishes("cuda", "auto", 4, 2), "unused", 1).path, "local-staged (4 virtual ranks on 2 GPUs)");
  EXPECT_EQ(choose_comm(wishes("cuda", "local", 2, 4), "unused", 1).path, "local-staged (2 ranks on 2 GPUs)");
  const CommChoice nccl = choose_comm(wishes("cuda", "auto", 2, 2), CROSSOVER_NCCL_FAKE, 60);
  EXPECT_EQ(nccl.path, "nccl");
  EXPECT_TRUE(nccl.nccl);
}

TEST_F(NcclLibrary, AMissingOneIsAnErrorOnlyWhereItWasAskedFor) {
  const CommChoice choice = choose_comm(wishes("cuda", "auto", 2, 2), "libnccl_that_is_not_here.so.2", 1);
  EXPECT_FALSE(choice.nccl);
  EXPECT_EQ(choice.path, "local-staged (2 ranks on 2 GPUs, NCCL was not found)");
  EXPECT_THROW(choose_comm(wishes("cuda", "nccl", 2, 2), "libnccl_that_is_not_here.so.2", 1), std::runtime_error);
}

}  // namespace
}  // namespace crossover::nccl::test
