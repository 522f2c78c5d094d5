# SPDX-License-Identifier: MIT
"""Counts stack traffic of vector registers in the loops of the matrix products of avx512_vnni and avx2, from the objects that the build made.

A tile is made so that its accumulators stay in registers (kernels/gemm.hpp, gemm_unpacked.hpp); a compiler that keeps something else there instead spills
them, and the tile runs at the speed of the first-level cache. Prints the counts of every tile, worst first; fails where one has more than its set's limit
of accesses a dot step, or does not prefetch what kernels/gemm.hpp says that it does: no result would tell, and speed is not tested.

A tile's loop is what lies between the innermost backward jump around all its dot steps and that jump's target: everything that runs once a group of 32
values. What runs once a block of eight groups may use the stack: decoded scales lie there.
"""

import json
import os
import re
import shutil
import subprocess
import sys

FORMATS = ("q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_nl", "iq4_xs", "tq2_0", "tq1_0", "mxfp4", "decoded_octets",
           "iq1_s", "iq1_m", "iq2_xxs", "iq2_xs", "iq2_s", "iq3_xxs", "iq3_s")
IS_CLANG = "clang" in os.environ.get("CXX", "")
# Rows of octets have eight sums on the way to two. Seven signs an octet are completed on the stack, where each row loads its own. clang 14 loads the signs of
# all rows before it shifts them, puts some away meanwhile, and is as fast (iq2_s 0.075 ns a weight on AVX2; GCC 12 0.073).
SIGNS_ON_STACK = {name: 2.7 if IS_CLANG else 0.65 for name in ("iq2_xxs", "iq2_xs", "iq3_xxs")}
SIGNS_IN_WEIGHTS = {name: 1.5 if IS_CLANG else 0.2 for name in ("iq1_s", "iq1_m", "iq2_s", "iq3_s")}
CODES_ON_STACK = {name: 0.5 for name in ("decoded_octets", "tq1_0")}


class instruction_set:
    """limit: accesses a dot step that are no fault; limits: others, by format or kind of codes."""

    def __init__(self, name, register, step, limit, limits=None):
        self.name, self.register, self.step, self.limit, self.limits = name, register, step, limit, limits or {}
        format_tile = r"kernels::(?:gemm|octet_rows)<cria::v0_1_0::(?:kernels::)?(\w+), cria::v0_1_0::isa::%s>::(\w+(?:<[^>]*>)?)" % name
        kind_tile = r"kernels::gemm_unpacked_tile<cria::v0_1_0::isa::%s, cria::v0_1_0::kernels::code_kind<([^>]*)>, (\w+)>::run" % name
        self.tile = re.compile(format_tile + "|" + kind_tile)


SETS = (
    # GCC 12 puts three accumulators away for a moment in one format (q3_k, 6 accesses in 96 steps) and none in the others. clang 14 orders the steps of a
    # tile anew and puts up to six of 24 accumulators away for a while; its tiles are not slower for it (q6_k 134 against 132 GMAC/s on one Zen 4 core).
    instruction_set("avx512_vnni", "%[yz]mm", ("vpdpbusd",), 0.25 if IS_CLANG else 0.07, {**SIGNS_ON_STACK, **SIGNS_IN_WEIGHTS, **CODES_ON_STACK}),
    # 16 registers hold neither the masks of codes that lie in pieces nor, where bytes are widened before a group ends, both sums and what is not widened
    # yet (6 bits: half of the rows at once spill nothing and have the same speed).
    instruction_set(
        "avx2", "%ymm", ("vpmaddubsw", "vpmaddwd"), 0.7 if IS_CLANG else 0.15,
        {**SIGNS_ON_STACK, **SIGNS_IN_WEIGHTS, "q2_k": 0.25, "q3_k": 0.3,
         "q5_0": 0.4, "q5_1": 0.4, "q5_k": 0.45, "q6_k": 0.45, "1ul, false, 16, 4ul": 0.25, "2ul, false, 4, 8ul": 0.25,
         "2ul, false, 32, 2ul": 0.6},
    ),
)
# A single token's activations into the first-level cache, the weights of several tokens into the second.
PREFETCHES = {"row_tile": "prefetcht0", "wide_tile": "prefetcht1"}
JUMP = re.compile(r"j\w+\s+([0-9a-f]+)\b")


def tiles(listing, isa):
    """{(format or kind of codes, function): [(address, instruction)]} of each function in objdump's listing that has dot steps."""
    found, lines = {}, None
    for line in listing.splitlines():
        head = re.match(r"[0-9a-f]+ <(.*)>:$", line)
        if head:
            tile = isa.tile.search(head.group(1))
            lines = found.setdefault(tuple(part for part in tile.groups() if part), []) if tile else None
        elif lines is not None and "\t" in line:
            address, text = line.split("\t", 1)
            lines.append((int(address.strip().rstrip(":"), 16), text.strip()))
    return {key: lines for key, lines in found.items() if any(text.startswith(isa.step) for _, text in lines)}


