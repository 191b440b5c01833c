#include "bench/report/read_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <utility>
#include <vector>

namespace crossover::report {

namespace {

constexpr std::size_t kDepthLimit = 64;                 // real files use ten levels
constexpr std::uintmax_t kFileLimitBytes = 512u << 20;  // a week of samples stays far below
constexpr std::size_t kFieldLimit = 20'000;             // of one object: finding one walks over all

// Makes the document from what the parser meets. The library's own, where it is to leave something out, walks over all
// elements before an object at its end: a minute for a million samples.
class Builder : public nlohmann::json_sax<Json> {
 public:
  Builder(const std::string& skipped, Json& root) : skipped_(skipped), root_(root) {}

  bool null() override { return put(nullptr); }
  bool boolean(bool value) override { return put(value); }
  bool number_integer(number_integer_t value) override { return put(value); }
  bool number_unsigned(number_unsigned_t value) override { return put(value); }
  bool number_float(number_float_t value, const string_t&) override { return put(value); }
  bool string(string_t& value) override { return put(std::move(value)); }
  bool binary(binary_t&) override { return put(nullptr); }  // there is none in text
  bool start_object(std::size_t) override { return open(Json::object()); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    if (skipped_depth_ > 0) return true;
    if (++open_.back().fields > kFieldLimit)
      throw std::runtime_error(fmt::format("an object has more than {} fields", kFieldLimit));
    skips_next_ = !skipped_.empty() && name == skipped_;
    key_ = std::move(name);
    return true;
  }

  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception& error) override {
    throw std::runtime_error(error.what());
  }

 private:
  struct Open {
    Json* value;
    std::size_t fields;
  };

  bool skips() const { return skips_next_ || skipped_depth_ > 0; }

  Json* place(Json value) {
    if (open_.empty()) return &(root_ = std::move(value));
    Json& parent = *open_.back().value;
    if (parent.is_object()) return &(parent[key_] = std::move(value));
    parent.push_back(std::move(value));
    return &parent.back();
  }

  bool put(Json value) {
    if (!skips())
      place(std::move(value));
    else if (skipped_depth_ == 0)
      skips_next_ = false;
    return true;
  }

  bool open(Json empty) {
    if (open_.size() + skipped_depth_ > kDepthLimit)
      throw std::runtime_error(fmt::format("it is nested more than {} deep", kDepthLimit));
    if (skips())
      ++skipped_depth_;
    else
      open_.push_back({place(std::move(empty)), 0});
    return true;
  }

  bool close() {
    if (skipped_depth_ == 0)
      open_.pop_back();
    else if (--skipped_depth_ == 0)
      skips_next_ = false;
    return true;
  }

  const std::string& skipped_;
  Json& root_;
  std::vector<Open> open_;
  std::string key_;
  bool skips_next_ = false;
  std::size_t skipped_depth_ = 0;  // of what is open inside the value that is left out
};

}  // namespace

const Json& member(const Json& object, const char* key) {
  static const Json kNothing;
  if (!object.is_object()) return kNothing;
  const auto found = object.find(key);
  return found == object.end() ? kNothing : *found;
}

std::string text_of(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_null()) return "";
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string text(const Json& object, const char* key) { return text_of(member(object, key)); }

std::optional<double> optional_number(const Json& value) {
  if (!value.is_number()) return std::nullopt;
  const double number = value.get<double>();
  return std::isfinite(number) ? std::optional(number) : std::nullopt;
}

std::optional<double> number(const Json& object, const char* key) { return optional_number(member(object, key)); }

long whole(const Json& object, const char* key) {
  const double value = number(object, key).value_or(0);
  return std::abs(value) < 1e9 ? static_cast<long>(value) : 0;
}

std::optional<Interval> interval(const Json& object, const char* key) {
  const Json& pair = member(object, key);
  if (!pair.is_array() || pair.size() != 2) return std::nullopt;
  const auto low = optional_number(pair[0]), high = optional_number(pair[1]);
  if (!low || !high) return std::nullopt;
  return Interval{*low, *high};
}

void flatten(const Json& value, const std::string& name, std::vector<Fact>& facts) {
  if (value.is_object()) {
    for (const auto& [key, item] : value.items()) flatten(item, name.empty() ? key : name + "." + key, facts);
  } else if (value.is_array() && std::none_of(value.begin(), value.end(), [](const Json& item) { return item.is_structured(); })) {
    std::string line;
    for (const Json& item : value) line += (line.empty() ? "" : ", ") + text_of(item);
    facts.push_back({name, line});
  } else if (value.is_array()) {
    for (std::size_t i = 0; i < value.size(); ++i) {
      const std::string own = text(value[i], value[i].contains("metric") ? "metric" : "name");
      flatten(value[i], name + "." + (own.empty() ? std::to_string(i) : own), facts);
    }
  } else if (const std::string text = text_of(value); !text.empty()) {
    facts.push_back({name, text});
  }
}

Json parse_bounded(const std::filesystem::path& file, const std::string& skipped) {
  std::error_code failed;
  const std::uintmax_t bytes = std::filesystem::file_size(file, failed);
  if (failed) throw std::runtime_error(failed.message());
  if (bytes > kFileLimitBytes) throw std::runtime_error(fmt::format("it has {} bytes, at most {} are read", bytes, kFileLimitBytes));
  std::ifstream stream(file, std::ios::binary);
  if (!stream) throw std::runtime_error("it cannot be opened");
  Json root;
  Builder builder(skipped, root);
  Json::sax_parse(stream, &builder);
  return root;
}

}  // namespace crossover::report
