#include "kernels/cuda/device.h"

#include <boost/context/stack_context.hpp>

#include <algorithm>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/cuda/emulator/fibers.h"
#include "kernels/cuda/emulator/memory.h"
#include "kernels/formats/formats.h"

namespace crossover::cuda::emulated {
namespace {

namespace context = boost::context;

constexpr std::size_t kStackBytes = std::size_t{256} << 10;
thread_local Block* block = nullptr;
thread_local Fiber* fiber = nullptr;
thread_local context::fiber scheduler;
thread_local std::uint64_t seed = 1;

// Bytes of shared memory that nobody has written are not zero on a GPU either.
constexpr std::byte kJunk{0xff};

// Fibers take turns every few hundred instructions, and the tops of their stacks would all fall on the same lines of a cache if the stacks
// lay a power of two apart.
class Stacks {
 public:
  context::stack_context allocate() {
    if (free_.empty()) grow();
    const context::stack_context stack = free_.back();
    free_.pop_back();
    return stack;
  }
  void deallocate(context::stack_context& stack) { free_.push_back(stack); }

 private:
  static constexpr std::size_t kStrideBytes = kStackBytes + 11 * 64, kAtOnce = 32;

  void grow() {
    memory_.push_back(std::make_unique_for_overwrite<std::byte[]>(kAtOnce * kStrideBytes));
    for (std::size_t i = 1; i <= kAtOnce; ++i) {
      context::stack_context stack;
      stack.size = kStackBytes, stack.sp = memory_.back().get() + i * kStrideBytes;
      free_.push_back(stack);
    }
  }

