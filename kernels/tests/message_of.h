#pragma once

#include <exception>
#include <string>

namespace crossover::test {

// Of the exception that `call` throws; empty when it throws none.
template <class Call>
std::string message_of(const Call& call) {
  try {
    call();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "";
}

}  // namespace crossover::test
