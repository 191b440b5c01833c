// What can be measured: something that takes one sample at a time, each in a fresh process. The runner knows only this.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "bench/load_floors.h"
#include "bench/machine/machine.h"
#include "bench/sample.h"

namespace crossover {

struct SampleRequest {
  char arm = 'A';
  int cell = 0, pair = 0, position = 0;
  bool control = false;
  std::string workload;                      // JSON object: the arm's merged workload, defaults filled
  std::map<std::string, std::string> knobs;  // those the scenario sets for this arm
  std::vector<std::string> environment;      // the complete block, "NAME=value", knobs included, equal length in both arms
  std::uint64_t prompt_seed = 0;             // a function of (plan seed, cell, pair): equal in both arms of a pair
  std::string nonce;                         // unlike in every sample
  std::filesystem::path program;             // of the arm; empty = this program itself
  double timeout_s = 0;
  std::vector<int> cpus;                     // allowed cores, empty = all
  int priority = 0;                          // nice value
  bool traced = false;                       // one that is recorded and not analysed
  bool counters = true;                      // of a traced one: bytes of the GPU's memory are counted too
};

class Target {
 public:
  virtual ~Target() = default;

  // Before the plan, untimed, once for every distinct pair of cell and arm (position -1 in the request).
  virtual void prepare(const SampleRequest& request) = 0;

  // What bounds a load on this machine, measured after `prepare` and untimed; absent for what loads nothing of ours.
  virtual std::optional<LoadRates> rates(const SampleRequest&) { return std::nullopt; }

  // What this machine reaches at most, for programs whose work is counted; measured before the plan, and again where a sample seems
  // faster than that. Absent for others.
  virtual std::optional<Ceilings> ceilings() { return std::nullopt; }

  // Whether a sample of the request can also be taken traced: once, after the plan, with what was seen in Sample::trace.
  virtual bool can_trace(const SampleRequest&) { return false; }

  // Files whose page-cache state the runner sets before the sample.
  virtual std::vector<std::filesystem::path> files(const SampleRequest& request) = 0;

  // Untimed, around each sample; `before` comes ahead of the page cache.
  virtual void before(const SampleRequest&) {}
  virtual void after(const SampleRequest&) {}

  // Runs once, in a fresh process. A crash, a timeout or garbage comes back as a Sample with `failure`; exceptions are for what
  // no further sample could survive. The runner fills in arm, cell, pair, position, started_at and page_cache.
  virtual Sample take(const SampleRequest& request) = 0;
};

}  // namespace crossover
