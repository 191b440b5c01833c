#define PCRE2_CODE_UNIT_WIDTH 8
#include "engine/text/splitter.h"

#include <fmt/format.h>
#include <pcre2.h>

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <stdexcept>

#include "engine/text/unicode_ranges.h"

namespace crossover {
namespace {

constexpr std::string_view kWithMarks =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kWithoutMarks =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr CodeRange kSpaces[] = {{0x09, 0x0D},     {0x20, 0x20},     {0x85, 0x85},     {0xA0, 0xA0},
                                 {0x1680, 0x1680}, {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F},
                                 {0x205F, 0x205F}, {0x3000, 0x3000}};
constexpr CodeRange kLineBreaks[] = {{0x0A, 0x0A}, {0x0D, 0x0D}};
constexpr std::size_t kJitStackBytes = std::size_t{1} << 20;

// The inside of a bracket expression: the union of the sets, as few ranges as it can be.
std::string class_text(std::initializer_list<std::span<const CodeRange>> sets) {
  std::vector<CodeRange> ranges;
  for (const auto& set : sets) ranges.insert(ranges.end(), set.begin(), set.end());
  std::sort(ranges.begin(), ranges.end(), [](CodeRange a, CodeRange b) { return a.first < b.first; });
  std::string text;
  for (std::size_t i = 0; i < ranges.size();) {
    const std::uint32_t first = ranges[i].first;
    std::uint32_t last = ranges[i].last;
    while (++i < ranges.size() && ranges[i].first <= last + 1) last = std::max<std::uint32_t>(last, ranges[i].last);
    text += fmt::format(R"(\x{{{:x}}}-\x{{{:x}}})", first, last);
  }
  return text;
}

// The pattern with every class written out, and the contractions without a case option: of their letters only s has a
// third form, the long s U+017F.
std::string written_out(bool marks) {
  const auto letters = letter_ranges(), numbers = number_ranges();
  const auto also = marks ? mark_ranges() : std::span<const CodeRange>();
  const std::string space = class_text({kSpaces});
  return fmt::format(
      R"('(?:[sS\x{{17f}}]|[tT]|[rR][eE]|[vV][eE]|[mM]|[lL][lL]|[dD])|[^{0}]?[{1}]+|[{2}]|\x20?[^{3}]+[\r\n]*|[{4}]*[\r\n]+|[{4}]+(?![^{4}])|[{4}]+)",
      class_text({kLineBreaks, letters, numbers}), class_text({letters, also}), class_text({numbers}),
      class_text({kSpaces, letters, also, numbers}), space);
}

struct FreeMatch {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
  void operator()(pcre2_jit_stack* stack) const { pcre2_jit_stack_free(stack); }
};

// What one call of split needs besides the compiled pattern.
struct Matcher {
  std::unique_ptr<pcre2_match_data, FreeMatch> data;
  std::unique_ptr<pcre2_match_context, FreeMatch> context{pcre2_match_context_create(nullptr)};
  std::unique_ptr<pcre2_jit_stack, FreeMatch> stack{pcre2_jit_stack_create(32 * 1024, kJitStackBytes, nullptr)};

  explicit Matcher(const pcre2_code* code) : data(pcre2_match_data_create_from_pattern(code, nullptr)) {
    if (!data || !context) throw std::bad_alloc();
    // A megabyte of blanks takes a backtracking step each: the default limits are for patterns that are not trusted.
    pcre2_set_match_limit(context.get(), UINT32_MAX);
    pcre2_set_depth_limit(context.get(), UINT32_MAX);
    pcre2_set_heap_limit(context.get(), UINT32_MAX);
    if (stack) pcre2_jit_stack_assign(context.get(), nullptr, stack.get());
  }
};

}  // namespace

std::string_view split_pattern(bool marks) { return marks ? kWithMarks : kWithoutMarks; }

Splitter::Splitter(std::string_view pattern) {
  if (pattern != kWithMarks && pattern != kWithoutMarks)
    throw std::runtime_error(fmt::format(
        "unknown split pattern {:.300} ({} bytes); known are that of Qwen3.5/3.6 and that of Qwen2/Qwen3-Next", pattern,
        pattern.size()));
  const std::string text = written_out(pattern == kWithMarks);
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), PCRE2_UTF | PCRE2_ANCHORED,
                                   &error, &offset, nullptr);
  if (!code) throw std::runtime_error(fmt::format("PCRE2 refuses the split pattern at {}: error {}", offset, error));
  code_ = std::shared_ptr<const void>(
      code, [](const void* p) { pcre2_code_free(const_cast<pcre2_code*>(static_cast<const pcre2_code*>(p))); });
  // Without just-in-time code (a build or a kernel that forbids it) matching is slower and its result the same.
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
}

std::vector<std::string_view> Splitter::split(std::string_view text) const {
  const auto* code = static_cast<const pcre2_code*>(code_.get());
  const Matcher matcher(code);
  std::vector<std::string_view> pieces;
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  for (std::size_t at = 0; at < text.size();) {
    const int found =
        pcre2_match(code, subject, text.size(), at, PCRE2_NO_UTF_CHECK, matcher.data.get(), matcher.context.get());
    const std::size_t end = found > 0 ? pcre2_get_ovector_pointer(matcher.data.get())[1] : at;
    if (end <= at)
      throw std::runtime_error(fmt::format("splitting the text failed at byte {}: PCRE2 error {}", at, found));
    pieces.push_back(text.substr(at, end - at));
    at = end;
  }
  return pieces;
}

}  // namespace crossover
