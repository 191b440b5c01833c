// An HTTP server on 127.0.0.1 in a thread of the test: it does what its handler says, byte by byte and at planned times.
#pragma once

#include <nlohmann/json.hpp>

#include <atomic>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace crossover {

struct LoopbackRequest {
  std::string method, path, body;
  std::map<std::string, std::string> headers;  // names in lower case
  double received_s = 0;                       // monotonic clock, after the last byte
};

struct LoopbackStep {
  double delay_s = 0;
  std::string bytes;
};

struct LoopbackReply {
  std::vector<LoopbackStep> steps;  // each waits, then sends
  bool close = false;               // the connection, after the last step; else it serves another request
};

class LoopbackServer {
 public:
  using Handler = std::function<LoopbackReply(const LoopbackRequest&)>;
  explicit LoopbackServer(Handler handler);
  ~LoopbackServer();

  std::string url() const;  // "http://127.0.0.1:PORT/v1"
  std::vector<LoopbackRequest> requests() const;
  int connections() const { return connections_; }

 private:
  void serve();
  void serve_connection(int connection);
  bool wait_for(int descriptor, double seconds) const;  // true when it has bytes; false after that time or at the end of the server
  bool send_all(int connection, const std::string& bytes) const;

  Handler handler_;
  int listener_ = -1, port_ = 0;
  std::atomic<bool> stop_ = false;
  std::atomic<int> connections_ = 0;
  mutable std::mutex mutex_;
  std::vector<LoopbackRequest> requests_;
  std::thread thread_;
};

LoopbackReply plain_reply(const std::string& status, const std::string& body, const std::string& headers = "Content-Type: text/plain\r\n");

// 200, chunked, each step in a chunk of its own.
LoopbackReply stream_reply(const std::vector<LoopbackStep>& events);

std::string event_of(const nlohmann::json& data);  // "data: ...\n\n"

// A completions server's answer: the first token after first_s, the others each_s apart, then usage where asked for, then [DONE].
struct TokenPlan {
  int tokens = 4;
  double first_s = 0, each_s = 0;
  int tokens_in_event = 1;
  nlohmann::json usage = nlohmann::json::object();  // fields beside the counts; null = no usage at all
};
LoopbackReply token_reply(const LoopbackRequest& request, const TokenPlan& plan);

}  // namespace crossover
