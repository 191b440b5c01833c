// A library with NCCL's functions whose ranks are threads and whose sums are done on the host, and which misbehaves on request. Ranks that it
// keeps waiting end when their communicator is aborted or the fake is reset.
#pragma once

#include <atomic>
#include <cstdint>

struct NcclFake {
  // How it behaves. A rank of -1: none.
  int version = 22703;
  int refused_rank = -1;     // its ncclCommInitRank fails
  int lost_rank = -1;        // its ncclCommInitRank never arrives, and every rank waits for it
  int wedged_rank = -1;      // its all-reduce never arrives, from wedged_from on
  std::int64_t wedged_from = 0;
  int broken_rank = -1;      // its all-reduce is refused, from broken_from on
  std::int64_t broken_from = 0;
  int async_error_rank = -1;
  float error_in_sum = 0;
  void (*with_memory)(void (*body)(void*), void* context) = nullptr;  // calls body while device memory is open

  // What it saw.
  std::atomic<int> joined{0}, aborted{0}, destroyed{0}, f32_sums{0}, bf16_sums{0};  // sums: counted once for all ranks
};

extern "C" {
NcclFake* crossover_nccl_fake();     // that of the library since its last reset
void crossover_nccl_fake_reset();
}
