# SPDX-License-Identifier: MIT
"""Every header compiles alone without a warning, and two units that include all of them link: nothing in them is defined twice.

Headers of one instruction set (*.<isa>.hpp) compile under the flags of theirs, on top of the build's own. Headers with a region of definitions compile
with it, as for hosts that have the headers only; the others as where they are compiled separately: what they include is read without.
"""

import concurrent.futures
import glob
import os
import shlex
import shutil
import subprocess
import sys

ROOT = os.environ["CRIA_SOURCE_DIR"]
TMP = os.environ["CRIA_TEST_TMP"]
X86 = "sse4_2 avx2 avx_vnni avx512bw avx512_vnni".split()
AVX2 = "-mavx2 -mfma -mf16c"
AVX512 = AVX2 + " -mavx512f -mavx512cd -mavx512dq -mavx512bw -mavx512vl"
FLAGS = {"sse4_2": "-msse4.2", "avx2": AVX2, "avx_vnni": AVX2 + " -mavxvnni", "avx512bw": AVX512, "avx512_vnni": AVX512 + " -mavx512vnni"}
# The text of units, not headers for others: they are compiled by the build.
UNITS = {"compile.hpp", "kernels/instantiate.hpp"}

COMPILE = [os.environ["CXX"], *shlex.split(os.environ.get("CXXFLAGS", "")), "-std=c++20", "-O0", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow",
           "-Werror", "-isystem", os.environ["CRIA_XSIMD_INCLUDE_DIR"]]
if os.environ["CRIA_XSIMD_INCLUDE_DIR"] == "/usr/include":
    del COMPILE[-2:]


def run(command):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace")


def headers_of(include):
    return sorted(os.path.relpath(p, include + "/cria") for p in glob.glob(include + "/cria/**/*.hpp", recursive=True))


def x86_compiler():
    return "x86_64" in run([os.environ["CXX"], "-dumpmachine"]).stdout


def isa_flags(header):
    parts = os.path.basename(header).split(".")
    if len(parts) < 3 or parts[-2] not in X86 or not x86_compiler():
        return []
    return FLAGS[parts[-2]].split()


def mode_flags(include, header):
    with open(os.path.join(include, "cria", header), encoding="utf-8") as file:
        defines = "#if CRIA_HAS_DEFINITIONS" in file.read()
    return [] if defines else ["-DCRIA_SEPARATE_COMPILATION=1"]


def compile_alone(include, header):
    """The compiler's complaint about one header, or nothing."""
    unit = os.path.join(TMP, "alone", header.replace("/", "_") + ".cpp")
    with open(unit, "w", encoding="utf-8") as file:
        file.write("#include <cria/%s>\n#include <cria/%s>\n" % (header, header))
    done = run([*COMPILE, *isa_flags(header), *mode_flags(include, header), "-I", include, "-fsyntax-only", unit])
    return "" if done.returncode == 0 else "%s does not compile alone:\n%s" % (header, done.stdout[:4000])


def link_twice(include, headers, name):
    """The linker's complaint about two units with all headers. One object in two files is two units."""
    base = os.path.join(TMP, name)
    with open(base + ".cpp", "w", encoding="utf-8") as file:
        file.writelines("#include <cria/%s>\n" % h for h in headers)
    with open(base + "_main.cpp", "w", encoding="utf-8") as file:
        file.write("int main() {}\n")
    done = run([*COMPILE, "-Wno-unused-function", "-I", include, "-c", base + ".cpp", "-o", base + ".o"])
    if done.returncode != 0:
        return "all headers together do not compile:\n" + done.stdout[:4000]
    shutil.copy(base + ".o", base + "_again.o")
    done = run([*COMPILE, base + "_main.cpp", base + ".o", base + "_again.o", "-pthread", "-o", base])
    return "" if done.returncode == 0 else "two units with all headers do not link:\n" + done.stdout[:4000]


def self_test():
    """Headers that must be caught."""
    include = os.path.join(TMP, "bad")
    os.makedirs(include + "/cria/core")
    samples = {"core/lacks_an_include.hpp": "#pragma once\ninline std::size_t f() { return 0; }\n",
               "core/not_guarded.hpp": "struct s {};\n",
               "core/warns.hpp": "#pragma once\ninline int g(long x) { return x; }\n",
               "core/not_inline.hpp": "#pragma once\nint h() { return 0; }\n"}
    for name, text in samples.items():
        with open(os.path.join(include, "cria", name), "w", encoding="utf-8") as file:
            file.write(text)
    failures = ["self-test: %s is not caught" % name for name in samples if name != "core/not_inline.hpp" and not compile_alone(include, name)]
    if "do not link" not in link_twice(include, ["core/not_inline.hpp"], "bad_twice"):
        failures.append("self-test: a function that is not inline is not caught")
    return failures


def main():
    shutil.rmtree(TMP, ignore_errors=True)
    os.makedirs(os.path.join(TMP, "alone"))
    include = os.path.join(ROOT, "include")
    headers = [h for h in headers_of(include) if h not in UNITS]
    failures = self_test()
    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        linked = pool.submit(link_twice, include, headers, "twice")
        failures += [f for f in pool.map(lambda h: compile_alone(include, h), headers) if f]
        if linked.result():
            failures.append(linked.result())
    for failure in failures:
        print(failure)
    print("%d headers compiled alone, %d failures" % (len(headers), len(failures)))
    return 1 if failures or not headers else 0


if __name__ == "__main__":
    sys.exit(main())
