#include "bench/page_tables.h"

#include <sstream>

namespace crossover {

std::string with_tables(const std::string& page, const std::function<std::string(const std::string& kind, const std::string& result)>& make,
                        int& tables) {
  std::istringstream in(page);
  std::string out;
  bool inside = false;
  for (std::string line; std::getline(in, line);) {
    if (line == "<!-- end -->") inside = false;
    if (!inside) out += line + "\n";
    std::istringstream words(line);
    std::string open, table, kind, name;
    if (!(words >> open >> table >> kind >> name) || open != "<!--" || table != "table") continue;
    out += "\n" + make(kind, name) + "\n";
    inside = true;
    ++tables;
  }
  return out;
}

}  // namespace crossover
