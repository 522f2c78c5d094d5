#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compares cria with other engines on the same file, in alternating runs, and prints a markdown table of medians and ratios.

  bench/compare.py --cria build/release/examples/cria --peer llama.cpp=PATH/llama-bench --peer "ik_llama.cpp=PATH/llama-bench -rtr 1" -m MODEL.gguf
  bench/compare.py ... --synthetic tinyllama:Q4_0 --synthetic tinyllama:Q8_0 -t 1,2 -d 0,1536 --rounds 7

A peer is NAME=COMMAND, the command a llama-bench with what it needs in addition; one that does not know -d is asked at depth 0 only. In each round
every engine runs once (with a warm-up of its own), in turn, so that a change of the machine's mood meets all of them.
"""

import argparse
import datetime
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--cria", default="build/release/examples/cria", help="the program (default: %(default)s)")
    p.add_argument("--peer", action="append", default=[], metavar="NAME=COMMAND", help="a llama-bench and its options; may be given several times")
    p.add_argument("-m", "--model", action="append", default=[], help="GGUF file; may be given several times")
    p.add_argument("--synthetic", action="append", default=[], metavar="SHAPE:TYPE", help="a random model that cria makes; may be given several times")
    p.add_argument("-p", "--n-prompt", type=int, default=512)
    p.add_argument("-n", "--n-gen", type=int, default=128)
    p.add_argument("-d", "--n-depth", default="0", help="positions before a row begins; list (default: 0)")
    p.add_argument("-t", "--threads", default=str(os.cpu_count() or 1), help="list (default: all processors)")
    p.add_argument("-r", "--rounds", type=int, default=5)
    p.add_argument("--isa", help="instruction set for cria instead of the best one")
    p.add_argument("--precision", default="exact,fast", help="of cria: exact, fast or exact,fast (default)")
    p.add_argument("-o", "--output", help="also write every run's rows to this file, as JSON lines")
    a = p.parse_args()
    if not a.model and not a.synthetic:
        a.synthetic = ["tinyllama:Q4_0"]
    return a


def rows_of(command):
    """The rows that a llama-bench or cria bench prints; exits with its own words if it fails."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", errors="replace")
    if done.returncode != 0:
        sys.exit("%s\nfailed with status %d: %s" % (shlex.join(command), done.returncode, done.stderr.strip()[-2000:]))
    start = done.stdout.find("[")
    try:
        return json.loads(done.stdout[start:])
    except ValueError:
        sys.exit("%s\nprinted no JSON: %s" % (shlex.join(command), done.stdout[:500]))


