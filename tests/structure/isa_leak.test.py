# SPDX-License-Identifier: MIT
"""Lists what each instruction set's unit of cria::dispatch gives to the linker, as the build compiled it and at -O0.

A weak symbol that does not carry the set's name may be picked by the linker for the whole program: code for a wide set would run everywhere and
die on a smaller processor. So a unit has one strong symbol, its table; weak ones that name its own tag; and nothing that runs before main.
At -O0, where cria_add_dispatch() never compiles, this is asked of cria's own functions only: xsimd and the standard library leak there by design.
"""

import concurrent.futures
import os
import re
import shutil
import subprocess
import sys

sys.path.append(os.path.join(os.environ["CRIA_SOURCE_DIR"], "tests", "support"))
from dispatch_units import units_of_build

TMP = os.environ["CRIA_TEST_TMP"]
CXX = os.environ["CXX"]
CXXFLAGS = os.environ.get("CXXFLAGS", "")
HARMLESS = {"DW.ref.__gxx_personality_v0", "__clang_call_terminate"}


def run(command):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace")


def symbols_of(path):
    """(type, demangled name) of each symbol that an object defines."""
    done = run(["nm", "-C", "--defined-only", path])
    return [line.split(" ", 2)[1:] for line in done.stdout.splitlines() if re.match(r"[0-9a-f]+ \S ", line)]


def leaks(variant, path, others=True):
    """The complaints about one object; without `others` only those about cria's own functions."""
    own = re.compile(r"\bisa::%s(_lanes)?\b" % variant)   # scalar_lanes are what the portable set has for registers
    bad = []
    for kind, name in symbols_of(path):
        if kind in "Ww":  # V and u are data: the same constants whoever compiled them
            if not own.search(name) and name not in HARMLESS and (others or re.match(r"[^(]*\bcria::", name)):
                bad.append("weak: " + name)
        elif kind in "TDRBGSC" and name != "cria_v0_1_0_kernels_" + variant:
            bad.append("strong: " + name)
    if re.search(r"\.(init_array|ctors)\b", run(["objdump", "-h", path]).stdout):
        bad.append("has code that runs before main")
    return bad


def leaks_at_O0(unit):
    """The complaints about cria's own functions when the unit is compiled without optimisation."""
    plain = os.path.join(TMP, unit.instruction_set + ".o")
    done = run([*unit.command, "-O0", "-o", plain, "-c", unit.source])
    if done.returncode != 0:
        return ["%s does not compile at -O0:\n%s" % (unit.instruction_set, done.stdout[:2000])]
    return ["%s, -O0: %s" % (unit.instruction_set, bad[:300]) for bad in leaks(unit.instruction_set, plain, others=False)]


def self_test():
    """An inline function, a function with a plain name, and a dynamic initialiser must be caught."""
    source = os.path.join(TMP, "bad.cpp")
    with open(source, "w", encoding="utf-8") as file:
        file.write("namespace isa { struct avx2 {}; struct avx2_more {}; }\n"
                   "template <class T> int fine() { return 1; }\ntemplate <class T> int other() { return 1; }\n"
                   "inline int shared(int x) { return x + 1; }\nint plain(int x) { return shared(x) + fine<isa::avx2>() + other<isa::avx2_more>(); }\n"
                   "struct init { init(); };\ninit::init() {}\nstatic init now;\nextern \"C\" { int cria_v0_1_0_kernels_avx2 = 1; }\n")
    run([CXX, "-std=c++20", "-O0", "-c", source, "-o", source + ".o"])
    found = "\n".join(leaks("avx2", source + ".o"))
    wanted = ["weak: shared(int)", "weak: int other<isa::avx2_more>()", "strong: plain(int)", "runs before main"]
    missed = ["self-test: does not catch '%s'" % w for w in wanted if w not in found]
    if any("shared" in bad for bad in leaks("avx2", source + ".o", others=False)):
        missed.append("self-test: takes a function outside namespace cria for its own")
    if "fine<" in found or "cria_v0_1_0" in found:
        missed.append("self-test: catches what is allowed: " + found)
    return missed


def main():
    if not shutil.which("nm") or not shutil.which("objdump"):
        print("SKIPPED: nm and objdump (binutils) are not here")
        return 77
    shutil.rmtree(TMP, ignore_errors=True)
    os.makedirs(TMP)
    failures = self_test()
    units = units_of_build()
    if not units:
        print("SKIPPED: this build has no units, or no compile_commands.json")
        return 77
    sanitized = "-fsanitize" in CXXFLAGS
    if sanitized:
        print("SKIPPED for the build's own objects: a sanitizer adds symbols of its own")
    if not sanitized:
        failures += ["%s, as built: %s" % (u.instruction_set, bad[:300]) for u in units for bad in leaks(u.instruction_set, u.object)]
    # The scalar unit is compiled for the family's first processor: its code runs wherever it ends up.
    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        for complaints in pool.map(leaks_at_O0, [u for u in units if u.instruction_set != "scalar"]):
            failures += complaints
    for failure in failures:
        print(failure)
    print("%d units, %d failures" % (len(units), len(failures)))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
