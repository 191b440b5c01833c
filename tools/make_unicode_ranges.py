#!/usr/bin/env python3
"""Write engine/text/unicode_ranges.cpp: the general categories L, M and N of Unicode 16.0 as code point ranges.

Needs the package unicodedata2 16.0.0, because Python's own tables follow the version of Python:
    pip install unicodedata2==16.0.0 && tools/make_unicode_ranges.py
"""
import pathlib
import unicodedata2

EXPECTED = {"L": 141028, "M": 2501, "N": 1911}
NAMES = {"L": "letter_ranges", "M": "mark_ranges", "N": "number_ranges"}


def ranges_of(letter):
    found = []
    for code in range(0x110000):
        if unicodedata2.category(chr(code))[0] != letter:
            continue
        if found and found[-1][1] == code - 1:
            found[-1][1] = code
        else:
            found.append([code, code])
    size = sum(last - first + 1 for first, last in found)
    if size != EXPECTED[letter]:
        raise SystemExit(f"category {letter} has {size} code points, expected {EXPECTED[letter]}")
    return found


def table(letter):
    lines, line = [], "     "
    for first, last in ranges_of(letter):
        item = f" {{0x{first:x}, 0x{last:x}}},"
        if len(line) + len(item) > 120:
            lines.append(line)
            line = "     "
        line += item
    lines.append(line)
    body = "\n".join(lines)
    return (f"std::span<const CodeRange> {NAMES[letter]}() {{\n  static constexpr CodeRange kRanges[] = {{\n{body}\n  }};\n"
            f"  return kRanges;\n}}\n")


def main():
    if unicodedata2.unidata_version != "16.0.0":
        raise SystemExit(f"unicodedata2 has Unicode {unicodedata2.unidata_version}; install unicodedata2==16.0.0")
    out = pathlib.Path(__file__).resolve().parent.parent / "engine" / "text" / "unicode_ranges.cpp"
    out.write_text("// Written by tools/make_unicode_ranges.py from Unicode 16.0; not edited by hand.\n"
                   "// clang-format off\n"
                   '#include "engine/text/unicode_ranges.h"\n\n'
                   "namespace crossover {\n\n" + "\n".join(table(letter) for letter in "LMN") +
                   "\n}  // namespace crossover\n")


main()
