// What the endpoint target asks of one sample process: JSON in, one request, a Sample out.
#pragma once

#include <functional>
#include <string>

#include "bench/sample.h"

namespace crossover {

// Sends the request of the job in this process. The job has the fields of the workload (scenarios/schema.json), and:
//   nonce, prompt_seed, arm, sample    of the sample
//   environment_proxy                  true = by way of the proxy that the environment names
// Whatever goes wrong on the way is the sample's `failure`; the key appears in none. `phase` is told what begins.
//
// Metrics: endpoint.connect_s (name look-up, TCP, TLS), ttft_s (request about to be sent on the open connection .. first event with
// a token), decode.total_s and decode.tokens_per_s (first .. last event with a token; a rate only of 0.2 s or more),
// endpoint.total_s (request .. end of the answer), server.* (as the server itself says); series decode.token_s.
Sample run_endpoint_job(const std::string& job, const std::function<void(const std::string&)>& phase);

// The body of the request; for tests. std::runtime_error where the prompt file is not what it must be.
std::string endpoint_body(const std::string& job);

}  // namespace crossover