  std::vector<std::unique_ptr<std::byte[]>> memory_;
  std::vector<context::stack_context> free_;
};

struct PooledStack {
  Stacks* stacks;
  context::stack_context allocate() { return stacks->allocate(); }
  void deallocate(context::stack_context& stack) { stacks->deallocate(stack); }
};

void start(Fiber& one, const std::function<void()>& body, Stacks& stacks) {
  one.resume = context::fiber(std::allocator_arg, PooledStack{&stacks}, [&one, &body](context::fiber&& back) {
    scheduler = std::move(back);
    fiber = &one;
    try {
      body();
    } catch (const context::detail::forced_unwind&) {
      throw;
    } catch (...) {
      if (!block->failure) block->failure = std::current_exception();
    }
    one.waiting = Waiting::kDone;
    ++block->done;
    return std::move(scheduler);
  });
}

// SplitMix64 (Steele, Lea, Flood 2014): an order is drawn every few hundred instructions of each fiber.
struct Random {
  using result_type = std::uint64_t;
  static constexpr result_type min() { return 0; }
  static constexpr result_type max() { return ~result_type{0}; }
  result_type operator()() {
    std::uint64_t z = state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
  }
  std::uint64_t state;
};

[[noreturn]] void deadlock(const char* kernel) {
  const auto waits = [](Waiting what) { return std::count_if(block->fibers.begin(), block->fibers.end(), [&](const Fiber& f) { return f.waiting == what; }); };
  throw std::runtime_error(std::string("deadlock in ") + kernel + ": of " + std::to_string(block->fibers.size()) + " threads of a block " +
                           std::to_string(waits(Waiting::kLaunches)) + " wait for the launches before, " +
                           std::to_string(waits(Waiting::kBlock)) + " at __syncthreads, " + std::to_string(waits(Waiting::kWarp)) +
                           " at a collective of their warp, " + std::to_string(waits(Waiting::kPhase)) + " at an mbarrier, " +
                           std::to_string(waits(Waiting::kDone)) + " have returned");
}

// open: of device memory, once a block has waited for the launches before.
void run_block(const char* kernel, Random& random, std::vector<int>& order, std::optional<OpenMemory>& open) {
  while (block->done < static_cast<int>(block->fibers.size())) {
    std::shuffle(order.begin(), order.end(), random);
    bool moved = false;
    for (const int i : order) {
      Fiber& one = block->fibers[static_cast<std::size_t>(i)];
      if (!one.arrivals.empty() && random() % 4 == 0) finish_arrival(*block, one), moved = true;
      if (one.waiting == Waiting::kPhase && one.barrier->passed(one.parity)) one.waiting = Waiting::kNothing;
      if (one.waiting != Waiting::kNothing) continue;
      moved = true;
      one.resume = std::move(one.resume).resume();
      if (block->failure) return;
    }
    for (Fiber& one : block->fibers)
      if (!moved && !one.arrivals.empty()) finish_arrival(*block, one), moved = true;
    if (moved) continue;
    if (block->at_launches == static_cast<int>(block->fibers.size()) && block->fibers.front().waiting == Waiting::kLaunches) {
      if (!open) open.emplace();
      for (Fiber& one : block->fibers) one.waiting = Waiting::kNothing;
      continue;
    }
    if (block->at_barrier != static_cast<int>(block->fibers.size())) deadlock(kernel);
    block->at_barrier = 0;
    block->count = static_cast<int>(std::count_if(block->fibers.begin(), block->fibers.end(), [](const Fiber& f) { return f.predicate; }));
    for (Fiber& one : block->fibers) one.waiting = Waiting::kNothing;
  }
}

}  // namespace

Block& running_block() { return *block; }
Fiber& running_fiber() { return *fiber; }

void wait(Waiting what) {
  fiber->waiting = what;
  Fiber* const me = fiber;
  scheduler = std::move(scheduler).resume();
  fiber = me;
}

const Position& position() { return fiber->position; }
int lane_id() { return fiber->index % kLanes; }
std::byte* shared_memory() { return block->shared.data()->bytes.data(); }
void set_seed(std::uint64_t value) { seed = value; }

void wait_for_launches() {
  ++block->at_launches;
  wait(Waiting::kLaunches);
}

void sync_threads() { sync_threads_count(false); }

int sync_threads_count(bool predicate) {
  fiber->predicate = predicate;
  ++block->at_barrier;
  wait(Waiting::kBlock);
  return block->count;
}

void collective(unsigned mask, void* mine, Collective act) {
  const int lane = lane_id(), first = fiber->index - lane;
  Warp& warp = block->warps[static_cast<std::size_t>(first / kLanes)];
  const int lanes = std::min(kLanes, static_cast<int>(block->fibers.size()) - first);
  if (lanes < kLanes) mask &= (1u << lanes) - 1;
  if (!(mask >> lane & 1)) throw std::runtime_error("a lane calls a collective whose mask does not name it");
  if (warp.arrived == 0) warp.mask = mask, warp.act = act, warp.given.fill(nullptr);
  if (warp.mask != mask || warp.act != act) throw std::runtime_error("lanes of a warp meet in different collectives");
  warp.given[static_cast<std::size_t>(lane)] = mine;
  warp.arrived |= 1u << lane;
  if (warp.arrived != mask) return wait(Waiting::kWarp);
  act(warp.given.data(), mask);
  warp.arrived = 0;
  for (int i = 0; i < lanes; ++i) {
    Fiber& one = block->fibers[static_cast<std::size_t>(first + i)];
    if ((mask >> i & 1) && one.waiting == Waiting::kWarp) one.waiting = Waiting::kNothing;
  }
}

void queue_copy(void* to, const void* from) {
  if (reinterpret_cast<std::uintptr_t>(to) % 16 != 0 || reinterpret_cast<std::uintptr_t>(from) % 16 != 0)
    throw std::runtime_error("cp.async of 16 bytes: an address that is not 16-byte aligned");
  fiber->queued.push_back({to, from});
}

void commit_copies() { fiber->groups.push_back(std::move(fiber->queued)), fiber->queued.clear(); }

void wait_copies(int pending) {
  auto& groups = fiber->groups;
  const std::size_t ready = groups.size() > static_cast<std::size_t>(pending) ? groups.size() - static_cast<std::size_t>(pending) : 0;
  for (std::size_t g = 0; g < ready; ++g) carry_out(*block, groups[g]);
  groups.erase(groups.begin(), groups.begin() + static_cast<std::ptrdiff_t>(ready));
}

void run_grid(const char* kernel, const Shape& shape, const std::function<void()>& body) {
  const dim3 grid = shape.grid, threads = shape.block;
  const std::size_t count = std::size_t{threads.x} * threads.y * threads.z;
  if (count == 0 || count > 1024 || std::size_t{grid.x} * grid.y * grid.z == 0 || grid.y > 65535 || grid.z > 65535)
    throw std::runtime_error(std::string(kernel) + ": a grid or block that no GPU takes");
  std::optional<OpenMemory> open;
  if (!shape.after_launches) open.emplace();
  thread_local Stacks stacks;
  Random random{seed};
  std::vector<int> order(count);
  for (std::size_t i = 0; i < count; ++i) order[i] = static_cast<int>(i);
  for (unsigned z = 0; z < grid.z; ++z)
    for (unsigned y = 0; y < grid.y; ++y)
      for (unsigned x = 0; x < grid.x; ++x) {
        Block own;
        Block::Line junk;
        junk.bytes.fill(kJunk);
        own.shared.assign((shape.shared_bytes + 127) / 128, junk);
        own.written.assign(own.shared.size() * (sizeof(Block::Line) / kUnitBytes), 0);
        own.warps.resize((count + kLanes - 1) / kLanes);
        own.group_products.resize((own.warps.size() + 3) / 4);
        own.fibers = std::vector<Fiber>(count);
        block = &own;
        for (std::size_t i = 0; i < count; ++i) {
          Fiber& one = own.fibers[i];
          const auto t = static_cast<unsigned>(i);
          one.position = {{t % threads.x, t / threads.x % threads.y, t / (threads.x * threads.y)}, {x, y, z}, threads, grid};
          one.index = static_cast<int>(i);
          start(one, body, stacks);
        }
        run_block(kernel, random, order, open);
        if (!own.failure) check_products(own);
        if (!own.failure && shape.after_launches && own.at_launches != static_cast<int>(count))
          throw std::runtime_error(std::string(kernel) + ": threads that did not wait for the launches before");
        const std::exception_ptr failure = own.failure;
        own.fibers.clear();  // unwinds those that still wait
        block = nullptr, fiber = nullptr;
        if (failure) std::rethrow_exception(failure);
      }
}

}  // namespace crossover::cuda::emulated

