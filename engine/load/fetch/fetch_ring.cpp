#include "engine/load/fetch/fetch_ring.h"

#include <fmt/format.h>
#include <liburing.h>

#include <cerrno>
#include <optional>
#include <stdexcept>
#include <system_error>
#include <vector>

// liburing maps and unmaps a ring by system calls of its own, which the thread sanitizer does not see: a ring that comes to lie where
// another one lay would look like one memory used by threads that nothing orders. So it is told that the end of every ring comes before
// the beginning of the next. What happens to a ring between the two is checked as ever.
#ifdef CROSSOVER_TSAN
extern "C" void __tsan_acquire(void* address);
extern "C" void __tsan_release(void* address);
static char rings;  // an address
static void begin_ring() { __tsan_acquire(&rings); }
static void end_ring() { __tsan_release(&rings); }
#else
static void begin_ring() {}
static void end_ring() {}
#endif

namespace crossover {

struct ReadRing::State {
  struct Slot {
    PendingRead read;
    std::uint64_t tag = 0;
  };
  const RequestReader& reader;
  io_uring ring{};
  std::vector<Slot> slots;
  std::vector<std::size_t> free;

  State(const RequestReader& from, unsigned depth) : reader(from), slots(depth) {
    const int error = io_uring_queue_init(depth, &ring, 0);
    if (error != 0)
      throw std::runtime_error(fmt::format("io_uring cannot be used here: {}; use CROSSOVER_READ=direct (O_DIRECT) or pread (the page cache)",
                                           std::generic_category().message(-error)));
    begin_ring();
    for (std::size_t i = depth; i-- > 0;) free.push_back(i);
  }
  ~State() {
    end_ring();
    io_uring_queue_exit(&ring);
  }

  std::size_t in_flight() const { return slots.size() - free.size(); }

  void submit(std::size_t slot) {
    const PendingRead& read = slots[slot].read;
    const ReadRequest& request = *read.request;
    io_uring_sqe* entry = io_uring_get_sqe(&ring);  // there is one per slot
    io_uring_prep_read(entry, reader.descriptor(request.file), read.to + read.done, static_cast<unsigned>(request.bytes - read.done),
                       request.offset + read.done);
    io_uring_sqe_set_data64(entry, slot);
  }

  // Whether the request is complete, and so the slot free again.
  bool settle(std::size_t slot, std::int32_t result, const Finished& finished) {
    std::optional<ReadFailure> failure;
    try {
      if (!reader.arrived(slots[slot].read, result)) {
        submit(slot);
        return false;
      }
    } catch (const ReadFailure& caught) {
      failure = caught;
    }
    free.push_back(slot);
    finished(slots[slot].tag, failure ? &*failure : nullptr);
    return true;
  }
};

ReadRing::ReadRing(const RequestReader& reader, unsigned depth) : state_(std::make_unique<State>(reader, depth)) {}

ReadRing::~ReadRing() {
  try {
    while (!idle()) wait([](std::uint64_t, const ReadFailure*) {});
  } catch (const std::runtime_error&) {  // the system gave up on the ring; the kernel keeps the pages it still writes to
  }
}

bool ReadRing::full() const { return state_->free.empty(); }
bool ReadRing::idle() const { return state_->in_flight() == 0; }

void ReadRing::start(const PendingRead& read, std::uint64_t tag) {
  const std::size_t slot = state_->free.back();
  state_->free.pop_back();
  state_->slots[slot] = {read, tag};
  state_->submit(slot);
}

void ReadRing::wait(const Finished& finished) {
  for (bool any = false; !any;) {
    const int submitted = io_uring_submit_and_wait(&state_->ring, 1);
    if (submitted < 0 && submitted != -EINTR && submitted != -EAGAIN && submitted != -EBUSY)
      throw std::runtime_error(fmt::format("io_uring failed: {}; read with CROSSOVER_READ=direct (O_DIRECT) or pread (the page cache)",
                                           std::generic_category().message(-submitted)));
    io_uring_cqe* entry = nullptr;
    while (io_uring_peek_cqe(&state_->ring, &entry) == 0) {
      const auto slot = static_cast<std::size_t>(io_uring_cqe_get_data64(entry));
      const std::int32_t result = entry->res;
      io_uring_cqe_seen(&state_->ring, entry);
      any = state_->settle(slot, result, finished) || any;
    }
  }
}

}  // namespace crossover
