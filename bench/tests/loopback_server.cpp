#include "bench/tests/loopback_server.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <stdexcept>

#include "kernels/trace.h"

namespace crossover {

using nlohmann::json;

LoopbackServer::LoopbackServer(Handler handler) : handler_(std::move(handler)) {
  listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET, address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (listener_ < 0 || bind(listener_, generic, size) != 0 || listen(listener_, 16) != 0 || getsockname(listener_, generic, &size) != 0)
    throw std::runtime_error("the test's server cannot listen on 127.0.0.1");
  port_ = ntohs(address.sin_port);
  thread_ = std::thread([this] { serve(); });
}

LoopbackServer::~LoopbackServer() {
  stop_ = true;
  thread_.join();
  close(listener_);
}

std::string LoopbackServer::url() const { return fmt::format("http://127.0.0.1:{}/v1", port_); }

std::vector<LoopbackRequest> LoopbackServer::requests() const {
  const std::lock_guard lock(mutex_);
  return requests_;
}

bool LoopbackServer::wait_for(int descriptor, double seconds) const {
  for (const double end_s = monotonic_s() + seconds; !stop_ && monotonic_s() < end_s;) {
    pollfd watched{descriptor, POLLIN, 0};
    if (poll(&watched, 1, 10) > 0) return true;
  }
  return false;
}

bool LoopbackServer::send_all(int connection, const std::string& bytes) const {
  for (std::size_t done = 0; done < bytes.size();) {
    const ssize_t n = send(connection, bytes.data() + done, bytes.size() - done, MSG_NOSIGNAL);
    if (n <= 0) return false;
    done += static_cast<std::size_t>(n);
  }
  return true;
}

void LoopbackServer::serve() {
  while (!stop_) {
    if (!wait_for(listener_, 1)) continue;
    const int connection = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (connection < 0) continue;
    ++connections_;
    const int on = 1;
    setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    serve_connection(connection);
    close(connection);
  }
}

namespace {

// False while the request is not whole.
bool parse_request(const std::string& bytes, LoopbackRequest& request) {
  const std::size_t head = bytes.find("\r\n\r\n");
  if (head == std::string::npos) return false;
  const std::size_t space = bytes.find(' ');
  request.method = bytes.substr(0, space);
  request.path = bytes.substr(space + 1, bytes.find(' ', space + 1) - space - 1);
  for (std::size_t at = bytes.find("\r\n") + 2; at < head + 2;) {
    const std::size_t end = bytes.find("\r\n", at), colon = bytes.find(": ", at);
    std::string name = bytes.substr(at, colon - at);
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    request.headers[name] = bytes.substr(colon + 2, end - colon - 2);
    at = end + 2;
  }
  const auto length = request.headers.find("content-length");
  const std::size_t wanted = length == request.headers.end() ? 0 : std::stoul(length->second);
  request.body = bytes.substr(head + 4);
  return request.body.size() >= wanted;
}

}  // namespace

void LoopbackServer::serve_connection(int connection) {
  for (std::string bytes; !stop_;) {
    LoopbackRequest request;
    if (!parse_request(bytes, request)) {
      char block[65536];
      if (!wait_for(connection, 1)) continue;
      const ssize_t n = recv(connection, block, sizeof block, 0);
      if (n <= 0) return;
      bytes.append(block, static_cast<std::size_t>(n));
      continue;
    }
    bytes.clear();
    request.received_s = monotonic_s();
    {
      const std::lock_guard lock(mutex_);
      requests_.push_back(request);
    }
    const LoopbackReply reply = handler_(request);
    for (const LoopbackStep& step : reply.steps) {
      for (const double end_s = monotonic_s() + step.delay_s; !stop_ && monotonic_s() < end_s;)
        std::this_thread::sleep_for(std::chrono::duration<double>(std::min(0.01, std::max(0.0, end_s - monotonic_s()))));
      if (stop_ || !send_all(connection, step.bytes)) return;
    }
    if (reply.close) return;
  }
}

LoopbackReply plain_reply(const std::string& status, const std::string& body, const std::string& headers) {
  return {{{0, fmt::format("HTTP/1.1 {}\r\n{}Content-Length: {}\r\n\r\n{}", status, headers, body.size(), body)}}, false};
}

LoopbackReply stream_reply(const std::vector<LoopbackStep>& events) {
  LoopbackReply reply{{{0, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"}}, false};
  for (const LoopbackStep& event : events)
    reply.steps.push_back({event.delay_s, fmt::format("{:x}\r\n{}\r\n", event.bytes.size(), event.bytes)});
  reply.steps.push_back({0, "0\r\n\r\n"});
  return reply;
}

std::string event_of(const json& data) { return "data: " + data.dump() + "\n\n"; }

LoopbackReply token_reply(const LoopbackRequest& request, const TokenPlan& plan) {
  const json asked = json::parse(request.body);
  const bool chat = asked.contains("messages");
  std::vector<LoopbackStep> events;
  const auto choice = [&](const std::string& text, const json& finish) {
    json one{{"index", 0}, {"finish_reason", finish}};
    if (chat)
      one["delta"] = {{"content", text}};
    else
      one["text"] = text;
    return event_of({{"object", "chunk"}, {"choices", {one}}});
  };
  if (chat) events.push_back({0, event_of({{"choices", {{{"index", 0}, {"delta", {{"role", "assistant"}, {"content", ""}}}}}}})});
  for (int done = 0; done < plan.tokens; done += plan.tokens_in_event) {
    std::string text;
    for (int i = done; i < std::min(plan.tokens, done + plan.tokens_in_event); ++i) text += fmt::format(" t{}", i);
    events.push_back({done == 0 ? plan.first_s : plan.each_s * plan.tokens_in_event, choice(text, nullptr)});
  }
  events.push_back({0, choice("", "length")});
  if (!plan.usage.is_null()) {
    json usage = plan.usage;
    usage["prompt_tokens"] = 7, usage["completion_tokens"] = plan.tokens;
    events.push_back({0, event_of({{"choices", json::array()}, {"usage", usage}})});
  }
  events.push_back({0, "data: [DONE]\n\n"});
  return stream_reply(events);
}

}  // namespace crossover
