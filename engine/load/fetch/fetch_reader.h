// Carries out read requests in the calling thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "engine/load/fetch/fetch_plan.h"

namespace crossover {

// A request under way.
struct PendingRead {
  const ReadRequest* request = nullptr;
  std::byte* to = nullptr;
  std::uint64_t done = 0;  // a multiple of the alignment
};

// What could not be read; whoever knows which tensor lies there tells the caller.
class ReadFailure : public std::runtime_error {
 public:
  ReadFailure(std::int32_t in_file, std::uint64_t at, const std::string& why) : std::runtime_error(why), file(in_file), offset(at) {}
  std::int32_t file;
  std::uint64_t offset;
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

  // All of a request: into `read.to`, or with kMap into the mapping's page tables. Throws ReadFailure.
  void read(PendingRead read) const;

  // Accounts for what pread (or io_uring, with -errno) returned for what was left of the request. True when nothing is left. Throws
  // ReadFailure.
  bool arrived(PendingRead& read, std::int64_t got) const;

  // kMap: takes the pages of a request out of this process; they stay in the page cache.
  void drop(const ReadRequest& request) const;

 private:
  void populate(const ReadRequest& request) const;
  [[noreturn]] void explain_fault(const ReadRequest& request, int error) const;
  std::string ends_early(std::int32_t file) const;
  int open_direct(std::int32_t file);

  const SourceFiles& files_;
  ReadMode mode_;
  ReadRules rules_;
  std::vector<int> direct_;  // own descriptors with O_DIRECT, one per file
};

}  // namespace crossover
