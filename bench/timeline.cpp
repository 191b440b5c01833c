#include "bench/timeline.h"

#include <algorithm>
#include <map>

namespace crossover {
namespace {

class Steps {
 public:
  explicit Steps(double total_s) : step_s_(total_s / kTimelineSteps), phases_(kTimelineSteps) {}

  void add(const LoadSpan& span) {
    const auto first = static_cast<int>(std::max(0.0, span.start_s / step_s_));
    for (int step = first; step < kTimelineSteps && step * step_s_ < span.end_s; ++step)
      phases_[static_cast<std::size_t>(step)][span.phase] += std::min(span.end_s, (step + 1) * step_s_) - std::max(span.start_s, step * step_s_);
  }

  void move_to(int rank, int thread, std::vector<SampleSpan>& out) {
    const std::string* before = nullptr;
    for (int step = 0; step < kTimelineSteps; ++step) {
      const auto& phases = phases_[static_cast<std::size_t>(step)];
      const auto longest = std::max_element(phases.begin(), phases.end(), [](const auto& x, const auto& y) { return x.second < y.second; });
      const std::string* phase = longest == phases.end() ? nullptr : &longest->first;
      if (phase && before && *phase == *before) out.back().end_s = (step + 1) * step_s_;
      else if (phase) out.push_back({rank, thread, *phase, step * step_s_, (step + 1) * step_s_});
      before = phase;
    }
    phases_.assign(kTimelineSteps, {});
  }

 private:
  double step_s_;
  std::vector<std::map<std::string, double>> phases_;  // [steps]: seconds of each phase
};

}  // namespace

std::vector<SampleSpan> coarse_timeline(const std::vector<LoadSpan>& spans, double total_s) {
  std::vector<SampleSpan> out;
  if (spans.empty() || total_s <= 0) return out;
  Steps steps(total_s);
  for (std::size_t i = 0; i < spans.size(); ++i) {
    steps.add(spans[i]);
    const bool last = i + 1 == spans.size() || spans[i + 1].rank != spans[i].rank || spans[i + 1].thread != spans[i].thread;
    if (last) steps.move_to(spans[i].rank, spans[i].thread, out);
  }
  return out;
}

}  // namespace crossover
