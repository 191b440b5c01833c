#include "engine/comm_choice.h"

#include <fmt/format.h>

#include <stdexcept>

namespace crossover {

bool wants_nccl(const CommWishes& wishes) {
  const bool on_gpus = wishes.backend == "cuda", asked = wishes.comm == "nccl";
  if (asked && !on_gpus)
    throw std::invalid_argument(fmt::format("CROSSOVER_COMM=nccl sums between GPUs, and the backend is {}; use auto or local", wishes.backend));
  if (wishes.comm == "local" || !on_gpus || wishes.ranks < 2) return false;
  if (asked && wishes.gpus < wishes.ranks)
    throw std::runtime_error(fmt::format("CROSSOVER_COMM=nccl needs a GPU for every rank: {} ranks, {} GPU{} found; use fewer ranks, or local for several on one",
                                         wishes.ranks, wishes.gpus, wishes.gpus == 1 ? "" : "s"));
  return wishes.gpus >= wishes.ranks;
}

std::string local_path(const CommWishes& wishes, const std::string& why) {
  if (wishes.backend != "cuda") return "local";
  const bool virtual_ranks = wishes.ranks > wishes.gpus;
  const int used = virtual_ranks ? wishes.gpus : wishes.ranks;
  return fmt::format("local-staged ({} {}ranks on {} GPU{}{})", wishes.ranks, virtual_ranks ? "virtual " : "", used == 1 ? "one" : std::to_string(used),
                     used == 1 ? "" : "s", why.empty() ? "" : ", " + why);
}

CommChoice choose_comm(const CommWishes& wishes, const std::string& library, double limit_s) {
  if (!wants_nccl(wishes)) return {nullptr, local_path(wishes)};
  std::shared_ptr<const nccl::Library> loaded;
  try {
    loaded = std::make_shared<const nccl::Library>(library);
  } catch (const std::runtime_error&) {  // `doctor` says why
    if (wishes.comm == "nccl") throw;
    return {nullptr, local_path(wishes, "NCCL was not found")};
  }
  return {std::make_unique<nccl::Communicator>(loaded, wishes.ranks, limit_s), "nccl"};
}

}  // namespace crossover
