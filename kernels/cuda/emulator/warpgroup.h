// What Hopper adds and kernels/cuda/warpgroup.h offers: barriers in shared memory, and products of a warpgroup that run beside its threads.
// Every warp of a warpgroup goes its own way, as late as its waits allow: a product reads shared memory when it begins and again when it is
// waited for, and its registers too: it is an error if they have changed in between, if another warp of the group began another product in its
// place, if registers were not fenced, or if a copy was not fenced for the asynchronous proxy (ordinary stores are not watched). Sums are NaN until
// they are waited for.
#pragma once

#include <cstddef>
#include <cstdint>

namespace crossover::cuda::emulated {

// d [64, columns] = a [64, 16] b [16, columns] (+ d). Operands in shared memory by their descriptors. MN-major: neighbours along the rows of a
// (columns of b) lie beside each other; else along the 16.
struct GroupProduct {
  int columns = 0;
  bool halves = false, adds = false, a_in_registers = false, a_mn_major = false, b_mn_major = false;
  std::uint64_t a = 0, b = 0;  // descriptors
  bool operator==(const GroupProduct&) const = default;
};
void begin_product(const GroupProduct& what, float* d, const unsigned* a);  // a: four registers, there until waited for, or null
void fence_registers();
void commit_products();
void wait_products(int pending);
void fence_proxy();

// Bits of element (row, k) of an operand, row along M or N, as a descriptor has it.
std::uint16_t operand_bits(std::uint64_t descriptor, bool mn_major, int row, int k);

void init_barrier(std::uint64_t* at, int arrivals);
void arrive_at(std::uint64_t* at);
void arrive_after_copies(std::uint64_t* at);
void wait_for_phase(std::uint64_t* at, int parity);

std::uint32_t shared_address(const void* at);  // in the window that descriptors name, whose begin is a multiple of 128 but not of 1024

}  // namespace crossover::cuda::emulated
