# SPDX-License-Identifier: MIT
"""python3 .cmake/amalgamate.py [header] > cria.hpp: the headers as one file, for a release; the default header is cria/cria.hpp.

Each header stands where it is first included. One that is first met inside a preprocessor condition is put there behind a guard of its own, and
again where it is next included, because the condition may be false. xsimd stays an include.
"""

import os
import re
import sys

INCLUDE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "include")
OURS = re.compile(r"^[ \t]*#[ \t]*include[ \t]*<(cria/[^>]+)>")


def expand(header, done, out):
    """Appends the lines of a header, with those of the headers that it includes; adds them to done."""
    if header in done:
        return
    done.add(header)
    with open(os.path.join(INCLUDE, header), encoding="utf-8") as file:
        lines = file.read().splitlines()
    guard = "CRIA_ONE_FILE_" + re.sub(r"\W", "_", header).upper()
    out += ["", "#ifndef " + guard, "#define " + guard]
    depth = 0
    for line in lines:
        ours = OURS.match(line)
        if re.match(r"[ \t]*#[ \t]*if", line):
            depth += 1
        elif re.match(r"[ \t]*#[ \t]*endif", line):
            depth -= 1
        if ours:
            expand(ours.group(1), done if depth == 0 else set(done), out)
        elif not line.startswith(("#pragma once", "// SPDX-License-Identifier")):
            out.append(line)
    out.append("#endif")


def main():
    root = os.path.dirname(INCLUDE)
    with open(os.path.join(root, "LICENSE"), encoding="utf-8") as file:
        licence = ["// " + line if line else "//" for line in file.read().strip().splitlines()]
    out = ["// SPDX-License-Identifier: MIT", "// cria in one file, made by .cmake/amalgamate.py. Edit the headers instead.", "//", *licence, "#pragma once"]
    expand(sys.argv[1] if len(sys.argv) > 1 else "cria/cria.hpp", set(), out)
    sys.stdout.write("\n".join(out) + "\n")


if __name__ == "__main__":
    main()
