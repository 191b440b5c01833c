// launch_graphs.h for the emulation: a graph has copies of its launches and runs those, so that one that was not changed where it had to be
// shows as other results.
#include <atomic>
#include <vector>

#include "kernels/cuda/device.h"
#include "kernels/cuda/emulator/machine.h"
#include "kernels/cuda/launch_graphs.h"

namespace crossover::cuda {
namespace {

std::atomic<int> graph_calls_left{-1};

void may_be_refused(const char* call) {
  int left = graph_calls_left;
  while (left > 0 && !graph_calls_left.compare_exchange_weak(left, left - 1)) {}
  if (left == 0) throw GraphRefused(std::string("the emulated device was told to refuse ") + call);
}

void check_shared(const Launch& launch) { emulated::check_shared(launch.name, launch.kernel, launch.shared_bytes); }

void run(const Launch& launch, void* const* arguments) {
  const auto dim = [](const std::array<unsigned, 3>& size) { return dim3(size[0], size[1], size[2]); };
  emulated::run_grid(launch.name, {dim(launch.grid), dim(launch.block), launch.shared_bytes, true}, [&] { launch.call(launch.kernel, arguments); });
}

class Chain : public Graph {
 public:
  explicit Chain(LaunchList& launches) : nodes_(launches.size()) {
    may_be_refused("a graph");
    for (std::size_t i = 0; i < nodes_.size(); ++i) check_shared(launches[i]), nodes_[i].add(launches, i);
  }
  void change(std::size_t index, LaunchList& launches) override {
    may_be_refused("a change");
    check_shared(launches[index]);
    nodes_[index].clear();
    nodes_[index].add(launches, index);
  }
  void start() override {
    may_be_refused("a start");
    for (LaunchList& node : nodes_) run(node[0], node.arguments(0));
  }

 private:
  std::vector<LaunchList> nodes_;  // one launch each
};

}  // namespace

void emulated::refuse_graphs_after(int calls) { graph_calls_left = calls; }

std::unique_ptr<Graph> make_graph(Device&, LaunchList& launches) { return std::make_unique<Chain>(launches); }
void start_alone(Device&, const Launch& launch, void* const* arguments) {
  check_shared(launch);
  run(launch, arguments);
}

}  // namespace crossover::cuda
