#include "engine/model_load.h"

#include <memory>

#include "engine/load/load_knobs.h"
#include "engine/load/load_times.h"

namespace crossover {
namespace {

bool loads_in_turn(const EngineOptions& options) { return options.knobs.get("CROSSOVER_LOAD_ORDER") == "in-turn"; }

// Ranks that are as far as each other, served by the same readers.
bool reads_together(const EngineOptions& options) {
  return options.ranks > 1 && !loads_in_turn(options) && options.knobs.flag("CROSSOVER_READ_AHEAD");
}

StateOptions state_options(const EngineOptions& options) {
  const auto rotation = [&](const char* knob) { return parse_rotation(options.knobs.get(knob)).value(); };
  return {options.keys, options.values, options.capacity_tokens, rotation("CROSSOVER_K_ROTATION"), rotation("CROSSOVER_V_ROTATION")};
}

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

}  // namespace

ModelLoad::ModelLoad(const EngineOptions& options, RankGroup& group, Ranks& ranks, Source& source)
    : options_(options), group_(group), ranks_(ranks), source_(source), schedule_(schedule_of(options.knobs)) {}

void ModelLoad::run() {
  try {
    run_once("");
  } catch (const DamagedPiece& damage) {
    together_.reset();
    weights_->discard(damage.what());
    for (auto& rank : ranks_) rank->weights.clear(), rank->counters = {};
    if (options_.progress) options_.progress->begin_again();
    run_once(damage.what());
  }
}

void ModelLoad::run_once(const std::string& before) {
  plan_ = {}, shares_ = {};
  loads_.assign(ranks_.size(), {});
  if (reads_together(options_)) together_.emplace(ranks_.size(), [this] { group_.comm().barrier(); });
  group_.run([&](int r) {
    Rank& rank = *ranks_[static_cast<std::size_t>(r)];
    rank.enter();
    {
      const Range range(rank.ctx.trace, "open");
      if (r == 0) open(rank, before);
      group_.comm().barrier();
    }
    const bool keeps = weights_->writer() != nullptr;  // asked now: finish ends the writer
    fill(r);
    if (!keeps) return;
    if (r == 0) {
      const Range range(rank.ctx.trace, "cache_write");
      if (options_.progress) options_.progress->enter("cache_write");
      weights_->finish(rank.pool);
    }
    const Range range(rank.ctx.trace, "wait");
    group_.comm().barrier();
  });
}

// For all ranks.
void ModelLoad::open(Rank& first, const std::string& before) {
  weights_.emplace(options_.model, options_.weights, options_.knobs, options_.cache_folder, first.pool, before);
  source_ = weights_->source();
  plan_ = make_shard_plan(source_, weights_->weights(), options_.ranks, head_policy(options_.knobs));
  weights_->open(options_.knobs, plan_, together_.has_value());
  first.counters.path("read", name(weights_->read().mode));
  if (weights_->writer()) shares_ = cache_shares(source_, *options_.weights, plan_);
}

void ModelLoad::fill(int r) {
  const auto index = static_cast<std::size_t>(r);
  Rank& rank = *ranks_[index];
  const RankPlan& part = plan_.ranks[index];
  rank.choose_gemm_for(part, options_);
  {
    // First, so that a cache type or capacity that cannot be is refused before the weights are read.
    const Range range(rank.ctx.trace, "state");
    rank.state = std::make_unique<State>(rank.ctx, source_.config, part.shape, state_options(options_));
  }
  const LoadJob job = job_of(index);
  in_order(group_.comm(), r, loads_in_turn(options_), rank.ctx.trace, [&] { loads_[index] = load_rank(job, rank.ctx, rank.traces, rank.weights); });
  rank.model = std::make_unique<RankModel>(RankModel{source_.config, part.shape, rank.weights.weights});
}

LoadJob ModelLoad::job_of(std::size_t index) {
  const Rank& rank = *ranks_[index];
  LoadJob job{source_, plan_.ranks[index], schedule_, {weights_->files(), fetch_options(options_.knobs, weights_->files().mode()), rank.ctx.micro,
              schedule_ == Schedule::kSerial ? &turn_ : nullptr, options_.progress}};
  job.convert.check = weights_->check();
  job.quantizes_on_device = quantizes_on_device(options_.knobs, options_.backend);
  if (together_) job.convert.together = &*together_, job.convert.part = index;
  if (options_.backend == "cpu") job.layout = weight_layout(options_.knobs, rank.ctx.micro);
  CacheWriter* const writer = weights_->writer();
  if (!writer) return job;
  job.convert.sink = [writer](const ConvertTask& task, const std::byte* bytes, Trace* trace) {
    const Range range(trace, "cache_write");
    writer->put(task.tensor, task.first_row, task.rows, task.columns, bytes);
  };
  job.kept = shares_.puts[index];
  if (index == 0) job.passing = shares_.left, job.passing_type = *options_.weights;
  return job;
}

LoadReport ModelLoad::report(double begin_s) const {
  const double end_s = monotonic_s();
  LoadReport report;
  report.begin_s = begin_s, report.total_s = end_s - begin_s;
  for (std::size_t r = 0; r < ranks_.size(); ++r) {
    Rank& rank = *ranks_[r];
    const RankLoad& load = loads_[r];
    report.ranks.push_back({static_cast<int>(r), load_shares(rank.traces, load.convert, begin_s, end_s)});
    report.details.push_back({rank.weights.bytes(), load.convert.bytes_read, load.convert.peak_buffer_bytes, load.quantized_values,
                              busy_seconds(rank.traces, begin_s, end_s)});
    add_timeline(static_cast<int>(r), rank.traces, load.convert.readers, begin_s, report.timeline);
    for (Trace& trace : rank.traces) trace.clear();
  }
  report.cache = weights_->outcome();
  report.read = weights_->read();
  return report;
}

}  // namespace crossover
