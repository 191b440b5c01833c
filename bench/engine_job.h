// What the engine target asks of one sample process: JSON in, a Sample out.
#pragma once

#include <functional>
#include <string>

#include "bench/sample.h"

namespace crossover {

// Runs the job in this process: loads the model, does what `kind` asks and returns metrics, phases, counters and output. The job:
//   kind          cold_load | prefill | decode | generate | quantize
//   model         path;  out: the file that a quantize job writes and removes
//   weights, ranks, threads, backend, kv_k, kv_v, chunk, prompt_tokens, generate_tokens, depth_tokens, kv_capacity_tokens
//   token_seed    the prompt is a function of it and the vocabulary alone
//   knobs         {name: value}, over those of the environment
//   trace         true: what the GPU does in the passes is recorded too, which slows them
//   trace_counters  false: but for the bytes of its memory
// `phase` is told what begins, so that a crash can be placed.
Sample run_engine_job(const std::string& job, const std::function<void(const std::string&)>& phase);

}  // namespace crossover
