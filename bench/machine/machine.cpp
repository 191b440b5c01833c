#include "bench/machine/machine.h"

#include <unistd.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <vector>

#include "kernels/cpu/probe.h"
#include "kernels/thread_pool.h"
#include "kernels/trace.h"

namespace crossover {

namespace {

double time_s(const std::function<void()>& work) {
  const double start_s = monotonic_s();
  work();
  return monotonic_s() - start_s;
}

double best_s(int repeats, const std::function<void()>& work) {
  double best = time_s(work);
  for (int i = 1; i < repeats; ++i) best = std::min(best, time_s(work));
  return best;
}

// The sum keeps the reads alive; sixteen of them in flight are more than one core needs to fill its memory queue.
std::uint64_t sum_words(const std::uint64_t* words, std::int64_t count) {
  std::uint64_t lanes[16] = {};
  std::int64_t i = 0;
  for (; i + 16 <= count; i += 16)
    for (int lane = 0; lane < 16; ++lane) lanes[lane] += words[i + lane];
  std::uint64_t sum = 0;
  for (; i < count; ++i) sum += words[i];
  for (const std::uint64_t lane : lanes) sum += lane;
  return sum;
}

std::uint64_t read_buffer_bytes() {
  const std::uint64_t page = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  const std::uint64_t available = static_cast<std::uint64_t>(std::max(0L, sysconf(_SC_AVPHYS_PAGES))) * page;
  const std::uint64_t cache = static_cast<std::uint64_t>(std::max(0L, sysconf(_SC_LEVEL3_CACHE_SIZE)));
  const std::uint64_t wanted = std::clamp<std::uint64_t>(4 * cache, 256u << 20, 1024u << 20);
  return std::max<std::uint64_t>(std::min(wanted, available / 4), 16u << 20);
}

double read_bytes_per_s(const std::vector<std::uint64_t>& words, int threads, int repeats) {
  ThreadPool pool(threads);
  const std::int64_t count = static_cast<std::int64_t>(words.size());
  const std::int64_t grain = (count + threads - 1) / threads;
  std::vector<std::uint64_t> sums(static_cast<std::size_t>(threads));
  const double pass_s = best_s(repeats, [&] {
    pool.parallel_for(count, grain, [&](std::int64_t begin, std::int64_t end) {
      sums[static_cast<std::size_t>(begin / grain)] = sum_words(words.data() + begin, end - begin);
    });
  });
  volatile std::uint64_t seen = sums.front();
  static_cast<void>(seen);
  return static_cast<double>(count) * sizeof(std::uint64_t) / pass_s;
}

// Steps of the probe that take about `target_s` on one core.
std::int64_t steps_for(const cpu::Probe& probe, double target_s) {
  volatile float kept = probe.run(100'000);  // wakes the clock and the wide units
  const std::int64_t trial = 1'000'000;
  const double trial_s = best_s(3, [&] { kept = probe.run(trial); });
  return std::max<std::int64_t>(1, static_cast<std::int64_t>(target_s / trial_s * static_cast<double>(trial)));
}

double operations_per_s(const cpu::Probe& probe, int threads, Effort effort) {
  if (!probe.run) return 0;
  const std::int64_t steps = steps_for(probe, effort == Effort::kQuick ? 0.01 : 0.05);
  ThreadPool pool(threads);
  std::vector<float> kept(static_cast<std::size_t>(threads));
  const double pass_s = best_s(5, [&] {
    pool.parallel_for(threads, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) kept[static_cast<std::size_t>(i)] = probe.run(steps);
    });
  });
  volatile float seen = kept.front();
  static_cast<void>(seen);
  return static_cast<double>(steps) * static_cast<double>(probe.operations_per_step) * threads / pass_s;
}

}  // namespace

Ceilings measure_ceilings(int threads, Effort effort) {
  Ceilings found;
  const cpu::Isa isa = cpu::best_isa();
  const cpu::Probes& probes = cpu::probes(isa);
  found.isa = cpu::name(isa);
  found.threads = std::max(1, threads);
  const std::vector<std::uint64_t> words(read_buffer_bytes() / sizeof(std::uint64_t), 1);
  found.read_buffer_bytes = words.size() * sizeof(std::uint64_t);
  found.fma_all_flop_per_s = operations_per_s(probes.f32, found.threads, effort);
  found.int8_all_op_per_s = operations_per_s(probes.int8, found.threads, effort);
  found.bf16_all_flop_per_s = operations_per_s(probes.bf16, found.threads, effort);
  found.read_all_bytes_per_s = read_bytes_per_s(words, found.threads, effort == Effort::kQuick ? 3 : 5);
  if (effort == Effort::kQuick) return found;
  found.fma_1_flop_per_s = operations_per_s(probes.f32, 1, effort);
  found.int8_1_op_per_s = operations_per_s(probes.int8, 1, effort);
  found.bf16_1_flop_per_s = operations_per_s(probes.bf16, 1, effort);
  found.read_1_bytes_per_s = read_bytes_per_s(words, 1, 5);
  return found;
}

