#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes include/cria/tokenizer/unicode_table.hpp: runs of code points with one class each.

    python3 tests/tokenizer/make_unicode_table.py > include/cria/tokenizer/unicode_table.hpp

Takes the general categories from the standard library's unicodedata, or from the newer unicodedata2 where that is installed.
White space is the property White_Space: the separators (Zs, Zl, Zp), U+0009..000D and U+0085.
"""
try:
    import unicodedata2 as unicodedata
except ImportError:
    import unicodedata

CLASSES = ["other", "upper", "lower", "title", "modifier", "letter", "mark", "number", "punctuation", "symbol", "space"]
LETTERS = {"Lu": "upper", "Ll": "lower", "Lt": "title", "Lm": "modifier", "Lo": "letter"}
OTHERS = {"M": "mark", "N": "number", "P": "punctuation", "S": "symbol", "Z": "space"}


def class_of(code):
    category = unicodedata.category(chr(code))
    if 0x9 <= code <= 0xD or code == 0x85:
        return "space"
    return LETTERS.get(category) or OTHERS.get(category[0], "other")


runs, last = [], None
for code in range(0x110000):
    kind = class_of(code)
    if kind != last:
        runs.append(f"0x{code << 4 | CLASSES.index(kind):x}")
        last = kind

print(f"""// SPDX-License-Identifier: MIT
// tokenizer/unicode_table.hpp - the classes of all code points, as runs in ascending order (generated, do not edit).
//
// Units   an entry is (first code point of the run << 4) | class; a run ends where the next begins
// Source  Unicode {unicodedata.unidata_version} general categories, by
//         python3 tests/tokenizer/make_unicode_table.py > include/cria/tokenizer/unicode_table.hpp
#pragma once

#include <cria/core/config.hpp>

#include <cstdint>
#include <string_view>

namespace cria::inline v0_1_0 {{

/// What the pre-tokenizers' regular expressions distinguish: the letters' categories, then M, N, P, S and white space.
enum class char_class : std::uint8_t {{ {", ".join(CLASSES)} }};

namespace detail {{

inline constexpr std::string_view unicode_version = "{unicodedata.unidata_version}";

inline constexpr std::uint32_t unicode_runs[] = {{""")
line = "   "
for run in runs:
    if len(line) + len(run) + 2 > 138:
        print(line)
        line = "   "
    line += f" {run},"
print(line)
print("""};

}  // namespace detail

}  // namespace cria::inline v0_1_0""")
