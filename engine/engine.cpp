#include "engine/engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <set>
#include <stdexcept>

#include "engine/comm_choice.h"
#include "engine/forward.h"
#include "engine/gemm_choice.h"
#include "engine/load/load_knobs.h"
#include "engine/logits_room.h"
#include "engine/model_load.h"
#include "engine/phase_clock.h"
#include "engine/rank.h"
#include "engine/ranks.h"
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

}  // namespace

struct Engine::Impl {
  explicit Impl(const EngineOptions& o) : options(o), ops(backend_ops(o.backend)), group(o.ranks), logits(o.backend == "cuda") {}

  EngineOptions options;
  const Ops& ops;
  Source source;  // what was loaded
  RankGroup group;
  Ranks ranks;
  CommChoice comm;  // after ranks: goes before their devices
  LoadReport report;
  GdnForm prefill_gdn = GdnForm::kAuto, decode_gdn = GdnForm::kAuto;
  bool separate_rotation = false;
  nccl::ReduceType reduce_type = nccl::ReduceType::kF32;
  MoeMode moe_mode = MoeMode::kGrouped;
  std::string gpu_phases;
  bool all_logits = false;  // of every row of a prompt, wanted or not
  LogitsRoom logits;
  bool broken = false;

  void load();
  void connect();
  void check_room(std::span<const std::int32_t> tokens) const;
  void pass(std::span<const std::int32_t> tokens, Rows out, std::int64_t rehearsed_experts = 0);
  void rehearse();
  void rehearse_on_gpus();
};

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
  const double begin_s = monotonic_s();
  ranks = make_ranks(options, ops);
  connect();
  ModelLoad model(options, group, ranks, source);
  model.run();
  rehearse();
  report = model.report(begin_s);
  for (auto& rank : ranks) rank->traces[0].reserve(kSpansWithoutAllocation);
  (void)logits.rows(1, source.config.vocab);  // now, and not in a pass that somebody times
  for (auto& rank : ranks) {
    rank->counters.path("threads", rank->pinned ? "pinned" : "free");
    if (options.ranks > 1) rank->counters.path("comm", comm.path);
    if (comm.nccl) rank->counters.path("comm.type", nccl::name(reduce_type));
    if (rank->device) rank->counters.path("launch", rank->device->overlaps_launches() ? "overlapped" : "in-turn");
    if (!rank->gemm.path.empty()) rank->counters.path("gemm", rank->gemm.path);
  }
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

// Passes of the sizes to come, at the end of a full cache, without their arithmetic: every operation asks for its memory now and not in
// a pass that somebody times.
void Engine::Impl::rehearse() {
  if (options.backend == "cuda" && options.rehearses) return rehearse_on_gpus();
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

// On a GPU with their arithmetic, on tokens that nobody wants: kernels come to the device when they are first launched, and then memory is asked for,
// algorithms are chosen and graphs made as well. A long prompt at the beginning, and what reads a full cache.
void Engine::Impl::rehearse_on_gpus() {
  constexpr std::int64_t kFew = 64;  // the kernels of many tokens, with little to attend
  const std::int64_t capacity = options.capacity_tokens, longest = std::min(options.chunk_tokens, capacity), few = std::min(kFew, longest);
  std::vector<Counters> counters;
  std::deque<Range> ranges;
  for (auto& rank : ranks) counters.push_back(rank->counters), ranges.emplace_back(&rank->traces[0], "first_passes"), rank->ctx.trace = nullptr;
  const std::vector<std::int32_t> tokens(static_cast<std::size_t>(longest), 0);
  const auto feed = [&](std::int64_t count, std::int64_t past) {
    for (auto& rank : ranks) rank->state->advance(past - rank->state->tokens());
    pass({tokens.data(), static_cast<std::size_t>(count)}, logits.rows(all_logits ? count : 1, source.config.vocab));
  };
  feed(longest, 0), feed(few, capacity - few);
  feed(1, std::max<std::int64_t>(0, capacity - 2)), feed(1, capacity - 1);  // the second changes the graphs of the first
  for (std::size_t r = 0; r < ranks.size(); ++r) {
    Rank& rank = *ranks[r];
    rank.state->reset();
    rank.ctx.ops.synchronize(rank.ctx);
    rank.traces[0].set_clock(nullptr), rank.traces[0].record(true), rank.ctx.trace = &rank.traces[0];
    rank.counters = std::move(counters[r]);
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
    const bool timed = times_ranges(rank, gpu_phases, tokens.size());
    const Range whole(timed ? nullptr : rank.ctx.trace, "pass");
    rank.traces[0].record(timed);
    const auto run = [&] { forward(rank.ctx, group.comm(), r, *rank.model, *rank.state, tokens, forward_options, out); };
    if (rank.graphs && tokens.size() == 1) rank.graphs->run(rank.counters, timed, run);
    else run();
    // Logits have made the device finish; it works on between passes that end without.
    if (out.rows > 0) rank.traces[0].resolve();
  };
  group.run(std::ref(body));  // by reference: a copy of what it captures would be allocated
  broken = false;
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

std::vector<RankPhases> Engine::phases(double begin_s, double end_s) const { return pass_phases(impl_->ranks, begin_s, end_s); }
std::vector<LoadSpan> Engine::pass_timeline(double begin_s) const { return crossover::pass_timeline(impl_->ranks, begin_s); }

void Engine::set_range_listener(RangeListener* listener) {
  for (auto& rank : impl_->ranks) rank->traces[0].set_listener(rank->graphs ? rank->graphs->listener(listener) : listener);
}

std::int64_t Engine::kernel_launches() const {
  std::int64_t launches = 0;
  for (const auto& rank : impl_->ranks)
    if (rank->device) launches += rank->device->launches();
  return launches;
}

std::vector<int> Engine::gpus() const {
  std::set<int> ordinals;
  for (std::size_t r = 0; r < impl_->ranks.size(); ++r)
    if (impl_->ranks[r]->device) ordinals.insert(gpu_of(static_cast<int>(r)));
  return {ordinals.begin(), ordinals.end()};
}

void Engine::clear_phases() {
  for (auto& rank : impl_->ranks) rank->enter(), rank->traces[0].clear();
}

}  // namespace crossover