void __syncwarp(unsigned mask) {
  int nothing = 0;
  ::crossover::cuda::emulated::collective(mask, &nothing, [](void* const*, unsigned) {});
}

unsigned __ballot_sync(unsigned mask, int predicate) {
  struct Lane { bool predicate; unsigned votes; } lane{predicate != 0, 0};
  ::crossover::cuda::emulated::collective(mask, &lane, [](void* const* lanes, unsigned members) {
    unsigned votes = 0;
    for (int i = 0; i < 32; ++i)
      if ((members >> i & 1) && static_cast<Lane*>(lanes[i])->predicate) votes |= 1u << i;
    for (int i = 0; i < 32; ++i)
      if (members >> i & 1) static_cast<Lane*>(lanes[i])->votes = votes;
  });
  return lane.votes;
}

unsigned __match_any_sync(unsigned mask, int value) {
  struct Lane { int value; unsigned same; } lane{value, 0};
  ::crossover::cuda::emulated::collective(mask, &lane, [](void* const* lanes, unsigned members) {
    for (int i = 0; i < 32; ++i)
      for (int j = 0; j < 32; ++j)
        if ((members >> i & 1) && (members >> j & 1) && static_cast<Lane*>(lanes[i])->value == static_cast<Lane*>(lanes[j])->value)
          static_cast<Lane*>(lanes[i])->same |= 1u << j;
  });
  return lane.same;
}

namespace {

template <bool kLargest>
void reduce(void* const* lanes, unsigned members) {
  unsigned best = kLargest ? 0 : ~0u;
  for (int i = 0; i < 32; ++i)
    if (members >> i & 1) {
      const unsigned value = *static_cast<unsigned*>(lanes[i]);
      best = kLargest ? std::max(best, value) : std::min(best, value);
    }
  for (int i = 0; i < 32; ++i)
    if (members >> i & 1) *static_cast<unsigned*>(lanes[i]) = best;
}

}  // namespace

unsigned __reduce_max_sync(unsigned mask, unsigned value) {
  ::crossover::cuda::emulated::collective(mask, &value, reduce<true>);
  return value;
}
unsigned __reduce_min_sync(unsigned mask, unsigned value) {
  ::crossover::cuda::emulated::collective(mask, &value, reduce<false>);
  return value;
}

unsigned __byte_perm(unsigned a, unsigned b, unsigned selector) {
  const std::uint64_t bytes = static_cast<std::uint64_t>(b) << 32 | a;
  unsigned result = 0;
  for (int i = 0; i < 4; ++i) {
    const unsigned pick = selector >> 4 * i & 0xf;
    const auto byte = static_cast<std::uint8_t>(bytes >> 8 * (pick & 7));
    result |= (pick & 8 ? (byte & 0x80 ? 0xffu : 0u) : byte) << 8 * i;
  }
  return result;
}

