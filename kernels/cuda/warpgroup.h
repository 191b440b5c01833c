// What Hopper has beyond device.h: products of a warpgroup (four warps, wgmma) that run beside its threads and read shared memory by descriptors,
// barriers in shared memory (mbarrier), registers that warps give to others. For .cu files; the emulation is emulator/warpgroup.h. Code for
// other architectures must not use it: what it is used in is compiled where CROSSOVER_WARPGROUPS is defined.
#pragma once

#include <type_traits>

#include "kernels/cuda/device.h"

#if defined(CROSSOVER_CUDA_EMULATED) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define CROSSOVER_WARPGROUPS 1
#endif
#ifdef CROSSOVER_CUDA_EMULATED
#include "kernels/cuda/emulator/warpgroup.h"
#endif

namespace crossover::cuda {

inline constexpr int kWarpgroup = 4 * kWarp;

// A matrix of 16-bit values in shared memory whose rows of 64 values (128 bytes) stand in atoms of eight: 1024 bytes, at a multiple of 1024,
// piece p (16 bytes) of row r at place p ^ (r % 8) of the row. Wider matrices are columns of such panels.
inline constexpr int kAtomBytes = 1024, kPanelRowBytes = 128;
__device__ __forceinline__ int panel_at(int row, int piece) { return row * kPanelRowBytes + (piece ^ (row & 7)) * 16; }

// The descriptor of such a matrix (PTX ISA, "matrix descriptor" of wgmma): address, leading and stride offsets in units of 16 bytes from bits 0, 16 and
// 32, and 1 from bit 62 for swizzles of 128 bytes. Atoms follow each other by 1024 bytes: along M or N where rows are rows of A or columns of B
// (K-major), whose leading offset says nothing; along K where rows are values of one k (MN-major), whose panels lie leading_bytes apart.
// Where a step along K-major rows begins inside an atom, the address moves by its 32 bytes: the swizzle is of addresses.
__device__ __forceinline__ std::uint64_t matrix_descriptor(std::uint32_t shared_address, int leading_bytes = 16) {
  return std::uint64_t{1} << 62 | static_cast<std::uint64_t>(kAtomBytes >> 4) << 32 | static_cast<std::uint64_t>(leading_bytes >> 4) << 16 | shared_address >> 4;
}
__device__ __forceinline__ std::uint64_t descriptor_step(int bytes) { return static_cast<std::uint64_t>(bytes >> 4); }  // to add

#ifdef CROSSOVER_CUDA_EMULATED

inline std::uint32_t shared_address(const void* shared) { return emulated::shared_address(shared); }
template <class E, bool kAdds>
void multiply_shared(float (&d)[40], std::uint64_t a, std::uint64_t b) {
  emulated::begin_product({80, std::is_same_v<E, Half>, kAdds, false, false, false, a, b}, d, nullptr);
}
template <class E>
void multiply_registers(float (&d)[128], const unsigned (&a)[4], std::uint64_t b) {
  emulated::begin_product({256, std::is_same_v<E, Half>, true, true, false, true, 0, b}, d, a);
}
inline void multiply_by_rows(float (&d)[16][4], const unsigned (&a)[4], std::uint64_t b) {
  emulated::begin_product({128, false, true, true, false, false, 0, b}, d[0], a);
}
inline void fence_registers() { emulated::fence_registers(); }
inline void commit_products() { emulated::commit_products(); }
template <int kPending>
void wait_products() { emulated::wait_products(kPending); }
template <class T, std::size_t kCount>
void settle(T (&)[kCount]) {}
inline void fence_proxy() { emulated::fence_proxy(); }
inline void barrier_init(std::uint64_t* barrier, int arrivals) { emulated::init_barrier(barrier, arrivals); }
inline void barrier_arrive(std::uint64_t* barrier) { emulated::arrive_at(barrier); }
inline void barrier_arrive_after_copies(std::uint64_t* barrier) { emulated::arrive_after_copies(barrier); }
inline void barrier_wait(std::uint64_t* barrier, int parity) { emulated::wait_for_phase(barrier, parity); }
template <int kRegisters>
void give_registers() {}
template <int kRegisters>
void take_registers() {}

#else

__device__ __forceinline__ std::uint32_t shared_address(const void* shared) { return static_cast<std::uint32_t>(__cvta_generic_to_shared(shared)); }

// Operands of the instructions below: the registers of d, by number and as constraints.
#define CROSSOVER_D40 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
  "%32, %33, %34, %35, %36, %37, %38, %39"
#define CROSSOVER_D64 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define CROSSOVER_D128 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, " \
  "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, " \
  "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, " \
  "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, " \
  "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define CROSSOVER_EIGHT(d, i) \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), "+f"(d[i + 7])
#define CROSSOVER_FORTY(d, i) CROSSOVER_EIGHT(d, i), CROSSOVER_EIGHT(d, i + 8), CROSSOVER_EIGHT(d, i + 16), CROSSOVER_EIGHT(d, i + 24), CROSSOVER_EIGHT(d, i + 32)

// d [64, 80] = a [64, 16] b [80, 16]^T, both K-major in shared memory, + d where kAdds. Warp w of the group has rows 16 w ..; of them lane l's
// d[4i .. 4i + 3] are rows l / 4 (two) and l / 4 + 8 (two), columns 8i + 2 (l % 4) and the next: m16n8k16's, one beside the other.
#define CROSSOVER_MULTIPLY_SHARED(type)                                                                                                    \
  asm volatile("wgmma.mma_async.sync.aligned.m64n80k16.f32." type "." type " {" CROSSOVER_D40 "}, %40, %41, %42, 1, 1, 0, 0;" \
               : CROSSOVER_FORTY(d, 0) : "l"(a), "l"(b), "n"(static_cast<int>(kAdds)))
template <class E, bool kAdds>
__device__ __forceinline__ void multiply_shared(float (&d)[40], std::uint64_t a, std::uint64_t b) {
  if constexpr (std::is_same_v<E, Half>) CROSSOVER_MULTIPLY_SHARED("f16");
  else CROSSOVER_MULTIPLY_SHARED("bf16");
}

// d [64, 256] += a [64, 16] b [16, 256]: a in registers, a warp's 16 rows as m16n8k16 has them, b MN-major in shared memory.
#define CROSSOVER_MULTIPLY_REGISTERS(type)                                                                                                 \
  asm volatile("wgmma.mma_async.sync.aligned.m64n256k16.f32." type "." type " {" CROSSOVER_D128 "}, {%128, %129, %130, %131}, %132, 1, 1, 1, 1;" \
               : CROSSOVER_FORTY(d, 0), CROSSOVER_FORTY(d, 40), CROSSOVER_FORTY(d, 80), CROSSOVER_EIGHT(d, 120)                       \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b))
