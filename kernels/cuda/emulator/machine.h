// What a test may say about the emulated machine.
#pragma once

namespace crossover::cuda::emulated {

void set_device_count(int count);  // 1 unless said; all share one memory
void set_compute_capability(int capability);  // 80 unless said; of devices opened from now on. 90 has the shared memory of a 9.0 too
std::int64_t pinned_bytes();         // of host memory, held
void hold_marks(bool hold);        // as if the stream stood still: no mark is reached (kernels have run all the same)
void refuse_graphs_after(int calls);  // of making, changing and starting graphs; the next ones are refused. -1: never

}  // namespace crossover::cuda::emulated
