// Server-sent events (WHATWG HTML, "Server-sent events", 9.2.6) out of bytes that arrive in pieces of any size.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace crossover {

struct ServerEvent {
  double time_s = 0;  // of the piece that completed it
  std::string name;   // of its `event` field; "error" for a line of the field `error`, as some servers write it; else empty
  std::string data;   // its data lines, joined by line feeds
};

class EventStream {
 public:
  explicit EventStream(std::size_t max_event_bytes) : max_event_bytes_(max_event_bytes) {}

  // Appends what `bytes` complete. Lines end with LF, CRLF or CR; comments and unknown fields are skipped; an event without data is
  // none. std::runtime_error when one event or line is longer than max_event_bytes. Time is linear in the bytes.
  void add(std::string_view bytes, double time_s, std::vector<ServerEvent>& events);

  // The stream has ended: what an empty line would still have completed.
  void finish(double time_s, std::vector<ServerEvent>& events);

 private:
  void append(std::string_view part);
  void end_line(double time_s, std::vector<ServerEvent>& events);

  std::size_t max_event_bytes_;
  std::string line_;
  ServerEvent event_;
  bool has_data_ = false, after_return_ = false, first_line_ = true;
};

}  // namespace crossover