template <class E>
__device__ __forceinline__ void multiply_registers(float (&d)[128], const unsigned (&a)[4], std::uint64_t b) {
  if constexpr (std::is_same_v<E, Half>) CROSSOVER_MULTIPLY_REGISTERS("f16");
  else CROSSOVER_MULTIPLY_REGISTERS("bf16");
}

// d [64, 128] += a [64, 16] b [128, 16]^T in bf16: a in registers as above, b K-major in shared memory. d[i] is column tile i as m16n8k16 has it.
#define CROSSOVER_TWO_TILES(d, i) \
  "+f"(d[i][0]), "+f"(d[i][1]), "+f"(d[i][2]), "+f"(d[i][3]), "+f"(d[i + 1][0]), "+f"(d[i + 1][1]), "+f"(d[i + 1][2]), "+f"(d[i + 1][3])
__device__ __forceinline__ void multiply_by_rows(float (&d)[16][4], const unsigned (&a)[4], std::uint64_t b) {
  asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" CROSSOVER_D64 "}, {%64, %65, %66, %67}, %68, 1, 1, 1, 0;"
               : CROSSOVER_TWO_TILES(d, 0), CROSSOVER_TWO_TILES(d, 2), CROSSOVER_TWO_TILES(d, 4), CROSSOVER_TWO_TILES(d, 6), CROSSOVER_TWO_TILES(d, 8),
                 CROSSOVER_TWO_TILES(d, 10), CROSSOVER_TWO_TILES(d, 12), CROSSOVER_TWO_TILES(d, 14)
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

// Before the first product after registers that it takes were free to change, which they are once waited for.
__device__ __forceinline__ void fence_registers() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void commit_products() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// Until at most kPending of the newest groups are under way; then settle(d) those sums that are read next, so that no use of them moves ahead of it, and
// settle(a) the registers of a that are changed next, so that they hold nothing else until then.
template <int kPending>
__device__ __forceinline__ void wait_products() { asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory"); }
template <std::size_t kCount>
__device__ __forceinline__ void settle(float (&d)[kCount]) {
#pragma unroll
  for (std::size_t i = 0; i < kCount; ++i) asm volatile("" : "+f"(d[i])::"memory");
}
template <std::size_t kCount>
__device__ __forceinline__ void settle(unsigned (&a)[kCount]) {
#pragma unroll
  for (std::size_t i = 0; i < kCount; ++i) asm volatile("" : "+r"(a[i])::"memory");
}

// Between what threads (and cp.async) wrote to shared memory and products that read it: by the one who wrote, before the others know, or by those who
// multiply, once they know. The emulation takes the second for copies.
__device__ __forceinline__ void fence_proxy() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// A barrier that so many arrivals complete, again and again. Phases are counted from 0; wait returns once the last phase of that parity is complete:
// 0 waits for the first, 1 returns at once until then. One thread calls init, then the block meets at __syncthreads.
__device__ __forceinline__ void barrier_init(std::uint64_t* barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals) : "memory");
}
__device__ __forceinline__ void barrier_arrive(std::uint64_t* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
}
// When all that this thread has asked copy_async_16 for has arrived.
__device__ __forceinline__ void barrier_arrive_after_copies(std::uint64_t* barrier) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(shared_address(barrier)) : "memory");
}
__device__ __forceinline__ void barrier_wait(std::uint64_t* barrier, int parity) {
  const std::uint32_t at = shared_address(barrier);
  unsigned complete;
  do {
    asm volatile("{\n\t.reg .pred complete;\n\tmbarrier.try_wait.parity.shared::cta.b64 complete, [%1], %2;\n\tselp.u32 %0, 1, 0, complete;\n\t}"
                 : "=r"(complete) : "r"(at), "r"(parity) : "memory");
  } while (!complete);
}

// All threads of a warpgroup: registers of each from now on. Given and taken together they must be those that the block was launched with.
template <int kRegisters>
__device__ __forceinline__ void give_registers() { asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters)); }
template <int kRegisters>
__device__ __forceinline__ void take_registers() { asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters)); }

#endif

}  // namespace crossover::cuda
