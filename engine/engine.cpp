#include "engine/engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <stdexcept>

#include "engine/comm_choice.h"
#include "engine/decode_graphs.h"
#include "engine/forward.h"
#include "engine/gemm_choice.h"
#include "engine/load/load_knobs.h"
#include "engine/load/loader.h"
#include "engine/logits_room.h"
#include "engine/ranks.h"
#include "kernels/cuda/device_clock.h"
#include "kernels/cuda/runtime.h"

namespace crossover {
namespace {

constexpr std::size_t kSpansWithoutAllocation = 128 * 1024;  // of passes until clear_phases(): 100 tokens of 64 layers, 4 MB

const Ops& backend_ops(const std::string& backend) {
  if (backend == "cpu") return cpu_ops();
  if (backend == "reference") return reference_ops();
  if (backend == "cuda") return cuda_ops();
  throw std::invalid_argument(fmt::format("there is no backend '{}'; use cpu, cuda or reference", backend));
}

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

CommWishes comm_wishes(const EngineOptions& options) {
  return {options.backend, options.knobs.get("CROSSOVER_COMM"), options.ranks, options.backend == "cuda" ? cuda::device_count() : 0};
}

void check(const EngineOptions& options) {
  check_weight_layout(options.knobs, options.backend);
  (void)quantizes_on_device(options.knobs, options.backend);
  (void)wants_nccl(comm_wishes(options));
  check_gemm(options.knobs, options.backend);
  if (options.ranks < 1) throw std::invalid_argument(fmt::format("ranks must be at least 1, asked for {}", options.ranks));
  if (options.threads < 1) throw std::invalid_argument(fmt::format("threads must be at least 1, asked for {}", options.threads));
  if (options.chunk_tokens < 1) throw std::invalid_argument(fmt::format("chunk must be at least 1 token, asked for {}", options.chunk_tokens));
}

bool loads_in_turn(const EngineOptions& options) { return options.knobs.get("CROSSOVER_LOAD_ORDER") == "in-turn"; }

// Ranks that are as far as each other, served by the same readers.
bool reads_together(const EngineOptions& options) {
  return options.ranks > 1 && !loads_in_turn(options) && options.knobs.flag("CROSSOVER_READ_AHEAD");
}

StateOptions state_options(const EngineOptions& options) {
  const auto rotation = [&](const char* knob) { return parse_rotation(options.knobs.get(knob)).value(); };
  return {options.keys, options.values, options.capacity_tokens, rotation("CROSSOVER_K_ROTATION"), rotation("CROSSOVER_V_ROTATION")};
}

// Ranks go round the GPUs there are: several on one are virtual ranks.
std::unique_ptr<cuda::Device> device_of(const EngineOptions& options, int rank) {
  if (options.backend != "cuda") return nullptr;
  auto device = std::make_unique<cuda::Device>(rank % std::max(1, cuda::device_count()));
  if (options.knobs.get("CROSSOVER_CUDA_PRODUCTS") == "warpgroup") device->use_warpgroups();
  return device;
}

// One rank: its workers, memory and sequence. Touched by its own thread only while the group runs.
struct Rank {
  Rank(const Ops& ops, int threads, ThreadPool::Options pool_options, const cpu::Micro* micro, std::unique_ptr<cuda::Device> gpu, const Knobs& knobs)
      : device(std::move(gpu)), pool(threads, std::move(pool_options)), workspace(memory_of(ops)), traces(static_cast<std::size_t>(threads)), weights(ops, pin_of(knobs)),
        clock(device ? cuda::make_clock(*device) : nullptr), ctx{ops, pool, workspace, counters, &traces[0], micro, device.get()} {
    for (Trace& trace : traces) trace.delay_once(delay_of(knobs));
    if (!device) return;
    graphs.emplace(*device, knobs);
    workspace.before_release([this] { device->hand_over(); });
  }
  void enter() const { if (device) device->make_current(); }  // of the thread that now works for this rank
  void choose_gemm_for(const RankPlan& plan, const EngineOptions& options) {
    if (!device || !multiplies_bf16(plan)) return;
    const Range range(ctx.trace, "gemm_library");
    gemm = choose_gemm(options.knobs, options.cublaslt);
    ctx.cublaslt = gemm.library.get();
  }