Ceilings highest(const Ceilings& a, const Ceilings& b) {
  Ceilings best = a;
  for (double Ceilings::*rate : {&Ceilings::read_1_bytes_per_s, &Ceilings::read_all_bytes_per_s, &Ceilings::fma_1_flop_per_s,
                                 &Ceilings::fma_all_flop_per_s, &Ceilings::int8_1_op_per_s, &Ceilings::int8_all_op_per_s,
                                 &Ceilings::bf16_1_flop_per_s, &Ceilings::bf16_all_flop_per_s})
    best.*rate = std::max(a.*rate, b.*rate);
  return best;
}

nlohmann::ordered_json ceilings_to_json(const Ceilings& ceilings) {
  nlohmann::ordered_json out{{"isa", ceilings.isa}, {"threads", ceilings.threads}, {"read_buffer_bytes", ceilings.read_buffer_bytes}};
  const auto put = [&](const char* name, double rate) {
    if (rate > 0) out[name] = rate;
  };
  put("read_1_bytes_per_s", ceilings.read_1_bytes_per_s), put("read_all_bytes_per_s", ceilings.read_all_bytes_per_s);
  put("fma_f32_1_flop_per_s", ceilings.fma_1_flop_per_s), put("fma_f32_all_flop_per_s", ceilings.fma_all_flop_per_s);
  put("dot_int8_1_op_per_s", ceilings.int8_1_op_per_s), put("dot_int8_all_op_per_s", ceilings.int8_all_op_per_s);
  put("dot_bf16_1_flop_per_s", ceilings.bf16_1_flop_per_s), put("dot_bf16_all_flop_per_s", ceilings.bf16_all_flop_per_s);
  return out;
}

Clock measure_clock() {
  constexpr int kReadings = 200'000;
  Clock found;
  found.resolution_s = 1;
  const double start_s = monotonic_s();
  double last_s = start_s;
  for (int i = 0; i < kReadings; ++i) {
    const double now_s = monotonic_s();
    if (now_s > last_s) found.resolution_s = std::min(found.resolution_s, now_s - last_s);
    last_s = now_s;
  }
  found.call_s = (last_s - start_s) / kReadings;
  return found;
}

Steadiness measure_steadiness() {
  constexpr int kChunks = 100;
  const cpu::Probe& probe = cpu::probes(cpu::best_isa()).f32;
  const std::int64_t steps = steps_for(probe, 0.005);
  volatile float kept = 0;
  std::vector<double> times_s;
  for (int i = 0; i < kChunks; ++i) times_s.push_back(time_s([&] { kept = probe.run(steps); }));
  std::sort(times_s.begin(), times_s.end());
  const double median_s = times_s[kChunks / 2];
  return {kChunks, 100 * (times_s[kChunks * 9 / 10] - median_s) / median_s,
          100 * (times_s.back() - median_s) / median_s};
}

double measure_conversion(const cpu::Micro& micro, DType from, DType to) {
  constexpr std::int64_t kValues = 1 << 17;  // some hundred KiB: in the second-level cache, as the rows of a load are
  constexpr double kTarget_s = 0.25;
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0.0f, 0.02f);  // as large as the weights of a trained matrix
  std::vector<float> values(kValues);
  for (float& value : values) value = normal(random);
  std::vector<std::byte> stored(static_cast<std::size_t>(row_bytes(from, kValues))), out(static_cast<std::size_t>(row_bytes(to, kValues)));
  micro.formats->quantize[static_cast<std::size_t>(from)](values.data(), stored.data(), kValues);
  const auto once = [&] { micro.formats->convert(from, stored.data(), to, out.data(), kValues); };
  once();  // wakes the clock and the wide units
  const double trial_s = time_s(once);
  return static_cast<double>(kValues) / best_s(std::clamp(static_cast<int>(kTarget_s / trial_s), 1, 2000), once);
}

}  // namespace crossover
