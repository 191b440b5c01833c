// launch_graphs.h for CUDA: a chain of kernel nodes, each after the one before, as a stream would have them. Built from nodes, not captured; every call
// here is the same in CUDA 12 and 13.
#include <cuda_runtime_api.h>

#include <string>
#include <vector>

#include "kernels/cuda/launch_graphs.h"
#include "kernels/cuda/runtime.h"

namespace crossover::cuda {

void check(cudaError_t status, const char* call);

namespace {

void expect(cudaError_t status, const char* call) {
  if (status == cudaSuccess) return;
  (void)cudaGetLastError();  // else the next launch would report it
  throw GraphRefused(std::string("CUDA: ") + call + ": " + cudaGetErrorString(status) + " (" + cudaGetErrorName(status) + ")");
}

dim3 dim(const std::array<unsigned, 3>& size) { return {size[0], size[1], size[2]}; }

cudaKernelNodeParams parameters(LaunchList& launches, std::size_t index) {
  const Launch& launch = launches[index];
  cudaKernelNodeParams of{};
  of.func = const_cast<void*>(launch.kernel);
  of.gridDim = dim(launch.grid), of.blockDim = dim(launch.block);
  of.sharedMemBytes = static_cast<unsigned>(launch.shared_bytes);
  of.kernelParams = const_cast<void**>(launches.arguments(index));  // copied by the call it is given to
  return of;
}

class KernelChain : public Graph {
 public:
  KernelChain(Device& device, LaunchList& launches) : stream_(static_cast<cudaStream_t>(device.stream())), nodes_(launches.size()) {
    try {
      expect(cudaGraphCreate(&graph_, 0), "cudaGraphCreate");
      for (std::size_t i = 0; i < nodes_.size(); ++i) {
        const cudaKernelNodeParams of = parameters(launches, i);
        expect(cudaGraphAddKernelNode(&nodes_[i], graph_, i > 0 ? &nodes_[i - 1] : nullptr, i > 0 ? 1 : 0, &of), "cudaGraphAddKernelNode");
      }
      expect(cudaGraphInstantiate(&executable_, graph_, 0), "cudaGraphInstantiate");
    } catch (...) {
      destroy();
      throw;
    }
  }
  ~KernelChain() override { destroy(); }
  KernelChain(const KernelChain&) = delete;
  KernelChain& operator=(const KernelChain&) = delete;

  // Launches that are in the stream keep what they were given.
  void change(std::size_t index, LaunchList& launches) override {
    const cudaKernelNodeParams of = parameters(launches, index);
    expect(cudaGraphExecKernelNodeSetParams(executable_, nodes_[index], &of), "cudaGraphExecKernelNodeSetParams");
  }

  void start() override { expect(cudaGraphLaunch(executable_, stream_), "cudaGraphLaunch"); }

 private:
  void destroy() {
    // The device may be at it. Failures here have been reported by the call that met them first.
    if (executable_) (void)cudaStreamSynchronize(stream_), (void)cudaGraphExecDestroy(executable_);
    if (graph_) (void)cudaGraphDestroy(graph_);
  }

  const cudaStream_t stream_;
  cudaGraph_t graph_ = nullptr;  // kept: its nodes name those of the executable one
  cudaGraphExec_t executable_ = nullptr;
  std::vector<cudaGraphNode_t> nodes_;
};

}  // namespace

std::unique_ptr<Graph> make_graph(Device& device, LaunchList& launches) { return std::make_unique<KernelChain>(device, launches); }

void start_alone(Device& device, LaunchList& launches, std::size_t index) {
  const Launch& launch = launches[index];
  check(cudaLaunchKernel(launch.kernel, dim(launch.grid), dim(launch.block), const_cast<void**>(launches.arguments(index)), launch.shared_bytes,
                         static_cast<cudaStream_t>(device.stream())), launch.name);
}

}  // namespace crossover::cuda
