// Pages in a real browser, where there is one: the report of each shipped scenario, an index and a trend page fit a
// wide and a narrow screen, can be read on a light and on a dark one, say everything in words, ask for nothing and
// leave the console empty.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "bench/report/report.h"
#include "bench/report/trend_page.h"
#include "bench/tests/nights.h"
#include "bench/tests/sample_result.h"
#include "bench/tests/shipped_result.h"
#include "engine/tests/temp_folder.h"

namespace crossover {
namespace {

namespace fs = std::filesystem;

// Looks at each of `pages` in a frame of two widths, light and dark, all its details open, and writes a line for each
// fault; the reports themselves run no script. Contrast: WCAG 2.1, of a text's colour over the backgrounds below it.
constexpr const char* kObserver = R"(<!DOCTYPE html><html><body><pre id="out"></pre><script>
const spot = document.createElement('canvas').getContext('2d', {willReadFrequently: true}), known = new Map();
function color(text) {
  if (!known.has(text)) { spot.clearRect(0, 0, 1, 1); spot.fillStyle = text; spot.fillRect(0, 0, 1, 1); known.set(text, [...spot.getImageData(0, 0, 1, 1).data]); }
  return known.get(text); }
function light(c) { return [.2126, .7152, .0722].reduce((sum, weight, i) => { const v = c[i] / 255;
  return sum + weight * (v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4); }, 0); }
function below(element) { let layers = [];
  for (let e = element; e; e = e.parentElement) { const c = color(getComputedStyle(e).backgroundColor); if (c[3]) layers.push(c); if (c[3] == 255) break; }
  return layers.reduceRight((base, c) => base.map((v, i) => v + (c[i] - v) * c[3] / 255), [255, 255, 255]); }
function contrast(text) { const e = text.parentElement, style = getComputedStyle(e), own = light(color(e.closest('svg') ? style.fill : style.color)), back = light(below(e));
  return (Math.max(own, back) + .05) / (Math.min(own, back) + .05); }
function box(e) { return e.getBoundingClientRect(); }
function meet(a, b) { return Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3; }
const shown = e => e.getClientRects().length > 0;
function pale(page, say) { const walk = page.createTreeWalker(page.body, NodeFilter.SHOW_TEXT);
  for (let text = walk.nextNode(); text; text = walk.nextNode())
    if (text.data.trim() && shown(text.parentElement) && contrast(text) < 4.5) say(`contrast ${contrast(text).toFixed(2)} of "${text.data.trim()}"`); }
function look(page, width, say) {
  if (page.documentElement.scrollWidth > width) say(`${page.documentElement.scrollWidth} wide`);
  for (const e of page.querySelectorAll('body *'))
    if (shown(e) && !e.closest('.scroll, pre, svg') && (box(e).right > width + 1 || box(e).left < -1)) say(`${e.tagName} "${e.textContent.slice(0, 30)}" leaves the screen`);
  for (const e of page.querySelectorAll('h2, h3')) if (!e.nextElementSibling || e.nextElementSibling.tagName == e.tagName) say(`nothing under "${e.textContent}"`);
  for (const figure of page.querySelectorAll('figure')) {
    const svgs = [...figure.querySelectorAll('svg')].filter(shown);
    if (svgs.length != 1) { say(`${svgs.length} pictures in a figure`); continue; }
    if ((svgs[0].getAttribute('aria-label') || '').length < 20) say('a picture without words');
    const texts = [...svgs[0].querySelectorAll('text')].filter(e => e.textContent.trim()).map(e => [e.textContent.trim(), box(e)]), frame = box(svgs[0]);
    texts.forEach(([name, b], i) => {
      if (b.left < frame.left - 1 || b.right > frame.right + 1 || b.top < frame.top - 1 || b.bottom > frame.bottom + 1) say(`"${name}" is clipped`);
      for (const [other, at] of texts.slice(i + 1)) if (meet(b, at)) say(`"${name}" lies over "${other}" in "${figure.textContent.trim().slice(-60)}"`); }); } }
onload = async () => { let faults = '', looks = 0, pictures = 0;
  for (const name of PAGES) for (const width of [1280, 390]) {
    const frame = document.createElement('iframe'); frame.style = `width:${width}px;height:900px;border:0`; frame.src = name;
    await new Promise(loaded => { frame.onload = loaded; document.body.append(frame); });
    const page = frame.contentDocument, say = fault => { faults += `${name} ${width}: ${fault}\n`; };
    for (const e of page.querySelectorAll('details')) e.open = true;
    pictures += page.querySelectorAll('figure').length; look(page, width, say); pale(page, say);
    const dark = [...page.styleSheets[0].cssRules].filter(rule => rule.media && rule.media.mediaText.includes('dark'));
    if (dark.length != 1) say('no dark colours');
    for (const rule of dark) rule.media.mediaText = 'screen';
    if (light(below(page.body)) > .1) say('not dark');
    pale(page, say);
    if (frame.contentWindow.performance.getEntriesByType('resource').length) say('asks for something');
    frame.remove(); looks += 2; }
  document.getElementById('out').textContent = `${looks} looks at ${pictures} pictures\n${faults}`; };
</script></body></html>)";

class ReportBrowser : public test::FolderTest {
 protected:
  fs::path save(const char* name, const std::string& text) {
    std::ofstream(folder_ / name) << text;
    return folder_ / name;
  }
};

TEST_F(ReportBrowser, EveryShippedScenarioCanBeReadOnEveryScreen) {
  if (std::system("chromium --version > /dev/null 2>&1") != 0) GTEST_SKIP() << "chromium is not installed (Debian: apt-get install chromium)";
  std::vector<fs::path> results{save("planted.json", sample_result().dump())};
  std::string pages = "'report.html','trend.html','planted.html'";
  for (const ShippedScenario& shipped : shipped_scenarios()) {
    results.push_back(save((shipped.name + std::string(".json")).c_str(), shipped_result(shipped).dump()));
    pages += fmt::format(",'{}.html'", shipped.name);
  }
  write_report(results, folder_ / "out", false);
  for (int night = 0; night < 24; ++night) {  // a fifth slower from the twelfth on
    RunRecord run = night_run(night, fmt::format("c{}", night), night < 12 ? 0 : 0.2, 0.001 * (night * 7 % 5));
    for (RunPoint& point : run.points) point.metric = "decode.tokens_per_s";
    History(folder_ / "h.sqlite", true).add(run, "{}");
  }
  write_trend_page(folder_ / "h.sqlite", folder_ / "out");
  std::string observer = kObserver;
  observer.replace(observer.find("PAGES"), 5, "[" + pages + "]");
  save("out/observer.html", observer);
  const std::string command = fmt::format(
      "timeout 400 chromium --headless=new --hide-scrollbars --no-sandbox --disable-gpu "
      "--disable-background-networking --no-first-run "
      "--allow-file-access-from-files --enable-logging=stderr --user-data-dir='{0}/profile' "
      "--virtual-time-budget=100000 --dump-dom "
      "'file://{0}/out/observer.html' > '{0}/dom' 2> '{0}/log'",
      folder_.string());
  const int status = std::system(command.c_str());
  const std::string dom = test::read_bytes(folder_ / "dom"), log = test::read_bytes(folder_ / "log");
  if (status != 0) GTEST_SKIP() << "chromium does not start here: " << log.substr(0, 300);
  const std::size_t out = dom.find("<pre id=\"out\">");
  ASSERT_NE(out, std::string::npos) << dom.substr(0, 500) << log;
  const std::string seen = dom.substr(out + 14, dom.find("</pre>", out) - out - 14);
  EXPECT_TRUE(seen.starts_with(fmt::format("{} looks at ", 4 * (results.size() + 2)))) << seen.substr(0, 300);
  EXPECT_EQ(seen.substr(seen.find('\n') + 1), "");
  EXPECT_EQ(log.find("CONSOLE"), std::string::npos) << log;
}

}  // namespace
}  // namespace crossover
