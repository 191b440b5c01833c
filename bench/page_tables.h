// Tables inside a page of reports/: between "<!-- table KIND RESULT -->" and "<!-- end -->" stands what is made of results/RESULT.json.
#pragma once

#include <functional>
#include <string>

namespace crossover {

// The page with every table made anew by `make`; `tables` counts them.
std::string with_tables(const std::string& page, const std::function<std::string(const std::string& kind, const std::string& result)>& make, int& tables);

}  // namespace crossover
