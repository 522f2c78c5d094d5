# SPDX-License-Identifier: MIT
"""The program `cria`: what it prints, where, and with which exit status. Reference: golden/stories260K.json, the vectors of tokenizer/ (llama.cpp d32676d)."""

import json
import os
import pathlib
import shutil
import signal
import struct
import subprocess
import sys
import time
import unittest

CRIA = os.path.join(os.environ["CRIA_EXAMPLES_DIR"], "cria")
DATA = os.environ["CRIA_TEST_DATA"]
TMP = os.environ["CRIA_TEST_TMP"]
STORIES = os.path.join(DATA, "models/stories260K.gguf")
VOCAB = os.path.join(DATA, "tokenizer/ggml-vocab-llama-spm.gguf")
ONCE = ["-p", "Once upon a time"]
GREEDY = ["--temp", "0"]


def cria(*arguments, status=0, stdin=b"", stdout=subprocess.PIPE):
    done = subprocess.run([CRIA, *arguments], input=stdin, stdout=stdout, stderr=subprocess.PIPE, timeout=120)
    assert done.returncode == status, "%s: status %d, not %d\n%s" % (arguments, done.returncode, status, done.stderr.decode())
    if status:
        lines = done.stderr.decode().splitlines()
        assert len(lines) == 1, done.stderr
        assert lines[0].startswith("cria: error: ") and lines[0].count(": ") >= 4 - 1, lines[0]
        return lines[0]
    return done


def run(*arguments, **more):
    return cria("run", "-m", STORIES, *arguments, **more)


