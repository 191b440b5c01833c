// What the engine target asks of one sample process, and how that process answers: JSON in, JSON out (crossover.sample/1).
#pragma once

#include <string>

namespace crossover {

// Runs the job in this process: loads the model, does what `kind` asks and returns the sample as JSON text. `job`:
//   kind              cold_load | prefill | decode | generate | quantize
//   model             path;  out: the file that a quantize job writes
//   weights, ranks, threads, backend, kv_k, kv_v, chunk, prompt_tokens, generate_tokens, depth_tokens, kv_capacity_tokens
//   token_seed        the prompt is a function of it and the vocabulary alone
//   knobs             {name: {value, origin}}
std::string run_engine_job(const std::string& job);

}  // namespace crossover
