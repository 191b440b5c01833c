// How a parser may say no.
#pragma once

#include <cstdlib>
#include <stdexcept>
#include <string_view>

namespace crossover::fuzz {

// std::runtime_error and std::invalid_argument that say something; anything else ends the program.
template <typename Read>
void may_refuse(Read read) {
  const auto check = [](std::string_view text) {
    if (text.empty()) std::abort();
  };
  try {
    read();
  } catch (const std::runtime_error& error) {
    check(error.what());
  } catch (const std::invalid_argument& error) {
    check(error.what());
  }
}

}  // namespace crossover::fuzz