class Run(unittest.TestCase):
    def test_greedy_text_is_the_golden_bytes(self):
        with open(os.path.join(DATA, "golden/stories260K.json")) as f:
            cases = json.load(f)["cases"]
        for case in cases:
            n = str(len(case["greedy"]))
            out = run("-p", case["prompt"], "-n", n, *GREEDY)
            self.assertEqual(out.stdout.hex(), case["greedy_bytes_hex"])
            self.assertEqual(out.stderr, b"")
            ids = run("-p", case["prompt"], "-n", n, *GREEDY, "--ids", "--raw").stdout
            self.assertEqual(ids.decode(), " ".join(map(str, case["greedy"])) + "\n")

    def test_options_that_must_not_change_the_text(self):
        expected = run(*ONCE, *GREEDY, "-n", "60").stdout
        for more in (["-t", "1"], ["-t", "3"], ["-c", "100"], ["--cache", "f32"], ["--raw"], ["--isa", "avx2"]):
            if more == ["--isa", "avx2"] and b"avx2" not in cria("cpu").stdout.split(b"compiled:")[0]:
                continue
            self.assertEqual(run(*ONCE, *GREEDY, "-n", "60", *more).stdout, expected, more)
        self.assertTrue(run(*ONCE, *GREEDY, "-n", "10", "--precision", "fast").stdout)

    def test_the_prompt_comes_from_a_file_or_standard_input_as_it_is(self):
        expected = run(*ONCE, *GREEDY, "-n", "20").stdout
        path = os.path.join(TMP, "prompt.txt")
        with open(path, "wb") as f:
            f.write(b"Once upon a time")
        self.assertEqual(run("-f", path, *GREEDY, "-n", "20").stdout, expected)
        self.assertEqual(run("-f", "-", *GREEDY, "-n", "20", stdin=b"Once upon a time").stdout, expected)
        self.assertNotEqual(run("-f", "-", *GREEDY, "-n", "20", stdin=b"Once upon a time\n").stdout, expected)
        run("-f", "-", *GREEDY, "-n", "5", stdin=b"\xff\xfe\x00 not UTF-8")

    def test_sampling(self):
        seeded = [run(*ONCE, "-n", "40", "--seed", seed).stdout for seed in ("1", "1", "2")]
        self.assertEqual(seeded[0], seeded[1])
        self.assertNotEqual(seeded[0], seeded[2])
        self.assertNotEqual(run(*ONCE, "-n", "60").stdout, run(*ONCE, "-n", "60").stdout)  # another seed each time
        greedy = run(*ONCE, "-n", "40", *GREEDY).stdout
        self.assertEqual(run(*ONCE, "-n", "40", "--top-k", "1").stdout, greedy)
        self.assertEqual(run(*ONCE, "-n", "40", "--top-p", "0").stdout, greedy)
        self.assertEqual(run(*ONCE, "-n", "40", "--min-p", "1").stdout, greedy)
        self.assertNotEqual(run(*ONCE, "-n", "60", *GREEDY, "--repeat-penalty", "2").stdout, run(*ONCE, "-n", "60", *GREEDY).stdout)

    def test_stop_strings_and_counts(self):
        whole = run(*ONCE, *GREEDY, "-n", "60").stdout.decode()
        self.assertEqual(run(*ONCE, *GREEDY, "-n", "60", "--stop", "never", "--stop", "to play").stdout.decode(), whole[:whole.index("to play")])
        self.assertEqual(run(*ONCE, "-n", "0").stdout, b"")
        self.assertEqual(run(*ONCE, "-n", "0", "--ids").stdout, b"\n")
        stats = run(*ONCE, *GREEDY, "-n", "10", "--stats")
        self.assertEqual(stats.stdout.decode(), run(*ONCE, *GREEDY, "-n", "10").stdout.decode())
        for word in ("load", "prompt", "5 tokens", "first token", "10 tokens", "tokens/s", "max_tokens", "cache", "seed"):
            self.assertIn(word, stats.stderr.decode())
        self.assertTrue(len(run("-p", "", *GREEDY, "-n", "5").stdout) > 0)

    def test_errors(self):
        self.assertIn("io: /no/such.gguf: ", cria("run", "-m", "/no/such.gguf", *ONCE, status=1))
        self.assertIn("bad_magic", cria("run", "-m", __file__, *ONCE, status=1))
        self.assertIn("context_full: prompt: ", run("-p", "word " * 200, "-c", "64", status=1))
        self.assertIn("io: /no/such.txt: ", run("-f", "/no/such.txt", status=1))
        self.assertIn("io: " + TMP, run("-f", TMP, status=1))
        self.assertIn("bad_argument: --system: ", run(*ONCE, "--system", "Be kind", status=1))
        truncated = os.path.join(TMP, "cut.gguf")
        with open(STORIES, "rb") as f, open(truncated, "wb") as g:
            g.write(f.read()[:700000])
        self.assertIn("truncated: ", cria("run", "-m", truncated, *ONCE, status=1))
        self.assertRegex(cria("run", "-m", VOCAB, *ONCE, status=1), "missing_tensor|missing_key")

    def test_output_that_cannot_be_written_is_an_error(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("no /dev/full")
        with open("/dev/full", "wb") as full:
            for arguments in (["run", "-m", STORIES, *ONCE, "-n", "5"], ["tokenize", "-m", STORIES, "-p", "a"], ["detokenize", "-m", STORIES, "403"],
                              ["logits", "-m", STORIES, *ONCE], ["inspect", "-m", STORIES], ["cpu"], ["--help"], ["--version"]):
                self.assertIn("io: stdout: ", cria(*arguments, status=1, stdout=full))
        self.assertIn("io: /dev/full: ", cria("logits", "-m", STORIES, *ONCE, "--out", "/dev/full", status=1))

    def test_a_reader_that_goes_away_ends_every_command_quietly_as_it_does_other_filters(self):
        path, messages, text = (os.path.join(TMP, name) for name in ("requests.jsonl", "messages.json", "text.txt"))
        for name, content in ((path, '{"prompt": "Once"}\n'), (messages, '[{"role": "user", "content": "Hi"}]'), (text, "Once upon a time " * 40)):
            with open(name, "w", encoding="utf-8") as file:
                file.write(content)
        tiny = ["--synthetic", "tiny", "-p", "4", "-n", "1", "-t", "1"]
        for command in (["--help"], ["--version"], ["inspect", "-m", STORIES], ["cpu"], ["tokenize", "-m", STORIES, "-p", "a"],
                        ["detokenize", "-m", STORIES, "403"], ["logits", "-m", STORIES, *ONCE], ["embed", "-m", STORIES, *ONCE],
                        ["chat", "-m", STORIES, "--chat-template", "zephyr", *ONCE], ["template", "--chat-template", "chatml", "-f", messages],
                        ["batch", "-m", STORIES, "-f", path, "-o", "-"], ["bench", *tiny, "-r", "1"], ["bench", *tiny, "--parallel", "2"],
                        ["perplexity", "-m", STORIES, "-f", text, "-c", "32"], ["quantize", STORIES, os.path.join(TMP, "quantised.gguf"), "Q8_0"]):
            reader, writer = os.pipe()
            os.close(reader)
            done = subprocess.run([CRIA, *command], stdin=subprocess.DEVNULL, stdout=writer, stderr=subprocess.PIPE, timeout=120)
            os.close(writer)
            self.assertNotIn(b"error", done.stderr, command)
            self.assertEqual(done.returncode, -signal.SIGPIPE, command)
        program = subprocess.Popen([CRIA, "run", "-m", STORIES, *ONCE, "-c", "100000", "-n", "100000", "--stop", "never"], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        program.stdout.read(10)
        program.stdout.close()
        error = program.stderr.read().decode()
        program.stderr.close()
        self.assertEqual((program.wait(60), error), (-signal.SIGPIPE, ""))

    def test_ctrl_c_ends_the_text_cleanly(self):
        # A sampler at a high temperature seldom ends by itself; where it does, the statistics say so and the test tries again.
        for seed in range(1, 20):
            program = subprocess.Popen([CRIA, "run", "-m", STORIES, *ONCE, "--stats", "--temp", "3", "--top-k", "0", "--top-p", "1", "-c", "4000000",
                                        "--seed", str(seed)],
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            first = program.stdout.read(1)
            program.send_signal(signal.SIGINT)
            rest, error = program.communicate(timeout=60)
            self.assertTrue(first)
            (first + rest).decode()  # whole characters
            if b"ended by cancelled" in error:
                self.assertEqual(program.returncode, 130, error)  # so that a script does not take half a text for a whole one
                self.assertIn(b"cancelled: reply: before its end", error)
                return
            self.assertEqual(program.returncode, 0, error)
            self.assertIn(b"ended by end_of_text", error)
        self.fail("never cancelled")


class Usage(unittest.TestCase):
    def test_closed_streams_are_errors_and_take_no_pipe_of_the_programs_own(self):
        def close(*descriptors):
            return lambda: [os.close(d) for d in descriptors]
        for command in (["run", "-f", "-"], ["embed", "-f", "-"], ["logits", "-f", "-"], ["tokenize", "-f", "-"], ["chat", "--chat-template", "zephyr"]):
            done = subprocess.run([CRIA, command[0], "-m", STORIES, *command[1:]], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60,
                                  preexec_fn=close(0))
            self.assertEqual(done.returncode, 1, command)
            self.assertIn(b"Bad file descriptor", done.stderr)
        for descriptors in ((1,), (0, 1)):
            done = subprocess.run([CRIA, "run", "-m", STORIES, *ONCE, "-n", "5"], stderr=subprocess.PIPE, timeout=60, preexec_fn=close(*descriptors))
            self.assertEqual(done.returncode, 1)
            self.assertIn(b"stdout: Bad file descriptor", done.stderr)
        done = subprocess.run([CRIA, "run", "-m", STORIES, *ONCE, "-n", "5"], stdout=subprocess.PIPE, timeout=60, preexec_fn=close(0, 2))
        self.assertEqual(done.returncode, 0)

    def test_ctrl_c_ends_the_wait_for_input_but_where_the_parent_ignores_it(self):
        for is_ignored in (False, True):
            reader, writer = os.pipe()
            on_interrupt = signal.SIG_IGN if is_ignored else signal.SIG_DFL
            waiting = subprocess.Popen([CRIA, "run", "-m", STORIES, "-f", "-", "-n", "3", *GREEDY], stdin=reader, stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE, preexec_fn=lambda: signal.signal(signal.SIGINT, on_interrupt))
            os.close(reader)
            time.sleep(0.7)
            waiting.send_signal(signal.SIGINT)
            if is_ignored:
                time.sleep(0.3)
                os.write(writer, b"Once")
                os.close(writer)
                out, err = waiting.communicate(timeout=30)
                self.assertEqual((waiting.returncode, len(out) > 4), (0, True), err)
            else:
                err = waiting.communicate(timeout=30)[1]
                os.close(writer)
                self.assertEqual(waiting.returncode, 130)
                self.assertIn(b"cancelled", err)

    def test_wrong_usage_is_status_2_and_says_why(self):
        self.assertIn("foo is no command; cria --help lists them", cria("foo", status=2))
        self.assertIn("neither a template's name", cria("run", "-m", STORIES, *ONCE, "--chat-template", "nope", status=1))
        self.assertIn("--lora: is empty", cria("run", "-m", STORIES, *ONCE, "--lora", "", status=2))
        # What a variable that is not set leaves, and numbers that would be read as octal.
        for arguments in (["--temp", ""], ["--top-k", ""], ["--grammar", ""], ["--json-schema", ""], ["--draft", ""], ["-c", "0100"], ["-n", "010"]):
            with self.subTest(arguments=arguments):
                self.assertRegex(cria("run", "-m", STORIES, "-p", "Once", "--raw", *arguments, status=2), "is empty|begins with 0")
        self.assertIn("--model: is empty", cria("bench", "-m", "", status=2))
        self.assertIn("ids: 010 begins with 0", cria("detokenize", "-m", STORIES, "010", status=2))
        cria("run", "-m", STORIES, "-p", "", "--raw", "--system", "", "-n", "1", "-t", "0")

    def test_a_stop_string_may_have_brackets_and_commas(self):
        whole = run(*ONCE, *GREEDY, "-n", "40", "--stop", "[girl]", "--stop", "[x,girl]", "--stop", "[]").stdout
        self.assertIn(b"girl", whole)
        self.assertEqual(whole, run(*ONCE, *GREEDY, "-n", "40").stdout)

    def test_an_output_is_no_input(self):
        model = os.path.join(TMP, "copy.gguf")
        shutil.copy(STORIES, model)
        text = os.path.join(TMP, "text.txt")
        with open(text, "w", encoding="utf-8") as out:
            out.write("Once upon a time " * 40)
        for arguments in (["logits", "-m", model, "-p", "Once", "--out", model], ["logits", "-m", model, "-f", text, "--out", text],
                          ["perplexity", "-m", model, "-f", text, "-c", "32", "--save-logits", model],
                          ["perplexity", "-m", model, "-f", text, "-c", "32", "--save-logits", text]):
            with self.subTest(arguments=arguments):
                self.assertIn("is a file that is read", cria(*arguments, status=1))
        self.assertEqual(os.path.getsize(model), os.path.getsize(STORIES))
        self.assertEqual(os.path.getsize(text), 17 * 40)
        for arguments in ([], ["nonsense"], ["run"], ["run", "-m", STORIES], ["run", *ONCE], ["run", "-m", STORIES, *ONCE, "-f", "x"],
                          ["run", "-m", STORIES, *ONCE, "--nonsense"], ["run", "-m", STORIES, *ONCE, "-n", "x"], ["run", "-m", STORIES, *ONCE, "-n", "-2"],
                          ["run", "-m", STORIES, *ONCE, "-n", "1e30"], ["run", "-m", STORIES, *ONCE, "-t", "-1"],
                          ["run", "-m", STORIES, *ONCE, "-t", "9999999"], ["run", "-m", STORIES, *ONCE, "-c", "-1"],
                          ["run", "-m", STORIES, *ONCE, "--precision", "half"], ["run", "-m", STORIES, *ONCE, "--cache", "q4"],
                          ["run", "-m", STORIES, *ONCE, "--isa", "mmx"], ["run", "-m", STORIES, *ONCE, "--temp", "-1"],
                          ["run", "-m", STORIES, *ONCE, "--temp", "nan"], ["run", "-m", STORIES, *ONCE, "--top-p", "1.5"],
                          ["run", "-m", STORIES, *ONCE, "--top-k", "-3"], ["run", "-m", STORIES, *ONCE, "--min-p", "2"],
                          ["run", "-m", STORIES, *ONCE, "--repeat-penalty", "0"], ["run", "-m", STORIES, *ONCE, "--seed", "-1"],
                          ["run", "-m", STORIES, *ONCE, "--seed", "18446744073709551616"], ["run", "-m", STORIES, *ONCE, "--stop", ""],
                          ["run", "-m", STORIES, *ONCE, "--raw", "--system", "x"], ["run", "-m", STORIES, *ONCE, "extra"],
                          ["logits", "-m", STORIES, *ONCE, "--batch", "0"], ["logits", "-m", STORIES, *ONCE, "--top", "-1"], ["logits", "-m", STORIES],
                          ["detokenize", "-m", STORIES, "x"], ["detokenize", "1"], ["tokenize"], ["inspect"], ["cpu", "-m", STORIES]):
            with self.subTest(arguments=arguments):
                self.assertIn("cria: error: usage: cria", cria(*arguments, status=2))

    def test_help_and_version(self):
        help_text = cria("--help").stdout.decode()
        for command in ("run", "tokenize", "detokenize", "logits", "inspect", "cpu"):
            self.assertIn(command, help_text)
        self.assertIn("--repeat-penalty", cria("run", "--help").stdout.decode())
        self.assertRegex(cria("--version").stdout.decode(), r"^\d+\.\d+\.\d+\n$")


class Tokens(unittest.TestCase):
    def test_the_published_vectors(self):
        for vocab in ("llama-spm", "gpt-2"):
            base = os.path.join(DATA, "tokenizer/ggml-vocab-%s.gguf" % vocab)
            with open(base + ".inp", "rb") as f:
                texts = f.read().split(b"\n__ggml_vocab_test__\n")
            with open(base + ".out") as f:
                expected = [line.strip() for line in f.read().split("\n")]
            for text, ids in list(zip(texts, expected))[::5]:
                self.assertEqual(cria("tokenize", "-m", base, "--no-bos", stdin=text).stdout.decode(), ids + "\n", text)

    def test_bytes_survive_a_round_trip(self):
        for text in (b"plain", b" two  spaces ", "Größe 東京 🙂\n".encode(), b"\x00\x01\xff\xfe", b""):
            ids = cria("tokenize", "-m", VOCAB, stdin=text).stdout.decode().split()
            self.assertEqual(ids[0], "1")
            self.assertEqual(cria("detokenize", "-m", VOCAB, *ids).stdout, text)

    def test_what_tokenize_prints_detokenize_reads(self):
        path = os.path.join(TMP, "ids.txt")
        for vocab in (VOCAB, os.path.join(DATA, "tokenizer/ggml-vocab-gpt-2.gguf"), STORIES):
            for text in (b"plain", b" two  spaces ", b"  ", "Gr\u00f6\u00dfe \u6771\u4eac \U0001f642\n".encode(), b"\x00\x01\xff\xfe", b"", b"words " * 50000):
                ids = cria("tokenize", "-m", vocab, stdin=text).stdout
                self.assertEqual(cria("detokenize", "-m", vocab, stdin=ids).stdout, text)
                with open(path, "wb") as file:
                    file.write(b"[" + ids.strip().replace(b" ", b", ") + b"]\n")
                self.assertEqual(cria("detokenize", "-m", vocab, "-f", path).stdout, text)
        special = b"<s> a </s>b"
        ids = cria("tokenize", "-m", VOCAB, "--no-bos", stdin=special).stdout
        self.assertEqual(cria("detokenize", "-m", VOCAB, "--special", "-f", "-", stdin=ids).stdout, special)
        for bad in (b"1 2 x3", b"1.5", b"99999999999999", b"12a"):
            self.assertIn("bad_value: standard input: \"" + bad.split()[-1].decode() + "\" is no token id",
                          cria("detokenize", "-m", VOCAB, stdin=bad, status=1))
        self.assertIn("bad_argument: token 32000: ", cria("detokenize", "-m", VOCAB, stdin=b"1\n32000\n", status=1))
        self.assertIn("usage", cria("detokenize", "-m", VOCAB, "-f", path, "1", status=2))

    def test_special_tokens_are_parsed_unless_told_otherwise(self):
        self.assertEqual(cria("tokenize", "-m", VOCAB, "-p", "</s>").stdout, b"1 2\n")
        self.assertNotIn(b" 2\n", cria("tokenize", "-m", VOCAB, "-p", "</s>", "--no-special").stdout)
        self.assertEqual(cria("detokenize", "-m", VOCAB, "1", "2").stdout, b"")
        self.assertEqual(cria("detokenize", "-m", VOCAB, "--special", "1", "2").stdout, b"<s></s>")

    def test_ids_out_of_range_are_an_error(self):
        for bad in ("32000", "2147483647"):
            self.assertIn("bad_argument: token " + bad + ": ", cria("detokenize", "-m", VOCAB, bad, status=1))
        self.assertIn("bad_argument: token -1: ", cria("detokenize", "-m", VOCAB, "--", "-1", status=1))


class Logits(unittest.TestCase):
    def test_json_and_floats_are_the_golden_ones_however_the_prompt_is_split(self):
        with open(os.path.join(DATA, "golden/stories260K.json")) as f:
            golden = json.load(f)
        with open(os.path.join(DATA, "golden/stories260K.logits.f32"), "rb") as f:
            truth = f.read()
        at = 0
        for case in golden["cases"]:
            n = len(case["tokens"]) * golden["n_vocab"]
            reference = struct.unpack_from("<%df" % n, truth, at)
            at += 4 * n
            outputs = []
            for batch in ("1", "7", "64", "65536"):
                path = os.path.join(TMP, "logits.f32")
                printed = cria("logits", "-m", STORIES, "-p", case["prompt"], "--out", path, "--batch", batch, "--cache", "f32").stdout
                with open(path, "rb") as f:
                    outputs.append((printed, f.read()))
            self.assertEqual(len({o for o in outputs}), 1)
            got = json.loads(outputs[0][0])
            self.assertEqual(got["n_vocab"], golden["n_vocab"])
            (one,) = got["cases"]
            self.assertEqual((one["prompt"], one["tokens"]), (case["prompt"], case["tokens"]))
            self.assertAlmostEqual(one["mean_nll"], case["mean_nll"], delta=1e-4)
            for mine, theirs in zip(one["positions"], case["positions"], strict=True):
                self.assertAlmostEqual(mine["logsumexp"], theirs["logsumexp"], delta=3e-3)
                self.assertEqual(len(mine["top"]), len(theirs["top"]))
                self.assertEqual(mine["top"][0][0], theirs["top"][0][0])
                for (_, a), (_, b) in zip(mine["top"], theirs["top"]):
                    self.assertAlmostEqual(a, b, delta=3e-3)  # 1e-4 of the largest logit, about 25
            floats = struct.unpack("<%df" % n, outputs[0][1])
            scale = max(map(abs, reference))
            self.assertLessEqual(max(abs(a - b) for a, b in zip(floats, reference)), 1e-4 * scale)

    def test_top_and_errors(self):
        one = json.loads(cria("logits", "-m", STORIES, *ONCE, "--top", "3").stdout)["cases"][0]
        self.assertTrue(all(len(p["top"]) == 3 for p in one["positions"]))
        self.assertEqual(len(json.loads(cria("logits", "-m", STORIES, "-p", "", "--top", "0").stdout)["cases"][0]["positions"]), 1)
        self.assertIn("io: /no/such/dir/x: ", cria("logits", "-m", STORIES, *ONCE, "--out", "/no/such/dir/x", status=1))


class Inspect(unittest.TestCase):
    def test_json_tells_what_is_in_the_file(self):
        all_of_it = json.loads(cria("inspect", "-m", STORIES, "--json", "-c", "256").stdout)
        self.assertEqual(all_of_it["metadata"]["general.architecture"], "llama")
        self.assertEqual(all_of_it["metadata"]["llama.block_count"], 5)
        self.assertEqual(all_of_it["metadata"]["tokenizer.ggml.tokens"]["length"], 512)
        tensors = {t["name"]: t for t in all_of_it["tensors"]}
        self.assertEqual(tensors["token_embd.weight"]["type"], "F32")
        self.assertEqual(tensors["token_embd.weight"]["shape"], [64, 512])
        self.assertEqual(tensors["token_embd.weight"]["size"], 64 * 512 * 4)
        last = max(all_of_it["tensors"], key=lambda t: t["offset"])
        self.assertLessEqual(last["offset"] + last["size"], os.path.getsize(STORIES))
        # 256 positions of 5 layers x 4 heads x (8 keys + 16 values, padded) halves
        memory = all_of_it["memory"]
        self.assertEqual(memory["context"], 256)
        self.assertEqual(memory["cache"], 256 * 5 * 4 * (8 + 16) * 2)
        self.assertEqual(memory["total"], memory["weights"] + memory["cache"] + memory["activations"])
        self.assertGreaterEqual(memory["weights"], sum(t["size"] for t in all_of_it["tensors"]))

    def test_many_keys_take_time_by_their_number(self):
        def text(s):
            return struct.pack("<Q", len(s)) + s.encode()
        path, n = os.path.join(TMP, "keys.gguf"), 60000
        with open(path, "wb") as f:
            f.write(b"GGUF" + struct.pack("<IQQ", 3, 0, n))
            f.write(b"".join(text("a.key.of.some.length.%d" % i) + struct.pack("<II", 4, i) for i in range(n)))
        start = time.monotonic()
        cria("inspect", "-m", path)
        middle = time.monotonic()
        self.assertEqual(len(json.loads(cria("inspect", "-m", path, "--json").stdout)["metadata"]), n)
        self.assertLess(time.monotonic() - middle, 2 + 10 * (middle - start))   # looking for each among those before: 60 times
        os.remove(path)

    def test_text_and_files_without_a_model(self):
        text = cria("inspect", "-m", STORIES).stdout.decode()
        for word in ("general.architecture = \"llama\"", "token_embd.weight  F32  [64,512]", "bits per weight", "memory for a context of 128"):
            self.assertIn(word, text)
        text.encode("ascii")  # nothing of the file reaches a terminal unescaped
        self.assertIn("memory: unknown", cria("inspect", "-m", VOCAB).stdout.decode())
        self.assertIsNone(json.loads(cria("inspect", "-m", VOCAB, "--json").stdout)["memory"])
        self.assertIn("io: ", cria("inspect", "-m", "/no/such.gguf", status=1))
        self.assertIn("bad_magic", cria("inspect", "-m", __file__, status=1))


class Cpu(unittest.TestCase):
    def test_it_chooses_one_of_those_compiled_in(self):
        lines = dict(line.split(":", 1) for line in cria("cpu").stdout.decode().splitlines())
        self.assertIn(lines["chosen"].strip(), lines["compiled"].split())
        self.assertGreaterEqual(int(lines["threads"]), 1)
        setting = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")
        if setting.exists():
            self.assertIn("[%s]" % lines["huge pages"].split()[0], setting.read_text())
        foreign = "neon64" if "sse4_2" in lines["compiled"] or "avx2" in lines["compiled"] else "avx2"
        self.assertIn("cria: error: ", run(*ONCE, "--isa", foreign, status=1))



class Embed(unittest.TestCase):
    def vector(self, *more):
        lines = cria("embed", "-m", STORIES, *more).stdout.decode().splitlines()
        self.assertEqual(len(lines), 1)
        return [float(x) for x in lines[0].split()]

    def test_a_vector_of_the_models_width_and_of_length_one_unless_told_otherwise(self):
        unit, plain = self.vector(*ONCE), self.vector(*ONCE, "--no-normalize")
        self.assertEqual((len(unit), len(plain)), (64, 64))
        length = sum(x * x for x in plain) ** 0.5
        self.assertAlmostEqual(sum(x * x for x in unit), 1, places=5)
        for a, b in zip(unit, plain):
            self.assertAlmostEqual(a * length, b, places=4)

    def test_poolings_differ_and_mean_is_the_default_of_a_file_that_says_nothing(self):
        vectors = [self.vector(*ONCE, "--pooling", p) for p in ("mean", "cls", "last")]
        self.assertEqual(self.vector(*ONCE), vectors[0])
        self.assertEqual(len({tuple(v) for v in vectors}), 3)
        self.assertEqual(self.vector(*ONCE, "-t", "3"), vectors[0])
        # A text longer than the usual context has its vector as long as the model was trained for it.
        self.assertEqual(len(self.vector("-p", "word " * 200)), 64)
        self.assertIn("context_full", cria("embed", "-m", STORIES, "-p", "word " * 200, "-c", "64", status=1))
        self.assertIn("--pooling", cria("embed", "-m", STORIES, *ONCE, "--pooling", "max", status=2))


if __name__ == "__main__":
    if not os.path.exists(STORIES):
        print("SKIPPED: %s is absent (set CRIA_TEST_DATA)" % STORIES)
        sys.exit(77)
    os.makedirs(TMP, exist_ok=True)
    unittest.main(verbosity=1)
