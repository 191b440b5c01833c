// A server as an arm: each sample is one `crossover sample` process that sends one streaming request to an OpenAI-compatible URL.
#pragma once

#include <string>
#include <utility>

#include "bench/targets/target.h"

namespace crossover {

class EndpointTarget : public Target {
 public:
  // `salt` makes the nonces of this run unlike those of any other: a server outlives runs, and its prefix cache with it.
  // With environment_proxy requests go by way of the proxy that the samples' environment names.
  EndpointTarget(std::string salt, bool environment_proxy) : salt_(std::move(salt)), environment_proxy_(environment_proxy) {}

  // One request that is not measured, so that neither a wrong address nor a server's first request becomes a sample.
  // std::runtime_error where it fails.
  void prepare(const SampleRequest& request) override;
  std::vector<std::filesystem::path> files(const SampleRequest&) override { return {}; }
  Sample take(const SampleRequest& request) override;

 private:
  std::string salt_;
  bool environment_proxy_;
  int requests_ = 0;
};

std::string random_salt();  // 128 bits of the system's, hexadecimal

}  // namespace crossover
