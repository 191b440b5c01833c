// A block while it runs: its fibers and warps, and what is under way among them. emulator.cpp decides who goes on, warpgroup.cpp holds what
// Hopper adds. Inside the emulation only.
#pragma once

#include <boost/context/fiber.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <map>
#include <vector>

#include "kernels/cuda/emulator/warpgroup.h"

namespace crossover::cuda::emulated {

inline constexpr int kLanes = 32;
inline constexpr std::size_t kUnitBytes = 16;  // of shared memory: what an asynchronous copy writes

enum class Waiting : std::uint8_t { kNothing, kLaunches, kBlock, kWarp, kPhase, kDone };

// What lies in the eight bytes of an mbarrier.
struct Barrier {
  std::uint16_t expected, pending;
  std::uint32_t phase;
  bool passed(int parity) const { return (phase & 1) != static_cast<unsigned>(parity); }
};
static_assert(sizeof(Barrier) == sizeof(std::uint64_t));

struct Copy { void* to; const void* from; };

struct Fiber {
  Position position{};
  int index = 0;                  // in its block
  boost::context::fiber resume;   // of the fiber, while it waits
  Waiting waiting = Waiting::kNothing;
  bool predicate = false;         // given at a block's barrier
  std::vector<Copy> queued;
  std::vector<std::vector<Copy>> groups;  // committed, oldest first
  struct Arrival {
    std::vector<Copy> copies;
    Barrier* barrier;
  };
  std::deque<Arrival> arrivals;  // copies that a barrier counts when they are done, oldest first
  const Barrier* barrier = nullptr;
  int parity = 0;
  bool fenced = false;         // its registers are in order for the next wgmma
  std::uint64_t fenced_at = 0;  // Block::clock when it last fenced for the asynchronous proxy
};

// One wgmma of a warp: 16 rows of the warpgroup's 64.
struct Product {
  GroupProduct what;
  float* d[kLanes];
  const unsigned* a_registers[kLanes];
  std::vector<std::uint16_t> a, b;  // bits of [16, 16] and [16, columns], as they were when it began
};

struct Warp {
  std::array<void*, kLanes> given{};
  unsigned arrived = 0, mask = 0;
  Collective act = nullptr;
  std::vector<Product> begun;                // not committed
  std::deque<std::vector<Product>> groups;   // committed, oldest first
  std::map<float*, std::vector<float>> sums; // under way, by lane 0's registers: [16, columns]
  std::size_t products = 0;                  // begun since the block began
};

struct Block {
  std::vector<Fiber> fibers;
  std::vector<Warp> warps;
  struct alignas(128) Line { std::array<std::byte, 128> bytes; };
  std::vector<Line> shared;
  int at_launches = 0, at_barrier = 0, done = 0, count = 0;  // at_launches: have asked to wait for those before, ever
  std::exception_ptr failure;
  std::vector<std::uint64_t> written;                    // clock of the last asynchronous copy to each unit of shared memory
  std::uint64_t clock = 1;
  std::vector<std::vector<GroupProduct>> group_products;  // of each warpgroup, in order: its warps must do the same
};

Block& running_block();
Fiber& running_fiber();
void wait(Waiting what);

void arrive(Barrier& barrier);
void carry_out(Block& block, const std::vector<Copy>& copies);
void finish_arrival(Block& block, Fiber& fiber);  // the oldest
void check_products(const Block& block);          // std::runtime_error where a block ends with some under way, or its warps differ

}  // namespace crossover::cuda::emulated
