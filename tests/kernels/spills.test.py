# SPDX-License-Identifier: MIT
"""Counts stack traffic of zmm registers in the loops of the matrix products of avx512_vnni, from the object that the build made.

A tile is made so that its accumulators stay in registers (kernels/gemm.hpp); a compiler that keeps something else there instead spills them, and the
tile runs at the speed of the first-level cache. Prints the counts of every format and tile, worst first; fails where a format in CHECKED has more than
LIMIT accesses a dot step.

A tile's loop is what lies between the innermost backward jump around all its vpdpbusd and that jump's target: everything that runs once a group of 32
values. What runs once a block of eight groups may use the stack: decoded scales lie there.
"""

import json
import os
import re
import shutil
import subprocess
import sys

CHECKED = ("q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_nl", "iq4_xs", "mxfp4")
# GCC 12 puts three accumulators away for a moment in one format (q3_k, 6 accesses in 96 steps) and none in the others. clang 14 orders the steps of a tile anew and puts up to six
# of 24 accumulators away for a while; its tiles are not slower for it (q6_k 134 against 132 GMAC/s on one Zen 4 core).
LIMIT = 0.25 if "clang" in os.environ.get("CXX", "") else 0.07
TILE = re.compile(r"kernels::gemm<cria::v0::(\w+), cria::v0::isa::avx512_vnni>::(\w+(?:<[^>]*>)?)")
JUMP = re.compile(r"j\w+\s+([0-9a-f]+)\b")


def tiles(listing):
    """{(format, function): [(address, instruction)]} of each function of gemm in objdump's listing that has dot steps."""
    found, lines = {}, None
    for line in listing.splitlines():
        head = re.match(r"[0-9a-f]+ <(.*)>:$", line)
        if head:
            tile = TILE.search(head.group(1))
            lines = found.setdefault(tile.groups(), []) if tile else None
        elif lines is not None and "\t" in line:
            address, text = line.split("\t", 1)
            lines.append((int(address.strip().rstrip(":"), 16), text.strip()))
    return {key: lines for key, lines in found.items() if any(text.startswith("vpdpbusd") for _, text in lines)}


def traffic(instructions):
    """(dot steps, zmm loads from the stack, zmm stores to it) in the innermost loop around the dot steps; everywhere when there is no loop."""
    steps = [address for address, text in instructions if text.startswith("vpdpbusd")]
    jumps = [(int(JUMP.match(text).group(1), 16), address) for address, text in instructions if JUMP.match(text)]
    loops = [(begin, end) for begin, end in jumps if begin <= steps[0] and end >= steps[-1]]
    begin, end = min(loops, key=lambda loop: loop[1] - loop[0], default=(0, instructions[-1][0]))
    has_frame = any(re.match(r"mov\s+%rsp,%rbp", text) for _, text in instructions)
    stack = re.compile(r"\(%r[sb]p[^)]*\)" if has_frame else r"\(%rsp[^)]*\)")
    loads = stores = 0
    for address, text in instructions:
        # Scales are widened from bytes on the stack.
        if begin <= address <= end and "%zmm" in text and stack.search(text) and not text.startswith(("vpmovsx", "vpmovzx")):
            if text.endswith(")"):  # the destination stands last
                stores += 1
            else:
                loads += 1
    return len(steps), loads, stores


def self_test():
    listing = """0000000000000000 <cria::v0::kernels::gemm<cria::v0::q4_0, cria::v0::isa::avx512_vnni>::tile_of<12ul, true>(int)>:
   0:\tvmovaps %zmm1,0x40(%rsp)
   1:\tvpdpbusd %zmm1,%zmm2,%zmm3
   2:\tvmovaps %zmm1,0x40(%rsp)
   3:\tvpdpbusd 0x40(%rsp),%zmm2,%zmm3
   4:\tvmovdqu64 (%rbp),%zmm4
   5:\tvmovaps -0x40(%rsp,%rax,8),%zmm5
   5:\tvpmovsxbd 0x10(%rsp,%rax,1),%zmm5
   6:\tvpdpbusd (%rsi){1to16},%zmm2,%zmm3
   7:\tjne    6 <x>
   8:\tvmovaps %zmm1,(%rsp)
   9:\tjb     1 <x>
   a:\tvmovaps 0x40(%rsp),%zmm1
   b:\tjb     0 <x>
0000000000000010 <other>:
  10:\tvpdpbusd %zmm1,%zmm2,%zmm3"""
    found = tiles(listing)
    return list(found) == [("q4_0", "tile_of<12ul, true>")] and traffic(*found.values()) == (3, 2, 2)


def main():
    if not self_test():
        print("self-test: the counts of a known listing are wrong")
        return 1
    database = os.path.join(os.environ["CRIA_BINARY_DIR"], "compile_commands.json")
    if not shutil.which("objdump") or not os.path.exists(database) or "-fsanitize" in os.environ.get("CXXFLAGS", ""):
        print("SKIPPED: needs objdump, compile_commands.json and a build without sanitizers")
        return 77
    with open(database, encoding="utf-8") as file:
        objects = [(e["directory"], re.search(r" -o (\S+)", e["command"]).group(1)) for e in json.load(file) if e["file"].endswith("/cria_dispatch/avx512_vnni.cpp")]
    if not objects:
        print("SKIPPED: this build has no avx512_vnni")
        return 77
    done = subprocess.run(["objdump", "-d", "-C", "--no-show-raw-insn", os.path.join(*objects[0])], stdout=subprocess.PIPE, encoding="utf-8", errors="replace", check=True)
    found = tiles(done.stdout)
    failures = ["no tile of %s found" % name for name in CHECKED if not any(key[0] == name for key in found)]
    rows = sorted(((*traffic(text), *key) for key, text in found.items()), key=lambda row: (-(row[1] + row[2]) / row[0], row[3:]))
    print("%-8s %-24s %9s %10s %10s" % ("format", "tile", "dot steps", "zmm loads", "zmm stores"))
    for steps, loads, stores, name, tile in rows:
        print("%-8s %-24s %9d %10d %10d%s" % (name, tile, steps, loads, stores, "  <--" if loads + stores else ""))
        if name in CHECKED and loads + stores > LIMIT * steps:
            failures.append("%s, %s: %d loads and %d stores of zmm registers on the stack in the loop of %d dot steps" % (name, tile, loads, stores, steps))
    for failure in failures:
        print(failure)
    print("%d tiles, %d failures" % (len(rows), len(failures)))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
