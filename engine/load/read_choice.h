// How a load reads its files when that is left to it: mapped while they are in the page cache, past it while they are not.
#pragma once

#include <optional>
#include <string>

#include "engine/checkpoint/source.h"
#include "engine/checkpoint/source_files.h"
#include "engine/load/shard_plan.h"

namespace crossover {

struct ReadChoice {
  ReadMode mode = ReadMode::kMap;
  std::string reason;      // what was found and what follows from it; empty when the mode was asked for
  bool fell_back = false;  // files that are not in the page cache and are not read the best way, because the system refuses it
};

const char* name(ReadMode mode);  // a value of CROSSOVER_READ: "mmap"

// Looks at a few thousand pages of the files, spread evenly, and where most are not in the page cache tries io_uring, then O_DIRECT. What
// is read so does not enter the page cache. `passes`: see direct_passes. std::runtime_error when a file cannot be opened.
ReadChoice choose_read(const Source& source, double passes);

// Share of the files' bytes that lies in the page cache, 0 .. 1, within 2 % of it; absent where the system does not tell this user.
// std::runtime_error when a file cannot be opened or mapped.
std::optional<double> resident_share(const Source& source);

// Bytes that ranks which read each for itself would read past the page cache, over the bytes of the files. Rows that are split by
// columns are read whole by every rank that holds a part of them, since that is faster than leaving the gaps out.
double direct_passes(const Source& source, const ShardPlan& plan);

}  // namespace crossover
