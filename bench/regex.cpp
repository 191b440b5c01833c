#include "bench/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>

#include <memory>
#include <stdexcept>

namespace crossover {

namespace {

struct FreeCode { void operator()(pcre2_code* code) const { pcre2_code_free(code); } };
struct FreeMatch { void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); } };
using Code = std::unique_ptr<pcre2_code, FreeCode>;

Code compile(const std::string& pattern) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  Code code(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), PCRE2_MULTILINE, &error, &offset, nullptr));
  if (code) return code;
  PCRE2_UCHAR message[200] = {};
  pcre2_get_error_message(error, message, sizeof message);
  throw std::invalid_argument(
      fmt::format("regex '{}' is wrong at character {}: {}", pattern, offset, reinterpret_cast<const char*>(message)));
}

}  // namespace

void check_pattern(const std::string& pattern) { compile(pattern); }

std::optional<std::string> last_match(const std::string& pattern, std::string_view text) {
  const Code code = compile(pattern);
  const std::unique_ptr<pcre2_match_data, FreeMatch> match(pcre2_match_data_create_from_pattern(code.get(), nullptr));
  std::optional<std::string> last;
  for (std::size_t start = 0; start <= text.size();) {
    const int groups =
        pcre2_match(code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), start, 0, match.get(), nullptr);
    if (groups == PCRE2_ERROR_NOMATCH) break;
    if (groups < 0) throw std::runtime_error(fmt::format("regex '{}' takes too many steps on this output; make it simpler", pattern));
    const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(match.get());
    const std::size_t group = groups > 1 && ends[2] != PCRE2_UNSET ? 2 : 0;
    last = std::string(text.substr(ends[group], ends[group + 1] - ends[group]));
    start = ends[1] > ends[0] ? ends[1] : ends[1] + 1;  // an empty match must not be found again
  }
  return last;
}

}  // namespace crossover
