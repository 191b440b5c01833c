// The launches of a pass that comes again and again, handed over as CUDA graphs.
//
// A decoded token of 40 layers is some 500 launches of 2 us and less on the device. Asked for one by one, each costs the host 2 to 6 us (as published), and the
// device waits for it; in a graph the whole chain costs a few microseconds and a kernel follows the one before without the host. From token to token a
// launch in twelve changes: the angles of the position, where keys and values are written, how many are attended to and by how many blocks.
//
// So launches wait in a list; where the list goes to the stream, it is compared with the graph that went there in the pass before, and the nodes
// whose launch differs in anything (kernel, grid, bytes of an argument) are changed in it. No kernel knows of it and nothing about a launch is
// assumed to stay as it was. To keep one and compare it costs the host 56 ns (measured with graphs that do nothing); what CUDA takes to change a
// node and to start a graph has not been measured. The host's walk through the layers is no loss of time: a pass is not one graph but several,
// of 16, 32, 64 .. launches, and the device works on one while the host is at the next.
// Against the capture of a stream: there every launch of every token costs what it costs the driver (half a launch) and the device waits for the last
// one; and much is forbidden while it lasts. Here nothing is: whoever needs the stream gets it with all that waited in it (Device::stream).
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/cuda/launch_list.h"

namespace crossover::cuda {

class Device;

// CUDA would not make, change or start a graph; the launches can still be started one by one.
class GraphRefused : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// A chain of launches that a device starts as one. What it throws is GraphRefused.
class Graph {
 public:
  virtual ~Graph() = default;
  virtual void change(std::size_t index, LaunchList& launches) = 0;  // its launch of that index from now on; it may be another kernel
  virtual void start() = 0;                                          // in the order of the device's stream
};
std::unique_ptr<Graph> make_graph(Device& device, LaunchList& launches);        // the device is current
// Without a graph. arguments: a pointer to each. std::runtime_error.
void start_alone(Device& device, const Launch& launch, void* const* arguments);

// Of one device, used by its thread. Must go before the device.
class LaunchGraphs {
 public:
  explicit LaunchGraphs(Device& device) : device_(device) {}
  LaunchGraphs(const LaunchGraphs&) = delete;
  LaunchGraphs& operator=(const LaunchGraphs&) = delete;

  // body(): what it launches waits here and is in the stream when this returns. must: a refused graph is an error; else its launches are started
  // one by one, then and from now on.
  template <class Body>
  void run(bool must, const Body& body) {
    begin(must);
    try {
      body();
      end();
    } catch (...) {
      abandon();
      throw;
    }
  }

  template <class... A>
  void add(const Launch& launch, const A&... arguments) {
    waiting_.add(launch, arguments...);
    if (waiting_.size() >= longest()) hand_over();
  }
  void hand_over();                 // what waits goes to the stream; throws what an earlier one has thrown in this run, if any has
  bool hand_over_quietly() noexcept;  // false: it failed, as the next one will say

  const std::string& refusal() const { return refusal_; }  // empty: none
  std::int64_t started() const { return started_; }        // graphs
  std::int64_t made() const { return made_; }              // of them for the first time, or anew for another number of launches
  std::int64_t changed() const { return changed_; }        // launches that were not as in the pass before

  static constexpr std::size_t kFirst = 16, kLongest = 256;  // launches of the first graph of a pass; of the next twice as many, and so on

 private:
  struct Kept {
    LaunchList launches;
    std::unique_ptr<Graph> graph;
  };

  void begin(bool must);
  void end();
  void abandon() noexcept;
  std::size_t longest() const { return next_ < 4 ? kFirst << next_ : kLongest; }
  void start(LaunchList& launches);
  void start_graph(Kept& kept, LaunchList& launches);

  Device& device_;
  std::vector<Kept> kept_;
  std::size_t next_ = 0;  // of kept_, for what waits
  LaunchList waiting_, leaving_;
  std::exception_ptr failure_;
  bool must_ = false;
  std::string refusal_;
  std::int64_t started_ = 0, made_ = 0, changed_ = 0;
};

}  // namespace crossover::cuda
