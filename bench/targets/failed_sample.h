// The record of a sample process that came to a bad end.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "bench/process/process.h"
#include "bench/sample.h"

namespace crossover {

// The end of stderr, the stacks where there are any, and with a SIGKILL that nobody here sent what the out-of-memory killer did since
// `oom_kills_before`. sample.failure is set already.
void describe_failure(Sample& sample, const ProcessResult& process, std::optional<std::int64_t> oom_kills_before);

}  // namespace crossover
