#include "bench/targets/http_stream.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <memory>
#include <new>
#include <stdexcept>
#include <string_view>
#include <utility>

#include "kernels/trace.h"

namespace crossover {

namespace {

struct Library {
  Library() {
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0) throw std::runtime_error("libcurl could not be initialised");
  }
  ~Library() { curl_global_cleanup(); }
};

// What the callbacks of one exchange share.
struct Exchange {
  const HttpRequest& request;
  const std::function<void(const std::string&)>& phase;
  HttpAnswer answer;
  double started_s = 0, heard_s = 0;
  std::size_t bytes = 0;
  bool too_long = false, marked = false;
  std::exception_ptr thrown;  // may not pass through libcurl
};

bool has_line(std::string_view piece, const std::string& beginning) {
  return !beginning.empty() && (piece.starts_with(beginning) || piece.find("\n" + beginning) != std::string_view::npos);
}

int on_connected(void* user, char*, char*, int, int) {
  Exchange& exchange = *static_cast<Exchange*>(user);
  exchange.answer.connect_s = monotonic_s() - exchange.started_s;
  try {
    exchange.phase("first byte");
  } catch (...) {
    exchange.thrown = std::current_exception();
    return CURL_PREREQFUNC_ABORT;
  }
  exchange.heard_s = exchange.answer.submitted_s = monotonic_s();
  return CURL_PREREQFUNC_OK;
}

std::size_t on_body(char* data, std::size_t one, std::size_t size, void* user) {
  const double now_s = monotonic_s();
  Exchange& exchange = *static_cast<Exchange*>(user);
  size *= one;
  exchange.heard_s = now_s;
  exchange.bytes += size;
  exchange.too_long = exchange.bytes > exchange.request.max_bytes;
  if (exchange.too_long) return 0;
  exchange.marked = exchange.marked || has_line(std::string_view(data, size), exchange.request.end_mark);
  try {
    if (exchange.answer.pieces.empty()) exchange.phase("stream");
    exchange.answer.pieces.push_back({now_s, std::string(data, size)});
  } catch (...) {
    exchange.thrown = std::current_exception();
    return 0;
  }
  return size;
}

using Easy = std::unique_ptr<CURL, void (*)(CURL*)>;
using Multi = std::unique_ptr<CURLM, CURLMcode (*)(CURLM*)>;
using Headers = std::unique_ptr<curl_slist, void (*)(curl_slist*)>;

Headers header_list(const std::vector<std::string>& headers) {
  Headers list(nullptr, curl_slist_free_all);
  for (const std::string& header : headers) {
    curl_slist* longer = curl_slist_append(list.get(), header.c_str());
    if (!longer) throw std::bad_alloc();
    if (!list) list.reset(longer);
  }
  return list;
}

template <typename Value>
void set(CURL* curl, CURLoption option, Value value, const char* what) {
  const CURLcode code = curl_easy_setopt(curl, option, value);
  if (code != CURLE_OK) throw std::invalid_argument(fmt::format("libcurl refuses the {}: {}", what, curl_easy_strerror(code)));
}

void configure(CURL* curl, Exchange& exchange, curl_slist* headers, char* trouble) {
  const HttpRequest& request = exchange.request;
  set(curl, CURLOPT_ERRORBUFFER, trouble, "error buffer");
  set(curl, CURLOPT_PROTOCOLS_STR, "http,https", "protocols");
  set(curl, CURLOPT_URL, request.url.c_str(), "url");
  set(curl, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1), "HTTP version");
  set(curl, CURLOPT_FRESH_CONNECT, 1L, "fresh connection");
  set(curl, CURLOPT_HTTPHEADER, headers, "headers");
  set(curl, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()), "body");
  set(curl, CURLOPT_POSTFIELDS, request.body.c_str(), "body");
  set(curl, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(request.connect_timeout_s * 1000), "connect_timeout_s");
  if (!request.environment_proxy) set(curl, CURLOPT_PROXY, "", "proxy");  // empty: not even the environment's
  if (!request.ca_file.empty()) set(curl, CURLOPT_CAINFO, request.ca_file.c_str(), "ca_file");
  set(curl, CURLOPT_PREREQFUNCTION, &on_connected, "callback");
  set(curl, CURLOPT_PREREQDATA, static_cast<void*>(&exchange), "callback");
  set(curl, CURLOPT_WRITEFUNCTION, &on_body, "callback");
  set(curl, CURLOPT_WRITEDATA, static_cast<void*>(&exchange), "callback");
}

