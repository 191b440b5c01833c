// Rows of the table of kernels (bench/micro/table.h): one operation with one shape on one instruction set beside the ceiling that bounds
// it. Operands that decoding reads from memory lie in memory: such a row takes a plain read of the same bytes in turn with its kernel,
// because the bandwidth of a shared machine wanders.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "bench/micro/operands.h"

namespace crossover::micro_bench {

inline constexpr std::int64_t kMemoryBytes = std::int64_t{512} << 20;  // beyond any L3 cache

struct KernelRow {
  const char* bound;           // int8 | bf16 | f32 | memory
  cost::Cost cost;             // of one call
  std::function<void()> work;  // holds its operands
  std::int64_t calls = 1;      // that `work` makes
  const std::byte* memory = nullptr;  // what `work` reads from memory, all of it once; nullptr where caches serve it
  std::int64_t memory_bytes = 0;
};

// `prepare` runs when the row does, so that a filter costs nothing for the others. shape: "M:512/N:4352/K:5120".
void add_row(const std::string& kernel, cpu::Isa isa, const std::string& shape, int threads, std::function<KernelRow(std::shared_ptr<CpuContext>)> prepare);

// At least `bytes` of valid blocks, repeated; their values do not matter to the time. Earlier ones of that type and layout are gone.
std::byte* weights(DType dtype, Layout layout, std::int64_t bytes = kMemoryBytes);

// The arithmetic that products with these weights come down to: quantized ones in integers, or in bf16 where tiles are multiplied.
const char* products_of(DType dtype, Layout layout, std::int64_t dim, cpu::Isa isa, std::int64_t tokens);

}  // namespace crossover::micro_bench
