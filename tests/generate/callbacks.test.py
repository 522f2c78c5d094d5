# SPDX-License-Identifier: MIT
"""What generations take as callbacks compiles; what they do not take is refused by a sentence that says what they do."""

import os
import shlex
import subprocess
import sys

COMPILE = [os.environ["CXX"], *shlex.split(os.environ.get("CXXFLAGS", "")), "-std=c++20", "-O0", "-fsyntax-only", "-Wall", "-Wextra", "-Werror",
           "-DCRIA_SEPARATE_COMPILATION",
           "-I", os.environ["CRIA_SOURCE_DIR"] + "/include", "-x", "c++", "-"]
UNIT = """
#include <cria/generate/batch_engine.hpp>
#include <cria/generate/session.hpp>
#include <cria/generate/speculative.hpp>
#include <functional>
#include <memory>
#include <string>
struct host {
  bool operator()(const cria::token_event&) { return true; }
};
void use(cria::session& s, cria::batch_engine& b, cria::lookup_drafter& d, cria::runtime_sampler& own) {
  [[maybe_unused]] const auto unused = [&] { static_cast<void>(d), static_cast<void>(own), static_cast<void>(b), static_cast<void>(s); };
%s
}
"""
SENTENCE = "a callback takes a std::string_view (the text) or a const cria::token_event& (token and text), not a std::string"
GOOD = ["[](std::string_view) {}", "[](std::string_view) { return true; }", "[](const cria::token_event&) {}", "[](auto&&) { return false; }", "host{}",
        "std::function<void(std::string_view)>{}", "[](cria::token_event) {}"]
BAD = ["[](std::string) {}", "[](const std::string&) { return true; }", "std::function<void(std::string)>{}", "[] {}",
       "[](std::string_view) { return std::string(); }", "5"]
CALLS = ['static_cast<void>(s.generate("x", {}, %s));', 'static_cast<void>(s.generate("x", {}, own, %s));', 'static_cast<void>(b.add("x", {}, %s));',
         'static_cast<void>(cria::generate_speculatively(s, "x", {}, d, %s));', 'static_cast<void>(cria::generate_speculatively(s, "x", {}, own, d, %s));']
MOVE_ONLY = '[p = std::make_unique<int>()](std::string_view) {}'


def compile_of(lines):
    return subprocess.run(COMPILE, input=UNIT % "\n".join(lines), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace")


def errors_of(output):
    return [line for line in output.splitlines() if "error:" in line]


def main():
    bad = []
    done = compile_of([c % g for c in CALLS for g in GOOD] + [CALLS[0] % MOVE_ONLY])
    if done.returncode != 0:
        bad.append("what should compile does not:\n" + done.stdout)
    # Every wrong kind in one call, then every call with one wrong kind: the sentence for each, and no other error.
    wrong = [CALLS[0] % b for b in BAD] + [c % BAD[0] for c in CALLS[1:]]
    errors = errors_of(compile_of(wrong).stdout)
    if len(errors) != len(wrong) or not all(SENTENCE in e for e in errors):
        bad.append("%d wrong callbacks give\n%s" % (len(wrong), "\n".join(errors)))
    errors = errors_of(compile_of([CALLS[2] % MOVE_ONLY]).stdout)
    if not errors or "a request's callback is copyable" not in errors[0]:
        bad.append("a callback of a batch that only moves gives\n" + "\n".join(errors[:3]))
    print("\n".join(bad) or "ok")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
