# SPDX-License-Identifier: MIT
"""Runs every recipe of examples/recipes on the small model, and holds their page to the code: what it shows is what was compiled."""

import os
import re
import struct
import subprocess
import sys

SOURCE = os.path.join(os.environ["CRIA_SOURCE_DIR"], "examples", "recipes")
PROGRAM = os.path.join(os.environ["CRIA_EXAMPLES_DIR"], "recipes")
MODEL = os.path.join(os.environ["CRIA_TEST_DATA"], "models", "stories260K.gguf")
TMP = os.environ["CRIA_TEST_TMP"]

# What each prints on stories260K, as a pattern for the whole output.
EXPECTED = {
    "load_with_progress": r"(\d+% )+100% \nloaded \d{7} bytes of weights\n",
    "fit_memory": r"context 128: weights \d+, cache \d+, buffers \d+ bytes\n",
    "load_from_own_bytes": r"512 tokens in the vocabulary\n",
    "load_from_inside_a_file": r"found 5 layers behind byte 1000\n",
    "react_to_errors": r"io: .*nowhere\.gguf.*\n-> choose another file\nlimit_exceeded: .*\n-> choose a smaller model or context\n",
    "stream_and_cancel": r".{60,}\n\[cancelled after \d+ tokens\]\n(\d+) of \d+ tokens were in the cache\n",
    "use_own_threads": r"2 threads:, there was .*\n",
    "share_a_model": r"Once upon a time.{20,}\nThe dog.{20,}\nOne day.{20,}\n",
    "swap_the_model": r"replaced 1 time; the old session's model is another: yes\n",
    "save_a_session": r"(2\d) of 2\d tokens were in the file\nOnce upon a time, there was .{40,}\n",
    "choose_an_answer": r" seven: \S+\n time: 0\.[5-9]\d*\n little boy: \S+\n",
    "compare_texts": r"the two dogs (\S+), the first dog and she (\S+)\n",
    "serve_requests": r"(\.\.\..{20,}\n){3}",
    "answer_as_json": r'\{"city": ?"[^\n]{0,80}", ?"sunny": ?(true|false)\}\n',
    "chat_within_limits": r"turn 1: 0 tokens.* 0 messages were dropped\n(turn \d.*\n){2}turn 4: .* [1-9]\d* messages were dropped\n\[.*\]\n",
}

failures = []


def fail(text):
    failures.append(text)
    print("FAILED: " + text)


def run(*arguments):
    done = subprocess.run([PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)
    return done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")


def write_adapter(path, dim=64, rank=2):
    """A LoRA adapter of layer 0's attention output by the GGUF specification, large enough to be seen."""
    def string(s):
        return struct.pack("<Q", len(s)) + s.encode()

    keys = [("general.architecture", 8, string("llama")), ("general.type", 8, string("adapter")), ("adapter.type", 8, string("lora")),
            ("adapter.lora.alpha", 6, struct.pack("<f", 2.0))]
    tensors, data = [], b""
    for name, columns, rows in (("blk.0.attn_output.weight.lora_a", dim, rank), ("blk.0.attn_output.weight.lora_b", rank, dim)):
        tensors.append(string(name) + struct.pack("<IQQIQ", 2, columns, rows, 0, len(data)))
        data += b"".join(struct.pack("<f", (-1.0 if (i // 3) % 2 else 1.0) * (4.0 if name.endswith("b") else 1.0)) for i in range(columns * rows))
        data += b"\0" * (-len(data) % 32)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys))
    head += b"".join(string(k) + struct.pack("<I", t) + v for k, t, v in keys) + b"".join(tensors)
    head += b"\0" * (-len(head) % 32)
    with open(path, "wb") as out:
        out.write(head + data)


def check_page():
    """Every recipe stands on the page as it stands in the code, and nothing else does."""
    with open(os.path.join(SOURCE, "README.md"), encoding="utf-8") as page_file:
        page = page_file.read()
    shown = [block.strip() for block in re.findall(r"```cpp\n(.*?)```", page, re.S)]
    compiled = []
    for name in sorted(os.listdir(SOURCE)):
        if name.endswith(".cpp"):
            with open(os.path.join(SOURCE, name), encoding="utf-8") as code:
                compiled += [block.strip() for block in re.findall(r"^// recipe\n(.*?)^// end$", code.read(), re.S | re.M)]
    for block in compiled:
        if block not in shown:
            fail("not on the page as it is in the code: " + block[:80])
        if block.count("\n") > 80:
            fail("longer than 80 lines: " + block[:80])
    for block in shown:
        if block not in compiled:
            fail("on the page, not in the code: " + block[:80])
    text = "\n".join(compiled)
    for name in list(EXPECTED) + ["apply_adapters"]:
        if "int %s(" % name not in text and name != "load_from_inside_a_file":
            fail("no recipe defines " + name)


def check_recipes():
    for name, pattern in EXPECTED.items():
        status, out, err = run(name, MODEL)
        found = re.fullmatch(pattern, out, re.S)
        if status != 0 or not found:
            fail("%s: status %d, '%s', '%s'" % (name, status, out, err))
            continue
        if name == "compare_texts" and not float(found[1]) > float(found[2]):
            fail("compare_texts: %s is not more alike than %s" % (found[1], found[2]))
        if name == "stream_and_cancel" and int(found[1]) < 5:
            fail("stream_and_cancel: only %s tokens were in the cache" % found[1])
        status, out, err = run(name, MODEL + ".none")
        if status != 1:
            fail("%s: a model that is absent: status %d, '%s'" % (name, status, err))
    status, _, err = run()
    names = re.findall(r"^  (\w+)$", err, re.M)
    if status != 2 or sorted(names) != sorted(EXPECTED):
        fail("the program knows %s" % names)


def check_adapters():
    path = os.path.join(TMP, "style.gguf")
    write_adapter(path)
    status, out, err = run("apply_adapters", MODEL, path)
    lines = out.splitlines()
    plain = run("use_own_threads", MODEL)[1].partition(":")[2].strip("\n")
    if status != 0 or len(lines) != 3 or lines[0] != "0:" + plain or lines[2].partition(":")[2] == plain:
        fail("apply_adapters: status %d, %s, '%s'; the model alone writes '%s'" % (status, lines, err, plain))
    status, _, err = run("apply_adapters", MODEL, MODEL)
    if status != 1:
        fail("apply_adapters takes a model for an adapter: '%s'" % err)


if not os.access(MODEL, os.R_OK):
    print("SKIPPED: %s is absent (set CRIA_TEST_DATA)" % MODEL)
    sys.exit(77)
if not os.path.exists(PROGRAM):
    print("SKIPPED: the examples are not built")
    sys.exit(77)
os.makedirs(TMP, exist_ok=True)
check_page()
check_recipes()
check_adapters()
sys.exit(1 if failures else 0)
