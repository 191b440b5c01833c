// How the rows of tensors are dealt to threads while they are quantized. All schedules give the same bytes; they differ in how many
// threads they start and in how long threads stand idle. The three that start threads are kept to be measured against: they are how
// quantizers of the field have worked (llama.cpp and ik_llama.cpp start threads for every expert; ik_llama.cpp pull request 1322 gives
// whole experts to threads; llama.cpp pull request 27770 queues chunks of all experts).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "kernels/thread_pool.h"

namespace crossover {

enum class Schedule : std::uint8_t {
  kSerial,           // standing threads, of which one quantizes at a time
  kExpertSpawn,      // for every expert: min(threads, chunks) - 1 threads are started and share its chunks with the caller
  kExpertPerThread,  // for every tensor: `threads` threads are started and take whole experts; only where takes_whole_experts()
  kChunkQueue,       // for every tensor: min(threads, chunks) - 1 threads are started and share the chunks of all experts
  kPool,             // standing threads take chunks of all tensors
};
Schedule parse_schedule(std::string_view name);  // a value of CROSSOVER_QUANT_SCHEDULE
const char* name(Schedule schedule);

// A chunk is the least number of whole rows that hold this many values.
inline constexpr std::int64_t kSpawnChunkValues = 32 * 512;  // of the schedules that start threads: as in the field
inline constexpr std::int64_t kPoolChunkValues = 256 * 1024; // small enough to balance, large enough to hide its bookkeeping
std::int64_t chunk_rows(Schedule schedule, std::int64_t columns);

// kExpertPerThread's two conditions, either of which is enough: every thread gets the same number of experts, or at least two on
// average, so that the last ones to finish cost little. Elsewhere, and with one thread, it works as kExpertSpawn.
bool takes_whole_experts(std::int64_t experts, int threads);
Schedule schedule_for(Schedule wanted, std::int64_t experts, int threads);

// Threads started for one tensor whose experts have this many chunks each.
std::int64_t launches(Schedule schedule, std::int64_t experts, std::int64_t chunks_per_expert, int threads);

// Chunks of one tensor: expert e has [first[e], first[e + 1]).
using ExpertChunks = std::span<const std::size_t>;

// body(chunk, worker) once for every chunk of one tensor under a schedule that starts threads; worker < threads, and a worker's calls
// never overlap. Chunks are taken in ascending order. Returns how many threads were started. The first exception of a body is
// rethrown when all threads have ended; chunks not begun by then are left out.
std::int64_t run_spawning(Schedule schedule, ExpertChunks chunks, int threads, const std::function<void(std::size_t chunk, std::size_t worker)>& body);

// The same over standing threads; chunks [0, count) are taken in ascending order.
void run_standing(ThreadPool& pool, std::size_t count, const std::function<void(std::size_t chunk, std::size_t worker)>& body);

}  // namespace crossover
