#include <sstream>

#include "bench/report/page.h"
#include "fuzz/fuzz_targets.h"
#include "fuzz/input_file.h"
#include "fuzz/refusal.h"

namespace crossover::fuzz {

void result(std::string_view input) {
  const InputFile file(input, "result.json");
  may_refuse([&] {
    for (const bool publish : {false, true}) {
      std::vector<report::Page> pages{{report::load_result(file.path(), publish), {}, "result"}};
      pages[0].figures = report::figures_of(pages[0].result, pages[0].stem);
      report::markdown(pages);
      report::html(pages[0]);
      report::html_index(pages);
      std::ostringstream trace;
      report::write_trace(pages, trace);
    }
  });
}

}  // namespace crossover::fuzz
