#include "bench/targets/event_stream.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

namespace crossover {

void EventStream::append(std::string_view part) {
  if (line_.size() + part.size() + event_.data.size() > max_event_bytes_)
    throw std::runtime_error(fmt::format("an event of the stream is longer than {} bytes", max_event_bytes_));
  line_ += part;
}

void EventStream::end_line(double time_s, std::vector<ServerEvent>& events) {
  constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
  if (first_line_ && line_.starts_with(kByteOrderMark)) line_.erase(0, kByteOrderMark.size());
  first_line_ = false;
  if (line_.empty()) {
    event_.time_s = time_s;
    if (has_data_) events.push_back(std::move(event_));
    event_ = {}, has_data_ = false;
    return;
  }
  const std::size_t colon = std::min(line_.find(':'), line_.size());
  const std::string_view field = std::string_view(line_).substr(0, colon);
  std::string_view value = std::string_view(line_).substr(std::min(colon + 1, line_.size()));
  if (value.starts_with(' ')) value.remove_prefix(1);
  if (field == "event") event_.name = value;
  if (field == "error") event_.name = field;
  if (field == "data" || field == "error") {
    if (has_data_) event_.data += '\n';
    event_.data += value;
    has_data_ = true;
  }
  line_.clear();
}

void EventStream::add(std::string_view bytes, double time_s, std::vector<ServerEvent>& events) {
  while (!bytes.empty()) {
    if (after_return_ && bytes[0] == '\n') bytes.remove_prefix(1);  // the CR before it has ended the line
    after_return_ = false;
    const std::size_t end = bytes.find_first_of("\r\n");
    append(bytes.substr(0, end));
    if (end == std::string_view::npos) return;
    after_return_ = bytes[end] == '\r';
    bytes.remove_prefix(end + 1);
    end_line(time_s, events);
  }
}

void EventStream::finish(double time_s, std::vector<ServerEvent>& events) {
  if (!line_.empty()) end_line(time_s, events);
  end_line(time_s, events);
}

}  // namespace crossover
