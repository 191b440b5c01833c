#include "bench/report/strip.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "bench/report/words.h"
#include "bench/sha256.h"

namespace crossover::report {

namespace {

using Json = nlohmann::ordered_json;

bool is_pointer_into_scenario(std::string_view text) {
  for (const std::string_view top : {"/workload/", "/arms/", "/plan/", "/expect/", "/limits/"})
    if (text.starts_with(top)) return true;
  return false;
}

bool is_path(std::string_view text) {
  return (text.starts_with('/') && text.size() > 1 && !is_pointer_into_scenario(text)) || text.starts_with("~/");
}

std::string_view last_component(std::string_view path) {
  while (path.size() > 1 && path.back() == '/') path.remove_suffix(1);
  const std::size_t slash = path.find_last_of('/');
  return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
}

// Whole words only: a host named "ab" must not be cut out of "table".
void replace_word(std::string& text, std::string_view word, std::string_view to) {
  const auto is_word = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; };
  for (std::size_t at = text.find(word); at != std::string::npos; at = text.find(word, at)) {
    const std::size_t end = at + word.size();
    const bool whole = (at == 0 || !is_word(text[at - 1])) && (end == text.size() || !is_word(text[end]));
    if (whole) text.replace(at, word.size(), to);
    at += whole ? to.size() : 1;
  }
}

// With CPU and memory in it, a list of likely host names does not lead back to the name.
std::string machine_hash(const Json& environment) {
  std::string text;
  for (const char* part : {"host", "cpu", "memory"})
    if (environment.contains(part)) text += environment[part].dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  return "machine-" + sha256_text(text).substr(0, 8);
}

class Stripper {
 public:
  explicit Stripper(const Json& result) {
    if (const auto environment = result.find("environment"); environment != result.end() && environment->is_object())
      if (const auto host = environment->find("host"); host != environment->end() && host->is_string())
        host_ = host->get<std::string>(), machine_ = machine_hash(*environment);
    collect(result);
    // Longest first, so that a folder inside another goes as a whole.
    std::sort(folders_.begin(), folders_.end(), [](const auto& x, const auto& y) { return x.size() > y.size(); });
    folders_.erase(std::unique(folders_.begin(), folders_.end()), folders_.end());
  }

  const std::string& machine() const { return machine_; }

  void strip(Json& value) const {
    if (value.is_string()) {
      value = stripped(value.get<std::string>());
    } else if (value.is_array()) {
      for (Json& item : value) strip(item);
    } else if (value.is_object()) {
      Json object = Json::object();
      for (auto& [key, item] : value.items()) {
        // {"json": "/0/avg_ts"}: a pointer into another program's output.
        if (!(key == "json" && item.is_string())) strip(item);
        object[scanned(is_path(key) ? last_component(key) : key)] = std::move(item);
      }
      value = std::move(object);
    }
  }

 private:
  // Folders of strings that are paths as a whole: these may hold spaces, which a scan of a message would stop at.
  void collect(const Json& value) {
    if (value.is_string()) {
      const std::string& text = value.get_ref<const std::string&>();
      if (is_path(text) && text.size() <= 4096 && folders_.size() < 1000)
        if (const std::size_t slash = text.find_last_of('/'); slash > 0) folders_.push_back(text.substr(0, slash + 1));
    } else if (value.is_structured()) {
      for (const Json& item : value) collect(item);
    }
  }

  std::string stripped(const std::string& text) const {
    if (is_path(text) && text.find('\n') == std::string::npos) return std::string(last_component(text));
    std::string result = text;
    for (const std::string& folder : folders_) replace_all(result, folder, "");
    result = scanned(result);
    if (!host_.empty()) replace_word(result, host_, machine_);
    return result;
  }

  // Paths and addresses in the middle of a text.
  static std::string scanned(std::string_view text) {
    static constexpr std::string_view kEnd = " \t\n\r\"'`,;:()[]{}<>|";
    std::string result;
    for (std::size_t i = 0, word = 0; i < text.size();) {
      if (i > 0 && kEnd.find(text[i - 1]) != std::string_view::npos) word = i;
      const std::string_view before = text.substr(word, i - word);
      // "/x", "name=/x" and the compiler's "-I/x" start a path; "tok/s" and "a/b" do not.
      const bool starts = before.empty() || before.back() == '=' ||
                          (before.front() == '-' && before.size() < 256 && before.find('/') == std::string_view::npos);
      if (text.substr(i).starts_with("://")) {
        const std::size_t end = std::min(text.find_first_of(" \t\n\r\"'`,;()[]{}<>|", i + 3), text.size());
        const std::size_t slash = std::min(text.find('/', i + 3), end);
        result += "://host";
        i = slash;
        result += text.substr(i, end - i), i = end;
      } else if (starts && (text[i] == '/' || text.substr(i).starts_with("~/"))) {
        const std::size_t end = std::min(text.find_first_of(kEnd, i), text.size());
        const std::string_view path = text.substr(i, end - i);
        result += is_path(path) ? last_component(path) : path;
        i = end;
      } else {
        result += text[i++];
      }
    }
    return result;
  }

