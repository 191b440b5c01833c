// Carries out read requests in the calling thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/load/fetch_plan.h"

namespace crossover {

// A request under way.
struct PendingRead {
  const ReadRequest* request = nullptr;
  std::byte* to = nullptr;
  const SourceTensor* tensor = nullptr;
  std::uint64_t done = 0;  // a multiple of the alignment
};

// Safe to use from several threads.
class RequestReader {
 public:
  // std::runtime_error when the mode cannot be had for one of the files, or a file was replaced meanwhile.
  RequestReader(const SourceFiles& files, ReadMode mode);
  ~RequestReader();
  RequestReader(const RequestReader&) = delete;
  RequestReader& operator=(const RequestReader&) = delete;

  const ReadRules& rules() const { return rules_; }
  int descriptor(std::int32_t file) const;

  // All of a request: into `read.to`, or with kMap into the mapping's page tables. std::runtime_error names tensor, byte and file.
  void read(PendingRead read) const;

  // Accounts for what pread (or io_uring, with -errno) returned for what was left of the request. True when nothing is left.
  bool arrived(PendingRead& read, std::int64_t got) const;

  // kMap: takes the pages of a request out of this process; they stay in the page cache.
  void drop(const ReadRequest& request) const;

 private:
  void populate(const ReadRequest& request, const SourceTensor& tensor) const;
  void explain_fault(const ReadRequest& request, int error, const SourceTensor& tensor) const;
  int open_direct(std::int32_t file);

  const SourceFiles& files_;
  ReadMode mode_;
  ReadRules rules_;
  std::vector<int> direct_;  // own descriptors with O_DIRECT, one per file
};

}  // namespace crossover
