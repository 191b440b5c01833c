// launch_graphs.h for CUDA: a chain of kernel nodes, each after the one before, as a stream would have them. Built from nodes, not captured.
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

// `after` follows `before`; overlapping: it may begin once every block of `before` has begun and waits itself.
cudaError_t follow(cudaGraph_t graph, cudaGraphNode_t before, cudaGraphNode_t after, bool overlapping) {
#if CUDART_VERSION >= 12030
  cudaGraphEdgeData edge{};
  if (overlapping) edge.type = cudaGraphDependencyTypeProgrammatic, edge.from_port = cudaGraphKernelNodePortProgrammatic;
#if CUDART_VERSION >= 13000
  return cudaGraphAddDependencies(graph, &before, &after, &edge, 1);
#else
  return cudaGraphAddDependencies_v2(graph, &before, &after, &edge, 1);
#endif
#else
  return overlapping ? cudaErrorNotSupported : cudaGraphAddDependencies(graph, &before, &after, 1);
#endif
}

class KernelChain : public Graph {
 public:
  KernelChain(Device& device, LaunchList& launches) : stream_(static_cast<cudaStream_t>(device.stream())), nodes_(launches.size()) {
    try {
      expect(cudaGraphCreate(&graph_, 0), "cudaGraphCreate");
      for (std::size_t i = 0; i < nodes_.size(); ++i) {
        const cudaKernelNodeParams of = parameters(launches, i);
        expect(cudaGraphAddKernelNode(&nodes_[i], graph_, nullptr, 0, &of), "cudaGraphAddKernelNode");
        if (i > 0) expect(follow(graph_, nodes_[i - 1], nodes_[i], device.overlaps_launches()), "cudaGraphAddDependencies");
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

void start_alone(Device& device, const Launch& launch, void* const* arguments) {
  cudaLaunchAttribute overlap{};
  overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  overlap.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t how{};
  how.gridDim = dim(launch.grid), how.blockDim = dim(launch.block), how.dynamicSmemBytes = launch.shared_bytes;
  how.stream = static_cast<cudaStream_t>(device.stream());
  if (device.overlaps_launches()) how.attrs = &overlap, how.numAttrs = 1;
  check(cudaLaunchKernelExC(&how, launch.kernel, const_cast<void**>(arguments)), launch.name);
}

}  // namespace crossover::cuda
