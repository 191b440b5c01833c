// CUPTI, opened at run time, or why it is not there.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bench/profile/counters_api.h"
#include "bench/profile/cupti_api.h"

namespace crossover::cupti {

std::vector<std::string> usual_names();  // of the library, as dlopen takes them

class Library {
 public:
  // The first of `names` that opens, has every function we use and is of CUDA 12 or newer. It stays open: the driver calls into it.
  explicit Library(const std::vector<std::string>& names = usual_names());

  bool found() const { return why_.empty(); }
  const std::string& why() const { return why_; }    // one line; empty where it was found
  const std::string& path() const { return path_; }  // as it was asked for
  std::uint32_t version() const { return version_; }  // CUPTI_API_VERSION: 24 = CUDA 12.6, 130001 = CUDA 13.0
  const Api& api() const { return api_; }             // of a library that was found
  const CounterApi* counters() const { return why_no_counters_.empty() ? &counters_ : nullptr; }  // null where it lacks a function of them
  const std::string& why_no_counters() const { return why_no_counters_; }                        // one line; empty where there are

  // Tries what a trace needs: why the driver does not allow it, in one line that says what to do; empty where it does.
  std::string refusal() const;

 private:
  bool open(const std::string& name);

  Api api_{};
  CounterApi counters_{};
  std::string path_, why_, why_no_counters_ = "no CUPTI";
  std::uint32_t version_ = 0;
};

// "cuptiActivityEnable: insufficient privileges (35)", and what to do where that is known. As the library words it.
std::string describe(const Api& api, const char* call, Result result);

}  // namespace crossover::cupti