  std::string host_, machine_;
  std::vector<std::string> folders_;
};

}  // namespace

void strip_private(Json& result) {
  const Stripper stripper(result);
  stripper.strip(result);
  if (!result.contains("environment") || !result["environment"].is_object() || !result["environment"].contains("host")) return;
  result["environment"].erase("host");
  result["environment"]["machine"] = stripper.machine();
}

namespace {

// Phases whose name starts with `group`; parents are indices into the list.
void keep_phases(Json& sample, const std::string& group) {
  if (!sample.contains("phases") || !sample["phases"].is_array()) return;
  Json kept = Json::array();
  std::vector<int> moved_to;
  for (Json& phase : sample["phases"]) {
    const bool wanted = phase.is_object() && phase.value("name", Json()).is_string() && phase["name"].get<std::string>().starts_with(group);
    moved_to.push_back(wanted ? static_cast<int>(kept.size()) : -1);
    if (!wanted) continue;
    const Json parent = phase.value("parent", Json());
    const bool known = parent.is_number_integer() && parent >= 0 && parent < moved_to.size();
    phase["parent"] = known ? moved_to[parent.get<std::size_t>()] : -1;
    kept.push_back(std::move(phase));
  }
  sample["phases"] = std::move(kept);
}

// Rows keep their places: those before the kept one are empty, those behind it are gone.
void keep_row(Json& sample, std::size_t row) {
  Json& rows = sample["top_logits"];
  if (!rows.is_array() || rows.size() <= row) return void(sample.erase("top_logits"));
  rows.erase(rows.begin() + static_cast<std::ptrdiff_t>(row) + 1, rows.end());
  for (std::size_t i = 0; i < row; ++i) rows[i] = Json::object();
}

std::size_t first_unlike(const Json& a, const Json& b) {
  std::size_t i = 0;
  if (!a.is_array() || !b.is_array()) return i;
  while (i < a.size() && i < b.size() && a[i] == b[i]) ++i;
  return i;
}

void thin_logits(Json& samples) {
  std::map<std::string, std::vector<Json*>> pairs;
  for (Json& sample : samples) {
    if (!sample.is_object() || !sample.contains("top_logits")) continue;
    if (sample.value("control", Json()) == true) sample.erase("top_logits");
    else pairs[sample.value("cell", Json()).dump() + "/" + sample.value("pair", Json()).dump()].push_back(&sample);
  }
  for (auto& [key, both] : pairs) {
    const bool whole = both.size() == 2;
    const Json a = whole ? both[0]->value("output_tokens", Json()) : Json(), b = whole ? both[1]->value("output_tokens", Json()) : Json();
    for (Json* sample : both) {
      if (!whole || a == b) sample->erase("top_logits");
      else keep_row(*sample, first_unlike(a, b));
    }
  }
}

// Metrics of single phases but the primary: in the samples and in what was computed of them.
void drop_parts(Json& result, const std::string& primary) {
  const auto drop = [&](Json& holder) {
    if (!holder.is_object() || !holder.contains("metrics") || !holder["metrics"].is_object()) return;
    Json kept = Json::object();
    for (auto& [name, value] : holder["metrics"].items())
      if (name == primary || !is_part(name)) kept[name] = std::move(value);
    holder["metrics"] = std::move(kept);
  };
  for (Json& sample : result["samples"]) drop(sample);
  Json& analysis = result["analysis"];
  if (analysis.is_array())
    for (Json& cell : analysis) drop(cell);
}

std::string line_of(const Json& result) { return result.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n"; }

}  // namespace

std::string kept_copy(Json result) {
  std::string primary;
  if (result.contains("plan") && result["plan"].is_object() && result["plan"].contains("primary") && result["plan"]["primary"].is_string())
    primary = result["plan"]["primary"].get<std::string>();
  const std::string group = primary.substr(0, primary.find('.'));
  Json& samples = result["samples"];
  for (Json& sample : samples) {
    if (!sample.is_object()) continue;
    sample.erase("timeline");
    keep_phases(sample, group);
  }
  thin_logits(samples);
  std::string text = line_of(result);
  for (const char* part : {"series", "phases", "counters", "knobs", "output_tokens"}) {
    if (text.size() <= kKeptBytes) break;
    for (Json& sample : samples)
      if (sample.is_object()) sample.erase(part);
    result["thinned"].push_back(part);
    text = line_of(result);
  }
  if (text.size() <= kKeptBytes) return text;
  drop_parts(result, primary);
  result["thinned"].push_back("metrics of single phases");
  return line_of(result);
}

}  // namespace crossover::report
