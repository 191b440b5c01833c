// Reads by io_uring: many requests in flight from one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "engine/load/fetch/fetch_reader.h"

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

  // Blocks until at least one request is complete (short ones are resumed), then calls finished(tag, failure) for each; failure is null
  // when all bytes are there. Not when idle(). std::runtime_error when the ring itself fails.
  using Finished = std::function<void(std::uint64_t tag, const ReadFailure* failure)>;
  void wait(const Finished& finished);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace crossover
