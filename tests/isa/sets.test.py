# SPDX-License-Identifier: MIT
"""Compiles sets.cpp for every instruction set that the build has, with the build's own flags for it, and runs it where the processor can."""

import os
import shlex
import shutil
import subprocess
import sys

sys.path.append(os.path.join(os.environ["CRIA_SOURCE_DIR"], "tests", "support"))
from dispatch_units import units_of_build

TMP = os.environ["CRIA_TEST_TMP"]
EMULATOR = shlex.split(os.environ.get("CRIA_EMULATOR", ""))
SOURCE = os.path.join(os.environ["CRIA_SOURCE_DIR"], "tests", "isa", "sets.cpp")


def run(command):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace")


def main():
    units = units_of_build()
    if not units:
        print("SKIPPED: this build has no units, or no compile_commands.json")
        return 77
    shutil.rmtree(TMP, ignore_errors=True)
    os.makedirs(TMP)
    baseline = next((u for u in units if u.instruction_set == "scalar"), units[0]).command
    detect = os.path.join(TMP, "detect")
    done = run([*baseline, "-O1", "-o", detect, SOURCE])
    if done.returncode != 0:
        print(done.stdout[:3000])
        return 1
    try:
        running = run([*EMULATOR, detect]).stdout.split()
    except OSError as error:
        print("SKIPPED: programs of this build do not run here: %s" % error)
        return 77
    failures = 0
    for unit in units:
        name = unit.instruction_set
        program = os.path.join(TMP, name)
        done = run([*unit.command, "-O2", "-DCRIA_ISA=" + name, "-o", program, SOURCE])
        if done.returncode != 0:
            print("%s does not compile:\n%s" % (name, done.stdout[:3000]))
            failures += 1
        elif name not in running:
            print("!!!!! NOT RUN: %s: this processor lacks it (it compiles)" % name)
        else:
            done = run([*EMULATOR, program])
            print(done.stdout.strip())
            if done.returncode != 0:
                print("%s: exit status %d" % (name, done.returncode))
                failures += 1
    print("%d sets, %d failures" % (len(units), failures))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
