// Reads by io_uring: many requests in flight from one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "engine/load/fetch_reader.h"

namespace crossover {

// Not safe to use from several threads at once.
class ReadRing {
 public:
  // At most `depth` requests in flight. std::runtime_error when the system does not let us have a ring (says what to use instead).
  ReadRing(const RequestReader& reader, unsigned depth);
  ~ReadRing();  // waits for what is in flight
  ReadRing(const ReadRing&) = delete;
  ReadRing& operator=(const ReadRing&) = delete;

  bool full() const;
  bool idle() const;  // nothing in flight

  // `tag` comes back in wait(). Not when full().
  void start(const PendingRead& read, std::uint64_t tag);

  // Blocks until at least one request is complete (short ones are resumed), then calls finished(tag, error) for each: error is empty, or
  // names tensor, byte and file. Not when idle().
  void wait(const std::function<void(std::uint64_t tag, const std::string& error)>& finished);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace crossover
