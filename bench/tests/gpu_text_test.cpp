#include "bench/machine/gpu_text.h"

#include <gtest/gtest.h>

namespace crossover {
namespace {

const cuda::GpuFacts kH200{"NVIDIA H200", 90, 132, 150'754'820'096}, kL4{"NVIDIA L4", 89, 58, 24'152'899'584};

TEST(GpuText, NamesWhatAReaderComparesMachinesBy) {
  EXPECT_EQ(gpu_text({{kH200}, "13.0", "580.65.06", ""}), "NVIDIA H200, compute capability 9.0, 140.4 GiB, 132 multiprocessors; driver 580.65.06, CUDA 13.0");
  EXPECT_EQ(gpu_text({{kH200}, "12.8", "", ""}), "NVIDIA H200, compute capability 9.0, 140.4 GiB, 132 multiprocessors; driver CUDA 12.8");
}

TEST(GpuText, CountsGpusOfOneKind) {
  EXPECT_EQ(gpu_text({{kH200, kH200, kL4}, "13.0", "580.65.06", ""}),
            "2 x NVIDIA H200, compute capability 9.0, 140.4 GiB, 132 multiprocessors; NVIDIA L4, compute capability 8.9, 22.5 GiB, 58 multiprocessors; "
            "driver 580.65.06, CUDA 13.0");
  EXPECT_EQ(gpu_text({{}, "13.0", "580.65.06", "the NVIDIA driver shows no GPU"}), "");
}

}  // namespace
}  // namespace crossover
