// A build without libcurl (CMake: CROSSOVER_HTTP).
#include <stdexcept>

#include "bench/targets/http_stream.h"

namespace crossover {

HttpAnswer post_stream(const HttpRequest& request, const std::function<void(const std::string&)>&) {
  throw std::runtime_error(request.url + ": this crossover was built without libcurl; build it with -DCROSSOVER_HTTP=ON to measure endpoints");
}

std::string http_library() { return "none: built without libcurl"; }

}  // namespace crossover