void expect_ok(CURLMcode code) {
  if (code != CURLM_OK) throw std::runtime_error(fmt::format("libcurl: {}", curl_multi_strerror(code)));
}

// Until the exchange has ended or nothing came for too long. Returns the latter's sentence.
std::string transfer(CURLM* multi, Exchange& exchange) {
  constexpr double kLongestPoll_s = 0.1, kEndGrace_s = 0.2;
  const double idle_s = exchange.request.idle_timeout_s;
  for (int running = 1;;) {
    expect_ok(curl_multi_perform(multi, &running));
    if (running == 0) return "";
    double wait_s = kLongestPoll_s;
    if (exchange.answer.submitted_s > 0) {  // before that connect_timeout_s counts
      const double left_s = exchange.heard_s + idle_s - monotonic_s();
      if (exchange.marked && idle_s - left_s > kEndGrace_s) return "";
      if (left_s <= 0) return fmt::format("no byte came for {} s (idle_timeout_s)", idle_s);
      wait_s = std::min(wait_s, left_s);
    }
    expect_ok(curl_multi_poll(multi, nullptr, 0, 1 + static_cast<int>(wait_s * 1000), nullptr));
  }
}

CURLcode result_of(CURLM* multi) {
  int left = 0;
  const CURLMsg* message = curl_multi_info_read(multi, &left);
  return message && message->msg == CURLMSG_DONE ? message->data.result : CURLE_OK;
}

void read_status(CURL* curl, HttpAnswer& answer) {
  long status = 0;
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
  answer.status = static_cast<int>(status);
  const char* location = nullptr;
  curl_easy_getinfo(curl, CURLINFO_REDIRECT_URL, &location);
  if (location) answer.location = location;
}

}  // namespace

HttpAnswer post_stream(const HttpRequest& request, const std::function<void(const std::string&)>& phase) {
  static const Library library;
  const Easy curl(curl_easy_init(), curl_easy_cleanup);
  const Multi multi(curl_multi_init(), curl_multi_cleanup);
  if (!curl || !multi) throw std::bad_alloc();
  const Headers headers = header_list(request.headers);
  char trouble[CURL_ERROR_SIZE] = "";
  Exchange exchange{request, phase, {}, 0, 0, 0, false, false, nullptr};
  configure(curl.get(), exchange, headers.get(), trouble);
  phase("connect");
  exchange.started_s = monotonic_s();
  expect_ok(curl_multi_add_handle(multi.get(), curl.get()));
  exchange.answer.trouble = transfer(multi.get(), exchange);
  if (exchange.thrown) std::rethrow_exception(exchange.thrown);
  const CURLcode code = result_of(multi.get());
  read_status(curl.get(), exchange.answer);
  if (exchange.too_long)
    exchange.answer.trouble = fmt::format("the answer is longer than {} bytes", request.max_bytes);
  else if (code != CURLE_OK)
    exchange.answer.trouble = *trouble ? trouble : curl_easy_strerror(code);
  expect_ok(curl_multi_remove_handle(multi.get(), curl.get()));
  return std::move(exchange.answer);
}

std::string http_library() {
  const curl_version_info_data* info = curl_version_info(CURLVERSION_NOW);
  return fmt::format("libcurl {}, {}", info->version, info->ssl_version ? info->ssl_version : "without TLS");
}

}  // namespace crossover
