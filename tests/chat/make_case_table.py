#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Prints include/cria/chat/jinja/case_table.hpp: what str.upper(), str.lower() and str.title() of Python make of each character,
and which characters str.isupper() and str.islower() take for letters of a case that their category does not tell.

    python3 tests/chat/make_case_table.py > include/cria/chat/jinja/case_table.hpp
"""
import sys
import unicodedata


def runs(convert):
    """Code points whose image is one other code point, as (first, last, step, difference)."""
    found = []
    for code in range(128, 0x110000):
        if 0xD800 <= code < 0xE000:
            continue
        image = convert(chr(code))
        if len(image) != 1 or ord(image) == code:
            continue
        difference = ord(image) - code
        for step in (1, 2):
            if found and found[-1][3] == difference and found[-1][1] + step == code and (found[-1][0] == found[-1][1] or found[-1][2] == step):
                found[-1][1:3] = [code, step]
                break
        else:
            found.append([code, code, 1, difference])
    return found


def several(convert):
    return [(code, convert(chr(code))) for code in range(128, 0x110000) if not 0xD800 <= code < 0xE000 and len(convert(chr(code))) > 1]


def ranges(holds):
    found = []
    for code in range(128, 0x110000):
        if 0xD800 <= code < 0xE000 or not holds(chr(code)):
            continue
        if found and found[-1][1] + 1 == code:
            found[-1][1] = code
        else:
            found.append([code, code])
    return found


def wrap(items):
    lines, line = [], "   "
    for item in items:
        if len(line) + len(item) + 1 > 140:
            lines.append(line)
            line = "   "
        line += " " + item
    return "\n".join(lines + [line])


def table(name, convert):
    print("inline constexpr case_run %s_runs[] = {" % name)
    print(wrap("{0x%x, 0x%x, %d, %d}," % tuple(run) for run in runs(convert)))
    print("};")
    print("inline constexpr case_special %s_specials[] = {" % name)
    print(wrap("{0x%x, {%s}}," % (code, ", ".join("0x%x" % ord(c) for c in text)) for code, text in several(convert)))
    print("};")


print("""// SPDX-License-Identifier: MIT
// chat/jinja/case_table.hpp - upper, lower and title case of the characters beyond ASCII (generated, do not edit).
//
// Units   code points; a run's every step-th character is shifted by the difference
// Source  Unicode %s, by Python %d.%d: python3 tests/chat/make_case_table.py > include/cria/chat/jinja/case_table.hpp
#pragma once

#include <cria/core/config.hpp>

#include <cstdint>

namespace cria::inline v0_1_0::jinja {

struct case_run {
  char32_t first, last;
  std::uint32_t step;
  std::int32_t difference;
};
struct case_special {
  char32_t code;
  char32_t image[3];   // 0: shorter
};
struct case_range {
  char32_t first, last;
};
""" % (unicodedata.unidata_version, sys.version_info[0], sys.version_info[1]))
for case in ("upper", "lower"):
    table(case, lambda c, case=case: getattr(c, case)())
# Title case: only where it is not upper case.
different = [(code, chr(code).title()) for code in range(128, 0x110000) if not 0xD800 <= code < 0xE000 and chr(code).title() != chr(code).upper()]
print("inline constexpr case_special title_specials[] = {")
print(wrap("{0x%x, {%s}}," % (code, ", ".join("0x%x" % ord(c) for c in text)) for code, text in different))
print("};")
print("// Letters of a case that are no Lu or Ll: Other_Uppercase, Other_Lowercase.")
for name, holds in (("upper", lambda c: c.isupper() and unicodedata.category(c) != "Lu"), ("lower", lambda c: c.islower() and unicodedata.category(c) != "Ll")):
    print("inline constexpr case_range other_%s[] = {" % name)
    print(wrap("{0x%x, 0x%x}," % tuple(r) for r in ranges(holds)))
    print("};")
print("\n}  // namespace cria::inline v0_1_0::jinja")
