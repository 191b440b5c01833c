#include "kernels/cuda/emulator/warpgroup.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>

#include "kernels/cuda/device.h"
#include "kernels/cuda/emulator/fibers.h"

namespace crossover::cuda::emulated {
namespace {

constexpr std::uint32_t kWindow = 0x480;  // where dynamic shared memory begins
constexpr int kWarpRows = 16, kDepth = 16, kGroupWarps = 4, kUnitValues = 8;

Warp& running_warp() { return running_block().warps[static_cast<std::size_t>(running_fiber().index / kLanes)]; }

struct Descriptor {
  std::uint32_t start, leading, stride;  // bytes
  int units;                             // of 16 bytes that a swizzled row has; 1: no swizzle
};

Descriptor decode(std::uint64_t bits) {
  const auto field = [&](int at, int count) { return static_cast<std::uint32_t>(bits >> at & ((std::uint64_t{1} << count) - 1)); };
  static constexpr int kUnits[] = {1, 8, 4, 2};  // swizzles: none, of 128, 64 and 32 bytes
  const Descriptor d{field(0, 14) << 4, field(16, 14) << 4, field(32, 14) << 4, kUnits[field(62, 2)]};
  if (field(14, 2) || field(30, 2) || field(46, 3) || field(52, 10)) throw std::runtime_error("a matrix descriptor with bits where there must be none");
  if (field(49, 3)) throw std::runtime_error("a matrix descriptor with a base offset, which is not emulated");
  const std::uint32_t pattern = static_cast<std::uint32_t>(d.units) * 128;  // eight rows, after which a swizzle repeats
  if (d.units > 1 && d.start % pattern >= 128) throw std::runtime_error("a matrix descriptor that begins inside the pattern of its swizzle");
  return d;
}

// Of the 16 bytes with element (row, k), in the window of shared memory.
std::uint32_t unit_address(const Descriptor& d, bool mn_major, int row, int k) {
  const auto major = static_cast<std::uint32_t>(mn_major ? row : k) / kUnitValues, minor = static_cast<std::uint32_t>(mn_major ? k : row);
  const auto units = static_cast<std::uint32_t>(d.units);
  std::uint32_t at = d.start + minor % 8 * units * 16;
  if (units == 1) at += mn_major ? major * d.stride + minor / 8 * d.leading : minor / 8 * d.stride + major * d.leading;
  else if (mn_major) at += major % units * 16 + major / units * d.leading + minor / 8 * d.stride;
  else at += major * 16 + minor / 8 * d.stride;
  return at ^ ((at >> 7 & (units - 1)) << 4);
}

std::byte* shared_at(std::uint32_t address) {
  const Block& block = running_block();
  if (address < kWindow || address - kWindow + kUnitBytes > block.shared.size() * sizeof(Block::Line))
    throw std::runtime_error("a matrix descriptor that leads out of the block's shared memory");
  return shared_memory() + (address - kWindow);
}

// rows x 16 of an operand. fenced_at: of the warp that reads.
std::vector<std::uint16_t> read_operand(std::uint64_t bits, bool mn_major, int first_row, int rows, std::uint64_t fenced_at) {
  const Descriptor d = decode(bits);
  const Block& block = running_block();
  std::vector<std::uint16_t> values(static_cast<std::size_t>(rows * kDepth));
  for (int i = 0; i < rows * kDepth / kUnitValues; ++i) {
    const int row = mn_major ? i / kDepth * kUnitValues : i / 2, k = mn_major ? i % kDepth : i % 2 * kUnitValues;
    const std::byte* const from = shared_at(unit_address(d, mn_major, first_row + row, k));
    const auto unit = static_cast<std::size_t>(from - shared_memory()) / kUnitBytes;
    if (unit < block.written.size() && block.written[unit] > fenced_at)
      throw std::runtime_error("wgmma reads what a copy wrote, without fence.proxy.async in between");
    std::uint16_t unit_values[kUnitValues];
    std::memcpy(unit_values, from, kUnitBytes);
    for (int j = 0; j < kUnitValues; ++j) values[static_cast<std::size_t>(mn_major ? (row + j) * kDepth + k : row * kDepth + k + j)] = unit_values[j];
  }
  return values;
}

int first_row_of_warp() { return running_fiber().index / kLanes % kGroupWarps * kWarpRows; }

struct Beginning {
  const GroupProduct* what;
  float* d;
  const unsigned* a;
  bool fenced;
  std::uint64_t fenced_at;
};

std::vector<std::uint16_t> read_registers(const unsigned* const (&lanes)[kLanes]) {
  std::vector<std::uint16_t> a(kWarpRows * kDepth);
  for (int l = 0; l < kLanes; ++l)
    for (int i = 0; i < 4; ++i)
      for (int h = 0; h < 2; ++h)
        a[static_cast<std::size_t>((l / 4 + i % 2 * 8) * kDepth + l % 4 * 2 + i / 2 * 8 + h)] = static_cast<std::uint16_t>(lanes[l][i] >> 16 * h);
  return a;
}

void note_of_group(const GroupProduct& what, Warp& warp) {
  auto& products = running_block().group_products[static_cast<std::size_t>(running_fiber().index / (kLanes * kGroupWarps))];
  if (warp.products == products.size()) products.push_back(what);
  else if (!(products[warp.products] == what)) throw std::runtime_error("warps of a warpgroup begin different products");
  ++warp.products;
}

// Registers of lane l hold rows l / 4 and l / 4 + 8 at columns 8i + 2 (l % 4) and the next: d[4i .. 4i + 3].
template <class Each>
void for_each_sum(int columns, Each each) {
  for (int l = 0; l < kLanes; ++l)
    for (int i = 0; i < columns / 2; ++i) each(l, i, static_cast<std::size_t>((l / 4 + i % 4 / 2 * 8) * columns + i / 4 * 8 + l % 4 * 2 + i % 2));
}

void begin(void* const* lanes, unsigned) {
  const auto lane = [&](int l) -> const Beginning& { return *static_cast<const Beginning*>(lanes[l]); };
  const GroupProduct& what = *lane(0).what;
  Warp& warp = running_warp();
  std::uint64_t fenced_at = lane(0).fenced_at;
  for (int l = 0; l < kLanes; ++l) {
    if (!(*lane(l).what == what)) throw std::runtime_error("lanes of a warp begin different products");
    if (!lane(l).fenced) throw std::runtime_error("wgmma without wgmma.fence after registers were free to change");
    fenced_at = std::min(fenced_at, lane(l).fenced_at);
  }
  note_of_group(what, warp);
  Product product{what, {}, {}, {}, read_operand(what.b, what.b_mn_major, 0, what.columns, fenced_at)};
  for (int l = 0; l < kLanes; ++l) product.d[l] = lane(l).d, product.a_registers[l] = lane(l).a;
  product.a = what.a_in_registers ? read_registers(product.a_registers) : read_operand(what.a, what.a_mn_major, first_row_of_warp(), kWarpRows, fenced_at);
  if (!warp.sums.contains(product.d[0])) {
    std::vector<float>& sums = warp.sums[product.d[0]];
    sums.resize(static_cast<std::size_t>(kWarpRows * what.columns));
    for_each_sum(what.columns, [&](int l, int i, std::size_t at) { sums[at] = product.d[l][i], product.d[l][i] = std::numeric_limits<float>::quiet_NaN(); });
  }
  warp.begun.push_back(std::move(product));
}

float value_of(std::uint16_t bits, bool halves) { return halves ? to_float(Half{bits}) : to_float(Bf16{bits}); }

void finish(const Product& product, std::vector<float>& sums) {
  const GroupProduct& what = product.what;
  constexpr std::uint64_t kFenced = ~std::uint64_t{0};  // it was when the product began
  if (read_operand(what.b, what.b_mn_major, 0, what.columns, kFenced) != product.b ||
      (!what.a_in_registers && read_operand(what.a, what.a_mn_major, first_row_of_warp(), kWarpRows, kFenced) != product.a))
    throw std::runtime_error("shared memory changed under a wgmma that reads it");
  if (what.a_in_registers && read_registers(product.a_registers) != product.a) throw std::runtime_error("registers changed under a wgmma that reads them");
  const auto columns = static_cast<std::size_t>(what.columns);
  std::vector<float> b(kDepth * columns), row(columns);
  for (std::size_t n = 0; n < columns; ++n)
    for (std::size_t k = 0; k < kDepth; ++k) b[k * columns + n] = value_of(product.b[n * kDepth + k], what.halves);
  for (std::size_t m = 0; m < kWarpRows; ++m) {
    std::fill(row.begin(), row.end(), 0.0f);
    for (std::size_t k = 0; k < kDepth; ++k) {
      const float a = value_of(product.a[m * kDepth + k], what.halves);
      for (std::size_t n = 0; n < columns; ++n) row[n] += a * b[k * columns + n];
    }
    for (std::size_t n = 0; n < columns; ++n) sums[m * columns + n] = row[n] + (what.adds ? sums[m * columns + n] : 0.0f);
  }
}

void finish_group(Warp& warp) {
  const std::vector<Product> group = std::move(warp.groups.front());
  warp.groups.pop_front();
  for (const Product& product : group) finish(product, warp.sums.at(product.d[0]));
  for (const Product& product : group) {
    const auto found = warp.sums.find(product.d[0]);
    const auto uses = [&](const Product& other) { return other.d[0] == product.d[0]; };
    const auto uses_any = [&](const std::vector<Product>& others) { return std::any_of(others.begin(), others.end(), uses); };
    if (found == warp.sums.end() || uses_any(warp.begun) || std::any_of(warp.groups.begin(), warp.groups.end(), uses_any)) continue;
    for_each_sum(product.what.columns, [&](int l, int i, std::size_t at) { product.d[l][i] = found->second[at]; });
    warp.sums.erase(found);
  }
}

Barrier& barrier_at(std::uint64_t* at) { return *reinterpret_cast<Barrier*>(at); }

}  // namespace

std::uint32_t shared_address(const void* at) { return kWindow + static_cast<std::uint32_t>(static_cast<const std::byte*>(at) - shared_memory()); }

std::uint16_t operand_bits(std::uint64_t descriptor, bool mn_major, int row, int k) {
  std::uint16_t bits;
  std::memcpy(&bits, shared_at(unit_address(decode(descriptor), mn_major, row, k)) + (mn_major ? row : k) % kUnitValues * 2, sizeof bits);
  return bits;
}

void begin_product(const GroupProduct& what, float* d, const unsigned* a) {
  const Fiber& fiber = running_fiber();
  Beginning mine{&what, d, a, fiber.fenced, fiber.fenced_at};
  collective(kAllLanes, &mine, begin);
}

void fence_registers() { running_fiber().fenced = true; }

void commit_products() {
  int nothing = 0;
  collective(kAllLanes, &nothing, [](void* const*, unsigned) {
    Warp& warp = running_warp();
    warp.groups.push_back(std::move(warp.begun));
    warp.begun.clear();
  });
}

void wait_products(int pending) {
  collective(kAllLanes, &pending, [](void* const* lanes, unsigned) {
    Warp& warp = running_warp();
    while (warp.groups.size() > static_cast<std::size_t>(*static_cast<const int*>(lanes[0]))) finish_group(warp);
  });
  running_fiber().fenced = false;
}

void fence_proxy() { running_fiber().fenced_at = running_block().clock; }

void check_products(const Block& block) {
  for (std::size_t i = 0; i < block.warps.size(); ++i) {
    const Warp& warp = block.warps[i];
    if (!warp.begun.empty() || !warp.groups.empty()) throw std::runtime_error("a block ends before its wgmma are waited for");
    if (warp.products != block.group_products[i / kGroupWarps].size()) throw std::runtime_error("a warp began fewer wgmma than its warpgroup");
  }
}

void init_barrier(std::uint64_t* at, int arrivals) {
  barrier_at(at) = {static_cast<std::uint16_t>(arrivals), static_cast<std::uint16_t>(arrivals), 0};
}

void arrive(Barrier& barrier) {
  if (barrier.pending == 0) throw std::runtime_error("an arrival at a barrier that expects none");
  if (--barrier.pending == 0) barrier.pending = barrier.expected, ++barrier.phase;
}

void arrive_at(std::uint64_t* at) { arrive(barrier_at(at)); }

void carry_out(Block& block, const std::vector<Copy>& copies) {
  ++block.clock;
  const auto shared = reinterpret_cast<std::uintptr_t>(block.shared.data());
  for (const Copy& copy : copies) {
    std::memcpy(copy.to, copy.from, kUnitBytes);
    const std::uintptr_t unit = (reinterpret_cast<std::uintptr_t>(copy.to) - shared) / kUnitBytes;  // beyond the end for a variable of the kernel
    if (unit < block.written.size()) block.written[unit] = block.clock;
  }
}

void arrive_after_copies(std::uint64_t* at) {
  Fiber& fiber = running_fiber();
  Fiber::Arrival arrival{{}, &barrier_at(at)};
  for (const auto& group : fiber.groups) arrival.copies.insert(arrival.copies.end(), group.begin(), group.end());
  arrival.copies.insert(arrival.copies.end(), fiber.queued.begin(), fiber.queued.end());
  fiber.groups.clear(), fiber.queued.clear();
  fiber.arrivals.push_back(std::move(arrival));
}

void finish_arrival(Block& block, Fiber& fiber) {
  const Fiber::Arrival arrival = std::move(fiber.arrivals.front());
  fiber.arrivals.pop_front();
  carry_out(block, arrival.copies);
  arrive(*arrival.barrier);
}

void wait_for_phase(std::uint64_t* at, int parity) {
  Fiber& fiber = running_fiber();
  fiber.barrier = &barrier_at(at), fiber.parity = parity;
  while (!fiber.barrier->passed(parity)) wait(Waiting::kPhase);
}

}  // namespace crossover::cuda::emulated