namespace crossover::cuda {

float to_float(Bf16 x) { return __uint_as_float(static_cast<unsigned>(x.bits) << 16); }
float to_float(Half x) { return f16_to_f32(x.bits); }
Bf16 to_bf16(float x) { return {f32_to_bf16(x)}; }
Half to_half(float x) { return {f32_to_f16(x)}; }
unsigned pack_bf16(float low, float high) { return to_bf16(low).bits | static_cast<unsigned>(to_bf16(high).bits) << 16; }

// Rounds twice where a sum does not fit a float; device code here multiplies and adds codes, which do.
unsigned fma_bf16_pairs(unsigned a, unsigned b, unsigned c) {
  const auto half_of = [](unsigned pair, int high) { return to_float(Bf16{static_cast<std::uint16_t>(high ? pair >> 16 : pair)}); };
  return pack_bf16(std::fma(half_of(a, 0), half_of(b, 0), half_of(c, 0)), std::fma(half_of(a, 1), half_of(b, 1), half_of(c, 1)));
}

unsigned pack_half(float low, float high) { return to_half(low).bits | static_cast<unsigned>(to_half(high).bits) << 16; }

// In double the sum of an exact product and a half is exact but for sums that span more than 53 bits, far below a half's rounding.
unsigned fma_halves(unsigned a, unsigned b, unsigned c) {
  const auto value = [](unsigned pair, int high) { return static_cast<double>(to_float(Half{static_cast<std::uint16_t>(pair >> 16 * high)})); };
  const auto sum = [&](int high) { return static_cast<float>(value(a, high) * value(b, high) + value(c, high)); };
  return pack_half(sum(0), sum(1));
}

namespace {

template <class T>
void mma_of(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  struct Lane { float* d; const unsigned *a, *b; } mine{d, a, b};
  emulated::collective(kAllLanes, &mine, [](void* const* lanes, unsigned) {
    const auto lane = [&](int i) -> const Lane& { return *static_cast<const Lane*>(lanes[i]); };
    const auto half_of = [](unsigned pair, int high) { return to_float(T{static_cast<std::uint16_t>(high ? pair >> 16 : pair)}); };
    float a16[16][16], b16[16][8];
    for (int l = 0; l < 32; ++l)
      for (int i = 0; i < 4; ++i)
        for (int h = 0; h < 2; ++h) {
          a16[l / 4 + i % 2 * 8][l % 4 * 2 + i / 2 * 8 + h] = half_of(lane(l).a[i], h);
          if (i < 2) b16[l % 4 * 2 + i * 8 + h][l / 4] = half_of(lane(l).b[i], h);
        }
    float sums[16][8] = {};
    for (int row = 0; row < 16; ++row)
      for (int k = 0; k < 16; ++k)
        for (int column = 0; column < 8; ++column) sums[row][column] += a16[row][k] * b16[k][column];
    for (int l = 0; l < 32; ++l)
      for (int i = 0; i < 4; ++i) lane(l).d[i] += sums[l / 4 + i / 2 * 8][l % 4 * 2 + i % 2];
  });
}

}  // namespace

void mma_bf16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) { mma_of<Bf16>(d, a, b); }
void mma_half(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) { mma_of<Half>(d, a, b); }

unsigned transpose_matrix(unsigned pair) {
  struct Lane { unsigned pair, result; } mine{pair, 0};
  emulated::collective(kAllLanes, &mine, [](void* const* lanes, unsigned) {
    const auto value = [&](int row, int column) {
      return static_cast<const Lane*>(lanes[row * 4 + column / 2])->pair >> column % 2 * 16 & 0xffffu;
    };
    for (int l = 0; l < 32; ++l) {
      const int row = l / 4, column = l % 4 * 2;
      static_cast<Lane*>(lanes[l])->result = value(column, row) | value(column + 1, row) << 16;
    }
  });
  return mine.result;
}

namespace {

struct MatrixLane { unsigned* r; const void* row; bool transposed; };

void load_matrices_of(unsigned (&r)[4], const void* shared_row, bool transposed) {
  if (reinterpret_cast<std::uintptr_t>(shared_row) % 16 != 0) throw std::runtime_error("ldmatrix: a row that is not 16-byte aligned");
  MatrixLane mine{r, shared_row, transposed};
  emulated::collective(kAllLanes, &mine, [](void* const* lanes, unsigned) {
    const auto lane = [&](int i) -> const MatrixLane& { return *static_cast<const MatrixLane*>(lanes[i]); };
    for (int l = 0; l < 32; ++l)
      for (int m = 0; m < 4; ++m) {
        std::uint16_t pair[2];
        for (int h = 0; h < 2; ++h) {
          const int row = lane(l).transposed ? l % 4 * 2 + h : l / 4, column = lane(l).transposed ? l / 4 : l % 4 * 2 + h;
          std::memcpy(&pair[h], static_cast<const std::uint16_t*>(lane(m * 8 + row).row) + column, 2);
        }
        lane(l).r[m] = pair[0] | static_cast<unsigned>(pair[1]) << 16;
      }
  });
}

}  // namespace

void load_matrices(unsigned (&r)[4], const void* shared_row) { load_matrices_of(r, shared_row, false); }
void load_matrices_transposed(unsigned (&r)[4], const void* shared_row) { load_matrices_of(r, shared_row, true); }

}  // namespace crossover::cuda
