// The parent's side of the protocol with `PROGRAM sample --job 0 --result 3`, the hidden command that takes one engine sample.
// The child reads one JSON object, the job, on descriptor 0 and writes JSON lines to descriptor 3: any number of
// {"phase": NAME} lines, so that a crash can be placed, then the sample (schema "crossover.sample/1", bench/sample.h) as the
// last line. Its stdout means nothing; its stderr is kept for the record of a failure.
#pragma once

#include <string>

#include "bench/targets/target.h"

namespace crossover {

// Runs request.program (this very program where it is empty) once. Whatever the child does becomes a Sample: a signal, an exit
// code, a time limit, no sample, no JSON or a wrong field is its `failure`, with the last phase and the end of stderr.
// Adds process.start_s and memory.peak_bytes.
Sample take_child_sample(const SampleRequest& request, const std::string& job_json);

}  // namespace crossover
