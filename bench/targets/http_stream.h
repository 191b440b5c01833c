// One POST whose answer is a stream, with the times that matter. The home of libcurl.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "bench/targets/completion.h"

namespace crossover {

struct HttpRequest {
  std::string url;                   // http or https
  std::vector<std::string> headers;  // "Name: value"
  std::string body;
  std::string ca_file;  // trusted certificates, PEM; empty = the system's
  double connect_timeout_s = 10;
  double idle_timeout_s = 60;      // longest wait for the next byte once the request is on its way
  std::string end_mark;            // a line that begins with it is the last: no long wait for the end of the exchange after it
  bool environment_proxy = false;  // what http_proxy and its like name; else the way is direct
  std::size_t max_bytes = std::size_t{256} << 20;
};

struct HttpAnswer {
  int status = 0;                     // 0 = none came
  std::string location;               // of a redirection, which is not followed
  std::vector<ReceivedPiece> pieces;  // of the body, as they arrived
  double connect_s = 0;               // name look-up, TCP and TLS
  double submitted_s = 0;             // monotonic clock: the connection stood and the request's first byte was about to go; 0 = never
  std::string trouble;                // why the exchange did not end well; empty when it did
};

// HTTP/1.1 on a connection of its own, uncompressed, redirections not followed. `phase` hears "connect", "first byte", "stream".
// std::invalid_argument for what libcurl does not accept as URL or header.
HttpAnswer post_stream(const HttpRequest& request, const std::function<void(const std::string&)>& phase);

std::string http_library();  // "libcurl 7.88.1, OpenSSL/3.0.15"

}  // namespace crossover