def knows_depth(command):
    done = subprocess.run(command + ["--help"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace")
    return "--n-depth" in done.stdout


class Engine:
    """One column: a name, a command that takes llama-bench's options, and the speeds of each row in every round."""

    def __init__(self, name, command, has_depth):
        self.name, self.command, self.has_depth = name, command, has_depth
        self.speeds, self.others, self.version = {}, {}, "?"

    def run(self, model, a):
        command = self.command + ["-m", model, "-p", str(a.n_prompt), "-n", str(a.n_gen), "-t", a.threads, "-r", "1", "-o", "json"]
        if self.has_depth:
            command += ["-d", a.n_depth]
        rows = rows_of(command)
        for row in rows:
            key = (row["n_threads"], row["n_prompt"], row["n_gen"], row.get("n_depth", 0))
            self.speeds.setdefault(key, []).append(row["avg_ts"])
            for field in ("percent_of_bandwidth", "percent_of_dot_peak", "read_bandwidth", "dot_peak", "load_ns", "peak_memory"):
                if row.get(field):
                    self.others.setdefault((key, field), []).append(row[field])
            self.version = str(row.get("build_commit", "?"))
        return rows

    def median(self, key):
        return statistics.median(self.speeds[key]) if key in self.speeds else None

    def other(self, key, field):
        return statistics.median(self.others[key, field]) if (key, field) in self.others else None


def engines_of(a):
    own = [a.cria, "bench"] + (["--isa", a.isa] if a.isa else [])
    engines = [Engine("cria " + p, own + ["--precision", p], True) for p in a.precision.split(",") if p]
    for peer in a.peer:
        name, _, command = peer.partition("=")
        words = shlex.split(command)
        if not words:
            sys.exit("--peer %s: write NAME=COMMAND" % peer)
        engines.append(Engine(name, words, knows_depth(words)))
    return engines


def processor():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as f:
            for line in f:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def row_name(key):
    n_threads, n_prompt, n_gen, n_depth = key
    name = "pp%d" % n_prompt if n_prompt else "tg%d" % n_gen
    return "%s%s, %d thread%s" % (name, " @ d%d" % n_depth if n_depth else "", n_threads, "" if n_threads == 1 else "s")


def table(title, engines, n_own):
    own, peers = engines[:n_own], engines[n_own:]
    head = [title] + [e.name for e in engines] + ["%s / %s" % (o.name, e.name) for e in peers for o in own] + ["of this machine"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" + "---:|" * (len(head) - 1)]
    for key in sorted(own[0].speeds, key=lambda k: (k[1] == 0, k[3], k[0])):
        cells = [row_name(key)]
        cells += ["%.1f" % e.median(key) if e.median(key) is not None else "" for e in engines]
        for e in peers:
            for o in own:
                cells.append("**%.2f**" % (o.median(key) / e.median(key)) if e.median(key) else "")
        shares = [o.other(key, "percent_of_bandwidth") or o.other(key, "percent_of_dot_peak") for o in own]
        what = "reads" if key[2] else "dot steps"
        cells.append(", ".join("%.0f %%" % s for s in shares if s) + (" of its " + what if any(shares) else ""))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def footnotes(engines, n_own, file_bytes):
    lines = []
    own = engines[0]
    for n_threads in sorted({key[0] for key in own.speeds}):
        key = next(k for k in own.speeds if k[0] == n_threads)
        bandwidth, peak = own.other(key, "read_bandwidth"), own.other(key, "dot_peak")
        lines.append("%d thread%s: reads %.1f GB/s%s in the same minutes" % (n_threads, "" if n_threads == 1 else "s", (bandwidth or 0) / 1e9,
                     ", %.0f G dot steps of a byte/s" % (peak / 1e9) if peak else ""))
    for e in engines[:n_own]:
        memory = max((m for (_, field), values in e.others.items() if field == "peak_memory" for m in values), default=0)
        load = statistics.median([l for (_, field), values in e.others.items() if field == "load_ns" for l in values] or [0])
        lines.append("%s: loaded in %.2f s, peak memory %.0f MB (%.2f x the file)" % (e.name, load / 1e9, memory / 1e6, memory / max(file_bytes, 1)))
    return "\n".join("- " + line for line in lines)


def compare(title, model, a):
    engines = engines_of(a)
    n_own = len([p for p in a.precision.split(",") if p])
    for r in range(a.rounds):
        # Every other round backwards: whoever comes after whom must not matter.
        for e in engines if r % 2 == 0 else engines[::-1]:
            print("%s: round %d of %d: %s" % (title, r + 1, a.rounds, e.name), file=sys.stderr)
            rows = e.run(model, a)
            if a.output:
                with open(a.output, "a", encoding="utf-8") as f:
                    f.writelines(json.dumps({"engine": e.name, "model": title, **row}) + "\n" for row in rows)
    print(table(title, engines, n_own))
    print()
    print(footnotes(engines, n_own, os.path.getsize(model)))
    print()
    return engines


def main():
    a = arguments()
    engines = []
    for model in a.model:
        engines = compare(os.path.basename(model), model, a)
    with tempfile.TemporaryDirectory() as folder:
        for name in a.synthetic:
            path = os.path.join(folder, name.replace(":", "-") + ".gguf")
            done = subprocess.run([a.cria, "bench", "--synthetic", name, "--save", path], stderr=subprocess.PIPE, encoding="utf-8")
            if done.returncode != 0:
                sys.exit(done.stderr)
            engines = compare(name, path, a)
            os.remove(path)
    print("Tokens per second, medians of %d alternating runs, %s, %s." % (a.rounds, processor(), datetime.date.today().isoformat()))
    for e in engines:
        print("- %s %s: `%s`" % (e.name, e.version, shlex.join([os.path.basename(e.command[0])] + e.command[1:])))


if __name__ == "__main__":
    main()
