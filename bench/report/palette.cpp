#include "bench/report/palette.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace crossover::report {

namespace {

double relative_luminance(const std::string& color) {
  const auto channel = [&](std::size_t at) {
    const double c = std::stoi(color.substr(at, 2), nullptr, 16) / 255.0;
    return c <= 0.03928 ? c / 12.92 : std::pow((c + 0.055) / 1.055, 2.4);
  };
  return 0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5);
}

std::string variables(const Palette& p) {
  return fmt::format("--page:{};--card:{};--line:{};--ink:{};--soft:{};--good:{};--bad:{};--open:{};--a:{};--b:{}", p.page, p.card, p.line, p.ink,
                     p.soft, p.good, p.bad, p.open, p.a, p.b);
}

constexpr const char* kRules = R"(
* { box-sizing: border-box; }
body { font: 16px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--page); max-width: 60rem; margin: 1.5rem auto 4rem; padding: 0 1rem;
  overflow-wrap: break-word; }
h1 { font-size: 1.55rem; line-height: 1.25; margin: .2rem 0 1rem; } h2 { font-size: 1.25rem; margin: 2.6rem 0 .4rem; border-top: 1px solid var(--line); padding-top: 1rem; }
h3 { font-size: 1.05rem; margin: 1.6rem 0 .3rem; }
p { margin: .5rem 0; } a { color: var(--a); }
.eyebrow { color: var(--soft); font-size: .9rem; margin: 0; }
.verdict { border: 1px solid var(--line); border-left: .5rem solid var(--open); background: var(--card); border-radius: .3rem; padding: .8rem 1.1rem; }
.verdict .word { font-size: 1.5rem; font-weight: 700; margin: 0; color: var(--open); } .verdict .lead { font-size: 1.1rem; }
.verdict .of { font-size: .9rem; font-weight: 400; color: var(--soft); } ul.cells { list-style: none; margin: .4rem 0; padding: 0; } ul.cells li { margin: .15rem 0; }
.verdict.FASTER, .verdict.EQUIVALENT { border-left-color: var(--good); } .verdict.SLOWER, .verdict.INVALID { border-left-color: var(--bad); }
.FASTER .word, .EQUIVALENT .word, .w.FASTER, .w.EQUIVALENT, .pass { color: var(--good); }
.SLOWER .word, .INVALID .word, .w.SLOWER, .w.INVALID, .fail { color: var(--bad); } .w, .open, .pass, .fail { font-weight: 600; } .w.INCONCLUSIVE, .open { color: var(--open); }
.a { color: var(--a); font-weight: 600; } .b { color: var(--b); font-weight: 600; }
.scroll { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; margin: .4rem 0; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .9rem .3rem 0; text-align: left; vertical-align: top; }
th { font-weight: 600; color: var(--soft); } tbody th { color: var(--ink); }
td.n, th.n { text-align: right; white-space: nowrap; } tr.primary td { font-weight: 600; } td.long { overflow-wrap: anywhere; min-width: 9rem; }
table.matrix td, table.matrix th { border: 1px solid var(--line); padding: .35rem .6rem; text-align: center; white-space: nowrap; } table.matrix .w { color: inherit; }
figure { margin: 1rem 0; } figure svg { display: block; width: 100%; height: auto; color: var(--ink); } figure .narrow { display: none; }
figure .wide { max-width: 50rem; }
figcaption, .note { color: var(--soft); font-size: .88rem; }
details { margin: .4rem 0; } summary { cursor: pointer; color: var(--a); font-size: .92rem; padding: .15rem 0; }
code, pre { font: .86rem/1.45 ui-monospace, monospace; } pre { background: var(--card); padding: .8rem; overflow-x: auto; border-radius: .3rem; }
@media (max-width: 620px) { body { margin-top: .8rem; } h1 { font-size: 1.3rem; } figure .wide { display: none; } figure .narrow { display: block; } th, td { padding-right: .7rem; } }
@media print { body { max-width: none; margin: 0; font-size: 11pt; } figure, tr, .verdict { break-inside: avoid; } h2, h3 { break-after: avoid; }
  figure .wide { display: block; } figure .narrow, figure + details:not([open]) { display: none; } .scroll, pre { overflow: visible; } pre { white-space: pre-wrap; overflow-wrap: anywhere; }
  table { font-size: 9pt; } table:has(th:nth-child(9)) { font-size: 7pt; } th, td { padding-right: .35rem; } .matrix td, .verdict { print-color-adjust: exact; } }
)";

}  // namespace

double contrast(const std::string& x, const std::string& y) {
  const double one = relative_luminance(x), two = relative_luminance(y);
  return (std::max(one, two) + 0.05) / (std::min(one, two) + 0.05);
}

std::string style_sheet() {
  return ":root{color-scheme:light dark;" + variables(kLight) + "}\n@media screen and (prefers-color-scheme:dark){:root{" + variables(kDark) + "}}" +
         kRules;
}

}  // namespace crossover::report
