// Functions of libraries that are opened at run time.
#pragma once

#include <dlfcn.h>

#include <string>

namespace crossover {

// Null where the library has none of that name; `missing` then becomes the symbol, unless another one is missing already.
template <class Function>
void find_function(void* library, const char* symbol, Function*& function, std::string& missing) {
  function = reinterpret_cast<Function*>(::dlsym(library, symbol));
  if (!function && missing.empty()) missing = symbol;
}

}  // namespace crossover
