#include "bench/load_watch.h"

#include <gtest/gtest.h>

namespace crossover {
namespace {

TEST(LoadWatch, SaysPhaseTensorsBytesAndTimeLeft) {
  LoadProgress progress;
  EXPECT_EQ(progress_line("load", progress.state(), 1), "load: open");
  progress.expect(std::int64_t{1000} << 20, 40);
  progress.expect(std::int64_t{1000} << 20, 46);  // the second rank
  EXPECT_EQ(progress_line("load", progress.state(), 1), "load: open, 0 of 86 tensors, 0 of 2000 MiB");
  progress.enter("quantize");
  progress.finish_rows(std::int64_t{500} << 20);
  progress.finish_tensor();
  EXPECT_EQ(progress_line("load", progress.state(), 2), "load: quantize, 1 of 86 tensors, 500 of 2000 MiB, 6 s left");
  progress.finish_rows(std::int64_t{1500} << 20);
  EXPECT_EQ(progress_line("load", progress.state(), 8), "load: quantize, 1 of 86 tensors, 2000 of 2000 MiB, 0 s left");
}

TEST(LoadWatch, EndsAtOnce) {
  LoadProgress progress;
  const LoadWatch watch("load", progress);  // on a terminal or not
}

}  // namespace
}  // namespace crossover