  std::unique_ptr<cuda::Device> device;  // first: what the rank holds lies on it
  ThreadPool pool;
  Workspace workspace;
  Counters counters;
  std::vector<Trace> traces;  // one per worker; [0] is the rank's own thread
  RankWeights weights;
  std::unique_ptr<RankModel> model;
  std::unique_ptr<State> state;
  Probe probe;
  std::unique_ptr<DeviceClock> clock;  // of the device
  std::optional<DecodeGraphs> graphs;
  GemmChoice gemm;
  Context ctx;
};

}  // namespace

struct Engine::Impl {
  explicit Impl(const EngineOptions& o) : options(o), ops(backend_ops(o.backend)), group(o.ranks), logits(o.backend == "cuda") {}

  EngineOptions options;
  const Ops& ops;
  Source source;                        // what was loaded
  std::optional<WeightSource> weights;  // while loading
  RankGroup group;
  std::vector<std::unique_ptr<Rank>> ranks;
  CommChoice comm;                      // after ranks: goes before their devices
  LoadReport report;
  GdnForm prefill_gdn = GdnForm::kAuto, decode_gdn = GdnForm::kAuto;
  bool separate_rotation = false;
  nccl::ReduceType reduce_type = nccl::ReduceType::kF32;
  MoeMode moe_mode = MoeMode::kGrouped;
  std::string gpu_phases;
  bool all_logits = false;              // of every row of a prompt, wanted or not
  LogitsRoom logits;
  bool broken = false;

