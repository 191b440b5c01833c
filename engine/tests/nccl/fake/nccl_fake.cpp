#include "engine/tests/nccl/fake/nccl_fake.h"

#include <condition_variable>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engine/nccl/nccl_api.h"

namespace crossover::nccl {

struct Party {
  int ranks = 0, joined = 0, arrived = 0;
  std::int64_t round = 0;
  std::vector<const void*> from;
  std::vector<void*> to;
};

struct OpaqueComm {
  std::shared_ptr<Party> party;
  int rank = 0;
  std::int64_t begun = 0;
  bool aborted = false;
};

namespace {

struct World {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::unique_ptr<NcclFake>> fakes = first();  // the last one is in force; kept for ranks that are left behind
  int resets = 0, ids = 0;
  std::map<std::string, std::shared_ptr<Party>> parties;
  std::vector<std::unique_ptr<OpaqueComm>> comms;  // kept: an aborted rank may still be inside

  NcclFake& fake() const { return *fakes.back(); }
  static std::vector<std::unique_ptr<NcclFake>> first() {
    std::vector<std::unique_ptr<NcclFake>> one;
    one.push_back(std::make_unique<NcclFake>());
    return one;
  }
};

World& world() {
  static World* const one = new World;  // never destroyed: threads may outlive main
  return *one;
}

float widen(std::uint16_t bits) {
  const std::uint32_t wide = static_cast<std::uint32_t>(bits) << 16;
  float value = 0;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}

std::uint16_t narrow(float value) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof bits);
  return static_cast<std::uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

struct Job {
  const Party* party;
  std::size_t values;
  DataType type;
  float error;
};

void add(void* context) {
  const Job& job = *static_cast<const Job*>(context);
  const auto ranks = static_cast<std::size_t>(job.party->ranks);
  const bool f32 = job.type == DataType::kFloat32;
  for (std::size_t i = 0; i < job.values; ++i) {
    float sum = job.error;
    for (std::size_t r = 0; r < ranks; ++r)
      sum += f32 ? static_cast<const float*>(job.party->from[r])[i] : widen(static_cast<const std::uint16_t*>(job.party->from[r])[i]);
    for (std::size_t r = 0; r < ranks; ++r)
      if (f32) static_cast<float*>(job.party->to[r])[i] = sum;
      else static_cast<std::uint16_t*>(job.party->to[r])[i] = narrow(sum);
  }
}

Result all_reduce(const void* from, void* to, std::size_t values, DataType type, Comm comm) {
  World& w = world();
  std::unique_lock lock(w.mutex);
  NcclFake& fake = w.fake();
  Party& party = *comm->party;
  const std::int64_t number = ++comm->begun;
  const int resets = w.resets;
  const auto released = [&] { return comm->aborted || w.resets != resets; };
  if (comm->rank == fake.broken_rank && number >= fake.broken_from) return Result::kInvalidUsage;
  if (comm->rank == fake.wedged_rank && number >= fake.wedged_from) {
    w.changed.wait(lock, released);
    return Result::kInternalError;
  }
  party.from[static_cast<std::size_t>(comm->rank)] = from, party.to[static_cast<std::size_t>(comm->rank)] = to;
  if (++party.arrived < party.ranks) {
    const std::int64_t round = party.round;
    w.changed.wait(lock, [&] { return party.round != round || released(); });
    return party.round != round ? Result::kSuccess : Result::kInternalError;
  }
  Job job{&party, values, type, fake.error_in_sum};
  fake.with_memory(add, &job);
  ++(type == DataType::kFloat32 ? fake.f32_sums : fake.bf16_sums);
  party.arrived = 0, ++party.round;
  w.changed.notify_all();
  return Result::kSuccess;
}

Result join(Comm* comm, int ranks, const UniqueId& id, int rank) {
  World& w = world();
  std::unique_lock lock(w.mutex);
  NcclFake& fake = w.fake();
  const int resets = w.resets;
  const auto released = [&] { return w.resets != resets; };
  if (rank == fake.refused_rank) return Result::kSystemError;
  if (rank == fake.lost_rank) {
    w.changed.wait(lock, released);
    return Result::kInternalError;
  }
  std::shared_ptr<Party>& party = w.parties[id.bytes];
  if (!party) {
    party = std::make_shared<Party>();
    party->ranks = ranks, party->from.resize(static_cast<std::size_t>(ranks)), party->to.resize(static_cast<std::size_t>(ranks));
  }
  const std::shared_ptr<Party> own = party;
  ++own->joined, ++fake.joined;
  w.changed.notify_all();
  w.changed.wait(lock, [&] { return own->joined == own->ranks || released(); });
  if (own->joined != own->ranks) return Result::kInternalError;
  w.comms.push_back(std::make_unique<OpaqueComm>());
  *comm = w.comms.back().get();
  (*comm)->party = own, (*comm)->rank = rank;
  return Result::kSuccess;
}

}  // namespace
}  // namespace crossover::nccl

using namespace crossover::nccl;

extern "C" {

NcclFake* crossover_nccl_fake() { return &world().fake(); }

void crossover_nccl_fake_reset() {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  w.fakes.push_back(std::make_unique<NcclFake>());
  ++w.resets;
  w.changed.notify_all();
}

Result ncclGetVersion(int* version) {
  *version = crossover_nccl_fake()->version;
  return Result::kSuccess;
}
Result ncclGetUniqueId(UniqueId* id) {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  *id = {};
  const std::string name = "party " + std::to_string(++w.ids);
  std::memcpy(id->bytes, name.c_str(), name.size() + 1);
  return Result::kSuccess;
}
Result ncclCommInitRank(Comm* comm, int ranks, UniqueId id, int rank) { return join(comm, ranks, id, rank); }
Result ncclCommDestroy(Comm) {
  ++world().fake().destroyed;
  return Result::kSuccess;
}
#ifndef CROSSOVER_FAKE_WITHOUT_ABORT
Result ncclCommAbort(Comm comm) {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  comm->aborted = true;
  ++w.fake().aborted;
  w.changed.notify_all();
  return Result::kSuccess;
}
#endif
Result ncclCommGetAsyncError(Comm comm, Result* error) {
  *error = comm->rank == world().fake().async_error_rank ? Result::kRemoteError : Result::kSuccess;
  return Result::kSuccess;
}
Result ncclAllReduce(const void* from, void* to, std::size_t values, DataType type, Operation, Comm comm, Stream) {
  return all_reduce(from, to, values, type, comm);
}
const char* ncclGetErrorString(Result result) {
  return result == Result::kSystemError ? "unhandled system error" : result == Result::kRemoteError ? "remote process exited" : "some error";
}
const char* ncclGetLastError(Comm) { return "fake: as requested"; }

}  // extern "C"
