// By which way ranks sum, from what was asked for and what there is.
#pragma once

#include <memory>
#include <string>

#include "engine/nccl/communicator.h"

namespace crossover {

struct CommWishes {
  std::string backend;  // EngineOptions
  std::string comm;     // CROSSOVER_COMM
  int ranks = 1, gpus = 0;
};

// Whether NCCL is to be tried: every rank has a GPU of its own. std::invalid_argument, std::runtime_error where CROSSOVER_COMM=nccl cannot be.
bool wants_nccl(const CommWishes& wishes);

struct CommChoice {
  std::unique_ptr<nccl::Communicator> nccl;  // null: LocalComm, by way of the host where values lie on a device
  std::string path;                          // path.comm of a result: "nccl" or local_path()
};

// Loads NCCL from `library` where it is wanted. Not there: std::runtime_error where it was asked for, the local way where the choice was free.
CommChoice choose_comm(const CommWishes& wishes, const std::string& library, double limit_s);

// "local" in host memory; "local-staged (2 virtual ranks on one GPU)" by way of it. why: NCCL was wanted, and is not there.
std::string local_path(const CommWishes& wishes, const std::string& why = "");

}  // namespace crossover