  void load();
  void load_once(const std::string& before);
  void connect();
  void finish_report(const std::vector<RankLoad>& loads);
  void check_room(std::span<const std::int32_t> tokens) const;
  void pass(std::span<const std::int32_t> tokens, Rows out, std::int64_t rehearsed_experts = 0);
  void rehearse();
  bool tell_times(Rank& rank, std::size_t tokens);
};

// Rank 0 loads, then rank 1, ...: or all at once. Every rank leaves together.
template <class Load>
void in_order(LocalComm& comm, int rank, bool in_turn, Trace* trace, const Load& load) {
  if (!in_turn) load();
  for (int turn = 0; turn < (in_turn ? comm.ranks() : 1); ++turn) {
    if (in_turn && turn == rank) load();
    const Range range(trace, "wait");
    comm.barrier();
  }
}

void Engine::Impl::load() {
  check(options);
  moe_mode = options.knobs.get("CROSSOVER_MOE") == "grouped" ? MoeMode::kGrouped : MoeMode::kPerToken;
  all_logits = options.knobs.get("CROSSOVER_LOGITS") == "all";
  const std::map<std::string, GdnForm> forms{
      {"auto", GdnForm::kAuto}, {"recurrent", GdnForm::kRecurrent}, {"chunked", GdnForm::kChunked}, {"chunked-f32", GdnForm::kChunkedF32}};
  prefill_gdn = forms.at(options.knobs.get("CROSSOVER_GDN_PREFILL")), decode_gdn = forms.at(options.knobs.get("CROSSOVER_GDN_DECODE"));
  separate_rotation = options.knobs.get("CROSSOVER_ROTATION_KERNEL") == "separate";
  reduce_type = options.knobs.get("CROSSOVER_REDUCE_TYPE") == "bf16" ? nccl::ReduceType::kBf16 : nccl::ReduceType::kF32;
  group.on_failure([this] { if (comm.nccl) comm.nccl->abort("a rank failed"); });
  gpu_phases = options.knobs.get("CROSSOVER_GPU_PHASES");
  report.begin_s = monotonic_s();
  const cpu::Micro* micro = options.backend == "reference" ? nullptr : load_micro(options.knobs);
  const std::vector<ThreadPool::Options> pools = pool_options(options);
  for (int r = 0; r < options.ranks; ++r)
    ranks.push_back(std::make_unique<Rank>(ops, rank_threads(options, r), pools[static_cast<std::size_t>(r)], micro, device_of(options, r), options.knobs));
  connect();
  try {
    load_once("");
  } catch (const DamagedPiece& damage) {
    // Found while it was read. The ranks begin again, from the checkpoint.
    weights->discard(damage.what());
    for (auto& rank : ranks) rank->weights.clear(), rank->counters = {};
    if (options.progress) options.progress->begin_again();
    load_once(damage.what());
  }
  for (auto& rank : ranks) rank->traces[0].reserve(kSpansWithoutAllocation);
  (void)logits.rows(1, source.config.vocab);  // now, and not in a pass that somebody times
  for (auto& rank : ranks) {
    rank->counters.path("threads", pools[0].cpus.empty() ? "free" : "pinned");
    if (options.ranks > 1) rank->counters.path("comm", comm.path);
    if (comm.nccl) rank->counters.path("comm.type", nccl::name(reduce_type));
    if (!rank->gemm.path.empty()) rank->counters.path("gemm", rank->gemm.path);
  }
  report.cache = weights->outcome();
  report.read = weights->read();
  weights.reset();
}

// How the ranks sum from now on.
void Engine::Impl::connect() {
  if (options.ranks == 1) return;
  {
    const Range range(&ranks[0]->traces[0], "comm_init");
    comm = choose_comm(comm_wishes(options), options.nccl_library, static_cast<double>(options.knobs.integer("CROSSOVER_COMM_LIMIT_S")));
  }
  if (!comm.nccl) return;
  group.run([&](int r) {
    Rank& rank = *ranks[static_cast<std::size_t>(r)];
    rank.enter();
    const Range range(rank.ctx.trace, "comm_init");
    comm.nccl->connect(rank.ctx, r, reduce_type);
  });
}

void Engine::Impl::load_once(const std::string& before) {
  const Schedule schedule = schedule_of(options.knobs);
  const bool in_turn = loads_in_turn(options);
  ShardPlan plan;
  CacheShares shares;
  std::mutex turn;
  std::vector<RankLoad> loads(ranks.size());
  std::optional<FetchTogether> together;
  if (reads_together(options)) together.emplace(ranks.size(), [this] { group.comm().barrier(); });
  group.run([&](int r) {
    const auto index = static_cast<std::size_t>(r);
    Rank& rank = *ranks[index];
    rank.enter();
    {
      const Range range(rank.ctx.trace, "open");
      if (r == 0) {
        weights.emplace(options.model, options.weights, options.knobs, options.cache_folder, rank.pool, before);
        source = weights->source();
        plan = make_shard_plan(source, weights->weights(), options.ranks, head_policy(options.knobs));
        weights->open(options.knobs, plan, together.has_value());
        rank.counters.path("read", name(weights->read().mode));
        if (weights->writer()) shares = cache_shares(source, *options.weights, plan);
      }
      group.comm().barrier();
    }
    const RankPlan& part = plan.ranks[index];
    rank.choose_gemm_for(part, options);
    CacheWriter* const writer = weights->writer();
    {
      // First, so that a cache type or capacity that cannot be is refused before the weights are read.
      const Range range(rank.ctx.trace, "state");
      rank.state = std::make_unique<State>(rank.ctx, source.config, part.shape, state_options(options));
    }
    LoadJob job{source, part, schedule, {weights->files(), fetch_options(options.knobs, weights->files().mode()), rank.ctx.micro,
                schedule == Schedule::kSerial ? &turn : nullptr, options.progress}};
    job.convert.check = weights->check();
    job.quantizes_on_device = quantizes_on_device(options.knobs, options.backend);
    if (together) job.convert.together = &*together, job.convert.part = index;
    if (options.backend == "cpu") job.layout = weight_layout(options.knobs, rank.ctx.micro);
    if (writer) {
      job.convert.sink = [writer](const ConvertTask& task, const std::byte* bytes, Trace* trace) {
        const Range range(trace, "cache_write");
        writer->put(task.tensor, task.first_row, task.rows, task.columns, bytes);
      };
      job.kept = shares.puts[index];
      if (r == 0) job.passing = shares.left, job.passing_type = *options.weights;
    }
    in_order(group.comm(), r, in_turn, rank.ctx.trace, [&] { loads[index] = load_rank(job, rank.ctx, rank.traces, rank.weights); });
    rank.model = std::make_unique<RankModel>(RankModel{source.config, part.shape, rank.weights.weights});
    if (!writer) return;
    if (r == 0) {
      const Range range(rank.ctx.trace, "cache_write");
      if (options.progress) options.progress->enter("cache_write");
      weights->finish(rank.pool);
    }
    const Range range(rank.ctx.trace, "wait");
    group.comm().barrier();
  });
  rehearse();
  finish_report(loads);
}

// Passes of the sizes to come, at the end of a full cache, without their arithmetic: every operation asks for its memory now and not in
// a pass that somebody times.
void Engine::Impl::rehearse() {
  if (options.backend != "cpu") return;
  const std::int64_t longest = std::min(options.chunk_tokens, options.capacity_tokens), experts = source.config.experts, k = source.config.experts_per_token;
  std::vector<Counters> counters;
  for (auto& rank : ranks) counters.push_back(rank->counters);
  std::deque<Range> ranges;
  for (auto& rank : ranks) ranges.emplace_back(&rank->traces[0], "workspace");
  group.comm().rehearse(true);
  for (auto& rank : ranks) rank->ctx.trace = nullptr, rank->pool.rehearse(true), rank->workspace.touch(true);
  const std::vector<std::int32_t> tokens(static_cast<std::size_t>(longest), 0);
  for (std::int64_t count = longest; count > 0; count /= 2)
    for (const std::int64_t hit : {std::max<std::int64_t>(1, experts), std::max<std::int64_t>(1, k)}) {  // many experts with few tokens, few with all
      for (auto& rank : ranks) rank->state->advance(options.capacity_tokens - count);
      pass({tokens.data(), static_cast<std::size_t>(count)}, logits.rows(all_logits ? count : 1, source.config.vocab), hit);
      for (auto& rank : ranks) rank->state->advance(-options.capacity_tokens);
    }
  group.comm().rehearse(false);
  for (std::size_t r = 0; r < ranks.size(); ++r) {
    Rank& rank = *ranks[r];
    rank.ctx.trace = &rank.traces[0], rank.pool.rehearse(false), rank.workspace.touch(false);
    rank.counters = std::move(counters[r]);
  }
}

void Engine::Impl::finish_report(const std::vector<RankLoad>& loads) {
  const double end_s = monotonic_s();
  report.total_s = end_s - report.begin_s;
  for (std::size_t r = 0; r < ranks.size(); ++r) {
    Rank& rank = *ranks[r];
    const RankLoad& load = loads[r];
    report.ranks.push_back({static_cast<int>(r), load_shares(rank.traces, load.convert, report.begin_s, end_s)});
    report.details.push_back({rank.weights.bytes(), load.convert.bytes_read, load.convert.peak_buffer_bytes, load.quantized_values,
                              busy_seconds(rank.traces, report.begin_s, end_s)});
    add_timeline(static_cast<int>(r), rank.traces, load.convert.readers, report.begin_s, report.timeline);
    for (Trace& trace : rank.traces) trace.clear();
  }
}

void Engine::Impl::check_room(std::span<const std::int32_t> tokens) const {
  const State& state = *ranks[0]->state;
  if (state.tokens() + static_cast<std::int64_t>(tokens.size()) > state.capacity_tokens())
    throw std::invalid_argument(fmt::format("{} tokens after {} do not fit the KV capacity of {} tokens; raise kv_capacity_tokens", tokens.size(),
                                            state.tokens(), state.capacity_tokens()));
  for (std::int32_t id : tokens)
    if (id < 0 || id >= source.config.vocab)
      throw std::invalid_argument(fmt::format("token id {} is outside the vocabulary of {}", id, source.config.vocab));
}

void Engine::Impl::pass(std::span<const std::int32_t> tokens, Rows out, std::int64_t rehearsed_experts) {
  group.comm().reserve(tokens.size() * static_cast<std::size_t>(source.config.hidden));
  broken = true;
  const auto body = [&](int r) {
    Rank& rank = *ranks[static_cast<std::size_t>(r)];
    rank.enter();
    const ThreadPool::CallerPin pin(rank.pool);
    const ForwardOptions forward_options{tokens.size() == 1 ? decode_gdn : prefill_gdn, moe_mode, rank.probe ? &rank.probe : nullptr, separate_rotation,
                                         rehearsed_experts, comm.nccl.get(), reduce_type};
    const bool times_ranges = tell_times(rank, tokens.size());
    const Range whole(times_ranges ? nullptr : &rank.traces[0], "pass");
    rank.traces[0].record(times_ranges);
    const auto run = [&] { forward(rank.ctx, group.comm(), r, *rank.model, *rank.state, tokens, forward_options, out); };
    if (rank.graphs && tokens.size() == 1) rank.graphs->run(rank.counters, times_ranges, run);
    else run();
    // Logits have made the device finish; it works on between passes that end without.
    if (out.rows > 0) rank.traces[0].resolve();
  };
  group.run(std::ref(body));  // by reference: a copy of what it captures would be allocated
  broken = false;
}

// Of the ranges of the pass to come: the host's, the device's, or none (false), because the host's would be those of launches.
bool Engine::Impl::tell_times(Rank& rank, std::size_t tokens) {
  rank.traces[0].record(true);
  if (!rank.clock) return true;
  const bool events = gpu_phases == "events" || (gpu_phases == "auto" && tokens > 1);
  rank.traces[0].set_clock(events ? rank.clock.get() : nullptr);
  rank.counters.path("gpu_phases", events ? "events" : "off");
  return events;
}

Engine::Engine(const EngineOptions& options) : impl_(std::make_unique<Impl>(options)) { impl_->load(); }
Engine::~Engine() = default;

const ModelConfig& Engine::config() const { return impl_->source.config; }
const std::filesystem::path& Engine::tokenizer() const { return impl_->source.tokenizer; }
const LoadReport& Engine::load_report() const { return impl_->report; }

std::string Engine::isa() const {
  const Rank& rank = *impl_->ranks[0];
  if (rank.device) return fmt::format("sm_{}", rank.device->facts().compute_capability);
  return rank.ctx.micro ? cpu::name(rank.ctx.micro->isa) : "none";
}
std::int64_t Engine::tokens() const { return impl_->ranks[0]->state->tokens(); }

std::int64_t Engine::state_bytes() const {
  std::int64_t bytes = 0;
  for (const auto& rank : impl_->ranks) bytes += rank->state->bytes();
  return bytes;
}

std::int64_t Engine::total_weight_bytes() const {
  std::int64_t bytes = 0;
  for (const RankLoadDetails& rank : impl_->report.details) bytes += rank.weight_bytes;
  return bytes;
}

std::int64_t Engine::workspace_bytes() const {
  std::int64_t bytes = 0;
  for (const auto& rank : impl_->ranks) bytes += static_cast<std::int64_t>(rank->workspace.held_bytes());
  return bytes;
}

std::span<const float> Engine::feed(std::span<const std::int32_t> tokens, const RowSink& sink) {
  Impl& impl = *impl_;
  if (impl.broken) throw std::runtime_error("an earlier pass failed and left the sequence half advanced; reset it or restore a snapshot first");
  if (tokens.empty()) throw std::invalid_argument("no tokens to feed: the prompt is empty");
  impl.check_room(tokens);
  const std::int64_t vocab = impl.source.config.vocab, count = static_cast<std::int64_t>(tokens.size());
  for (std::int64_t first = 0; first < count; first += impl.options.chunk_tokens) {
    const std::int64_t n = std::min(impl.options.chunk_tokens, count - first);
    const bool last = first + n == count;
    const std::int64_t rows = sink || impl.all_logits ? n : last ? 1 : 0;
    if (n > 1) impl.ranks[0]->counters.path("logits", rows == n ? "all" : "last");
    const Rows out = impl.logits.rows(rows, vocab);
    impl.pass(tokens.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(n)), out);
    if (sink) sink(first, out);
    if (last) return {out.row(rows - 1), static_cast<std::size_t>(vocab)};
  }
  return {};
}

