#include "engine/rank.h"

#include <algorithm>
#include <utility>

#include "engine/load/load_knobs.h"

namespace crossover {
namespace {

int rank_threads(const EngineOptions& options, int rank) {
  const int each = options.threads / options.ranks, extra = options.threads % options.ranks;
  return std::max(1, each + (rank < extra ? 1 : 0));
}

// Cpus of every worker of the process, rank by rank; empty: the system places them. Never two workers on one cpu.
std::vector<int> worker_cpus(const EngineOptions& options, std::size_t workers) {
  const std::string& wanted = options.knobs.get("CROSSOVER_PIN_THREADS");
  std::vector<int> cpus = allowed_cpus();
  // With cpus to spare the lowest ones may be two halves of one core: only who chose them can know.
  if (wanted == "off" || cpus.size() < workers || (wanted == "auto" && cpus.size() > workers)) return {};
  cpus.resize(workers);
  return cpus;
}

std::vector<ThreadPool::Options> pool_options(const EngineOptions& options) {
  std::size_t workers = 0, first = 0;
  for (int r = 0; r < options.ranks; ++r) workers += static_cast<std::size_t>(rank_threads(options, r));
  const std::vector<int> cpus = worker_cpus(options, workers);
  std::vector<ThreadPool::Options> pools(static_cast<std::size_t>(options.ranks));
  for (int r = 0; r < options.ranks; ++r) {
    ThreadPool::Options& pool = pools[static_cast<std::size_t>(r)];
    const auto own = static_cast<std::size_t>(rank_threads(options, r));
    pool.cores_are_shared = workers > allowed_cpus().size();
    if (!cpus.empty()) pool.cpus.assign(cpus.begin() + static_cast<std::ptrdiff_t>(first), cpus.begin() + static_cast<std::ptrdiff_t>(first + own));
    first += own;
  }
  return pools;
}

std::unique_ptr<cuda::Device> device_of(const EngineOptions& options, int rank) {
  if (options.backend != "cuda") return nullptr;
  auto device = std::make_unique<cuda::Device>(gpu_of(rank));
  if (options.knobs.get("CROSSOVER_CUDA_PRODUCTS") == "warpgroup") device->use_warpgroups();
  if (options.knobs.get("CROSSOVER_CUDA_OVERLAP") == "on") device->overlap_launches();
  return device;
}

}  // namespace

int gpu_of(int rank) { return rank % std::max(1, cuda::device_count()); }

Rank::Rank(const Ops& ops, int threads, ThreadPool::Options pool_options, const cpu::Micro* micro, std::unique_ptr<cuda::Device> gpu, const Knobs& knobs)
    : device(std::move(gpu)), pinned(!pool_options.cpus.empty()), pool(threads, std::move(pool_options)), workspace(memory_of(ops)), traces(static_cast<std::size_t>(threads)),
      weights(ops, pin_of(knobs)), clock(device ? cuda::make_clock(*device) : nullptr), ctx{ops, pool, workspace, counters, &traces[0], micro, device.get()} {
  for (Trace& trace : traces) trace.delay_once(delay_of(knobs));
  if (!device) return;
  graphs.emplace(*device, knobs);
  workspace.before_release([this] { device->hand_over(); });
}

void Rank::choose_gemm_for(const RankPlan& plan, const EngineOptions& options) {
  if (!device || !multiplies_bf16(plan)) return;
  const Range range(ctx.trace, "gemm_library");
  gemm = choose_gemm(options.knobs, options.cublaslt);
  ctx.cublaslt = gemm.library.get();
}

Ranks make_ranks(const EngineOptions& options, const Ops& ops) {
  const cpu::Micro* micro = options.backend == "reference" ? nullptr : load_micro(options.knobs);
  const std::vector<ThreadPool::Options> pools = pool_options(options);
  Ranks ranks;
  for (int r = 0; r < options.ranks; ++r)
    ranks.push_back(std::make_unique<Rank>(ops, rank_threads(options, r), pools[static_cast<std::size_t>(r)], micro, device_of(options, r), options.knobs));
  return ranks;
}

}  // namespace crossover
