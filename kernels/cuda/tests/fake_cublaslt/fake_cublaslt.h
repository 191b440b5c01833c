// A library with cuBLASLt's functions that multiplies on the host, sees to it that calls fit together, and refuses on request.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/cuda/cublaslt_api.h"

namespace crossover::cuda::lt {

struct FakeProduct {
  std::int64_t rows, columns, values;            // of d; of the sum
  std::int64_t leading[3];                       // of a, b, d
  std::uint32_t alignments[4];                   // promised of a, b, c, d
  bool transposed_a, transposed_b;
};

struct CublasLtFake {
  // How it behaves.
  std::size_t version = 130'100;
  Status on_create = Status::kSuccess, on_heuristic = Status::kSuccess, on_multiply = Status::kSuccess;
  int algorithms = 1;                 // found for every product
  std::size_t workspace_bytes = 0;    // that its algorithms need
  void (*with_memory)(void (*body)(void*), void* context) = nullptr;  // calls body while device memory is open; null: it is

  // What it saw.
  int created = 0, destroyed = 0;     // handles
  int objects = 0;                    // descriptions, layouts and wishes that live
  int heuristics = 0, products = 0;
  FakeProduct last{};                 // that an algorithm was asked for
  Stream stream = nullptr;            // of the last product
  std::vector<const char*> offences;  // calls that do not fit together
};

}  // namespace crossover::cuda::lt

extern "C" {
crossover::cuda::lt::CublasLtFake* crossover_fake_cublaslt();
void crossover_fake_cublaslt_reset();
}
