// When a GPU came to a place in its stream.
#pragma once

#include <memory>

#include "kernels/cuda/runtime.h"
#include "kernels/trace.h"

namespace crossover::cuda {

// Of the device's stream, for the thread that uses the device, which outlives it. A mark is an event recorded in the stream, about a
// microsecond of the host each and as much to read it; a range between two others costs one. resolve() ties them to the monotonic clock by
// one more event beside two readings of it, so times are off by no more than half of what lies between these, some microseconds.
std::unique_ptr<DeviceClock> make_clock(Device& device);

}  // namespace crossover::cuda
