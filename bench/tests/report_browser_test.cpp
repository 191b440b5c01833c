// The page in a real browser, where there is one: it says nothing on the console, shows every picture and is not wider than the screen.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "bench/report/report.h"
#include "bench/tests/sample_result.h"
#include "engine/tests/temp_folder.h"

namespace crossover {
namespace {

namespace fs = std::filesystem;

// A page that looks at the report in frames of two widths and writes what it measured; the report itself runs no script.
constexpr const char* kObserver = R"(<!DOCTYPE html><html><body>
<iframe src="report.html" style="width:1280px;height:900px"></iframe><iframe src="report.html" style="width:390px;height:900px"></iframe><pre id="out"></pre>
<script>onload = () => { let text = '';
for (const frame of document.querySelectorAll('iframe')) {
  const page = frame.contentDocument, root = page.documentElement, seen = [...page.querySelectorAll('figure svg')].filter(e => e.getClientRects().length);
  const clipped = [...page.querySelectorAll('figure svg text')].filter(e => { const box = e.getBoundingClientRect(), svg = e.ownerSVGElement.getBoundingClientRect();
    return box.width > 0 && (box.left < svg.left - 1 || box.right > svg.right + 1 || box.top < svg.top - 1 || box.bottom > svg.bottom + 1); });
  text += `wide ${root.scrollWidth} of ${root.clientWidth}; pictures ${seen.length} of ${page.querySelectorAll('figure').length}; silent ${seen.filter(e => !e.getAttribute('aria-label')).length}; ` +
    `clipped ${clipped.length} ${clipped.slice(0, 3).map(e => e.textContent)}; requests ${frame.contentWindow.performance.getEntriesByType('resource').length}\n`; }
document.getElementById('out').textContent = text; };</script></body></html>)";

TEST(ReportBrowser, LoadsFromDiskInSilenceAndFitsTheScreen) {
  if (std::system("chromium --version > /dev/null 2>&1") != 0) GTEST_SKIP() << "chromium is not installed (Debian: apt-get install chromium)";
  const test::TempFolder owner;
  const fs::path& folder = owner.path();
  std::ofstream(folder / "result.json") << sample_result().dump();
  write_report({folder / "result.json"}, folder / "out", false);
  std::ofstream(folder / "out" / "observer.html") << kObserver;
  const std::string command = "timeout 120 chromium --headless=new --hide-scrollbars --no-sandbox --disable-gpu --disable-background-networking --no-first-run --allow-file-access-from-files"
                              " --enable-logging=stderr --user-data-dir='" + (folder / "profile").string() + "' --virtual-time-budget=5000 --dump-dom 'file://" +
                              (folder / "out" / "observer.html").string() + "' > '" + (folder / "dom").string() + "' 2> '" + (folder / "log").string() + "'";
  const int status = std::system(command.c_str());
  const std::string dom = test::read_bytes(folder / "dom"), log = test::read_bytes(folder / "log");
  if (status != 0) GTEST_SKIP() << "chromium does not start here: " << log.substr(0, 300);
  const std::size_t out = dom.find("<pre id=\"out\">wide ");
  ASSERT_NE(out, std::string::npos) << dom.substr(0, 500) << log;
  const std::string seen = dom.substr(out, dom.find("</pre>", out) - out);
  EXPECT_NE(seen.find("wide 1280 of 1280"), std::string::npos) << seen;
  EXPECT_NE(seen.find("wide 390 of 390"), std::string::npos) << seen;
  for (const char* wanted : {"silent 0", "clipped 0", "requests 0"}) {
    const std::size_t first = seen.find(wanted);
    EXPECT_NE(first, std::string::npos) << wanted << " in " << seen;
    EXPECT_NE(seen.find(wanted, first + 1), std::string::npos) << wanted << " in both frames: " << seen;
  }
  EXPECT_EQ(log.find("CONSOLE"), std::string::npos) << log;
}

}  // namespace
}  // namespace crossover