void Engine::reset() {
  for (auto& rank : impl_->ranks) rank->state->reset();
  impl_->broken = false;
}

std::vector<State::Snapshot> Engine::snapshot() const {
  if (impl_->broken) throw std::runtime_error("an earlier pass failed and left the sequence half advanced; there is no state to snapshot");
  std::vector<State::Snapshot> copies;
  for (const auto& rank : impl_->ranks) copies.push_back(rank->state->snapshot());
  return copies;
}

void Engine::restore(const std::vector<State::Snapshot>& snapshots) {
  if (snapshots.size() != impl_->ranks.size())
    throw std::invalid_argument(fmt::format("a snapshot of {} ranks does not fit an engine of {}", snapshots.size(), impl_->ranks.size()));
  for (std::size_t r = 0; r < snapshots.size(); ++r) impl_->ranks[r]->state->restore(snapshots[r]);
  impl_->broken = false;
}

void Engine::set_probe(int rank, Probe probe) { impl_->ranks.at(static_cast<std::size_t>(rank))->probe = std::move(probe); }

Counters Engine::counters() const {
  Counters all;
  for (const auto& rank : impl_->ranks) all.merge(rank->counters);
  return all;
}

std::vector<RankPhases> Engine::phases(double begin_s, double end_s) const {
  std::vector<RankPhases> phases;
  for (std::size_t r = 0; r < impl_->ranks.size(); ++r) {
    Rank& rank = *impl_->ranks[r];
    rank.enter();
    rank.traces[0].resolve();
    phases.push_back({static_cast<int>(r), wall_shares({&rank.traces[0]}, begin_s, end_s)});
  }
  return phases;
}

std::vector<LoadSpan> Engine::pass_timeline(double begin_s) const {
  std::vector<LoadSpan> spans;
  for (std::size_t r = 0; r < impl_->ranks.size(); ++r) {
    Rank& rank = *impl_->ranks[r];
    rank.enter();
    rank.traces[0].resolve();
    for (const TimelineSpan& span : timeline(rank.traces[0], 0))
      if (span.start_s >= begin_s) spans.push_back({static_cast<int>(r), 0, span.name, span.start_s - begin_s, span.end_s - begin_s});
  }
  return spans;
}

void Engine::set_range_listener(RangeListener* listener) {
  for (auto& rank : impl_->ranks) rank->traces[0].set_listener(rank->graphs ? rank->graphs->listener(listener) : listener);
}

std::int64_t Engine::kernel_launches() const {
  std::int64_t launches = 0;
  for (const auto& rank : impl_->ranks)
    if (rank->device) launches += rank->device->launches();
  return launches;
}

void Engine::clear_phases() {
  for (auto& rank : impl_->ranks) rank->enter(), rank->traces[0].clear();
}

}  // namespace crossover
