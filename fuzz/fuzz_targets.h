// One function for each parser of what somebody else wrote. Anything but its answer or an error that says why is a defect: an exception
// of another kind, memory far beyond the size of the input, a hang, or what a sanitizer finds.
#pragma once

#include <string_view>

namespace crossover::fuzz {

void scenario(std::string_view input);     // a scenario file, and its plan
void result(std::string_view input);       // a result file, and its report
void journal(std::string_view input);      // a journal that is to be continued
void metrics(std::string_view input);      // a line with a regex or a JSON pointer, then what a program printed
void safetensors(std::string_view input);  // a safetensors header
void gguf(std::string_view input);         // a GGUF file without its weights: header, model, tokenizer
void config(std::string_view input);       // config.json of a checkpoint
void tokenizer(std::string_view input);    // a tokenizer.json, a zero byte, then a text to encode

struct Target {
  const char* name;  // of its corpus too
  void (*run)(std::string_view input);
};
inline constexpr Target kTargets[] = {{"scenario", scenario}, {"result", result},           {"journal", journal},
                                      {"metrics", metrics},   {"safetensors", safetensors}, {"gguf", gguf},
                                      {"config", config},     {"tokenizer", tokenizer}};

}  // namespace crossover::fuzz