def traffic(instructions, isa):
    """(dot steps, vector loads from the stack, vector stores to it) in the innermost loop around the dot steps; everywhere when there is no loop."""
    steps = [address for address, text in instructions if text.startswith(isa.step)]
    jumps = [(int(JUMP.match(text).group(1), 16), address) for address, text in instructions if JUMP.match(text)]
    loops = [(begin, end) for begin, end in jumps if begin <= steps[0] and end >= steps[-1]]
    begin, end = min(loops, key=lambda loop: loop[1] - loop[0], default=(0, instructions[-1][0]))
    has_frame = any(re.match(r"mov\s+%rsp,%rbp", text) for _, text in instructions)
    stack = re.compile(r"\(%r[sb]p[^)]*\)" if has_frame else r"\(%rsp[^)]*\)")
    loads = stores = 0
    for address, text in instructions:
        # Scales are widened from bytes on the stack.
        if begin <= address <= end and re.search(isa.register, text) and stack.search(text) and not text.startswith(("vpmovsx", "vpmovzx")):
            if text.endswith(")"):  # the destination stands last
                stores += 1
            else:
                loads += 1
    return len(steps), loads, stores


def lacks_prefetch(function, instructions):
    """Whether a tile has no prefetch of the kind that it should have."""
    wanted = PREFETCHES.get(function.partition("<")[0])
    return wanted is not None and not any(text.startswith(wanted) for _, text in instructions)


def self_test():
    listing = """0000000000000000 <cria::v0_1_0::kernels::gemm<cria::v0_1_0::q4_0, cria::v0_1_0::isa::avx512_vnni>::tile_of<12ul, true>(int)>:
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
    kind = """0000000000000000 <cria::v0_1_0::kernels::gemm_unpacked_tile<cria::v0_1_0::isa::avx2, \
cria::v0_1_0::kernels::code_kind<1ul, false, 0, 0ul>, 4ul>::run(int)>:
   1:\tvpmaddwd %ymm1,%ymm2,%ymm3
   2:\tvmovdqa %ymm3,0x20(%rsp)"""
    for text, isa, tile, counts in (
        (listing, SETS[0], ("q4_0", "tile_of<12ul, true>"), (3, 2, 2)),
        (kind, SETS[1], ("1ul, false, 0, 0ul", "4ul"), (1, 0, 1)),
    ):
        found = tiles(text, isa)
        if list(found) != [tile] or traffic(found[tile], isa) != counts:
            return False
    some = [(0, "prefetcht0 (%rax)")]
    return [lacks_prefetch(f, some) for f in ("row_tile<true>", "wide_tile<12ul>", "run")] == [False, True, False] and lacks_prefetch("row_tile<true>", [])


def check(isa, listing):
    """Prints the set's table; returns what is wrong."""
    found = tiles(listing, isa)
    failures = ["%s: no tile of %s found" % (isa.name, name) for name in FORMATS if not any(key[0] == name for key in found)]
    rows = sorted(((*traffic(text, isa), *key) for key, text in found.items()), key=lambda row: (-(row[1] + row[2]) / row[0], row[3:]))
    print("%-36s %9s %7s %7s" % (isa.name, "dot steps", "loads", "stores"))
    for steps, loads, stores, name, tile in rows:
        print("%-20s %-15s %9d %7d %7d%s" % (name, tile, steps, loads, stores, "  <--" if loads + stores else ""))
        if loads + stores > max(isa.limit, isa.limits.get(name, 0)) * steps:
            failures.append("%s, %s, %s: %d loads and %d stores of vectors on the stack in the loop of %d dot steps" %
                            (isa.name, name, tile, loads, stores, steps))
    print("%d tiles" % len(rows))
    return failures + ["%s, %s, %s: prefetches nothing" % (isa.name, *key) for key, text in found.items() if lacks_prefetch(key[-1], text)]


def main():
    if not self_test():
        print("self-test: the counts of a known listing are wrong")
        return 1
    database = os.path.join(os.environ["CRIA_BINARY_DIR"], "compile_commands.json")
    if not shutil.which("objdump") or not os.path.exists(database) or "-fsanitize" in os.environ.get("CXXFLAGS", ""):
        print("SKIPPED: needs objdump, compile_commands.json and a build without sanitizers")
        return 77
    with open(database, encoding="utf-8") as file:
        units = {e["file"]: (e["directory"], re.search(r" -o (\S+)", e["command"]).group(1)) for e in json.load(file)}
    failures, n_sets = [], 0
    for isa in SETS:
        for unit, built in units.items():
            if unit.endswith("/cria_dispatch/%s.cpp" % isa.name):
                done = subprocess.run(["objdump", "-d", "-C", "--no-show-raw-insn", os.path.join(*built)], stdout=subprocess.PIPE, encoding="utf-8",
                                      errors="replace", check=True)
                failures += check(isa, done.stdout)
                n_sets += 1
    if n_sets == 0:
        print("SKIPPED: this build has none of " + ", ".join(isa.name for isa in SETS))
        return 77
    for failure in failures:
        print(failure)
    print("%d sets, %d failures" % (n_sets, len(failures)))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
