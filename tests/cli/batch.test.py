# SPDX-License-Identifier: MIT
"""`cria batch`: results in order, each the text of `cria run`; bad lines; and runs that are interrupted anywhere and go on."""

import json
import os
import random
import resource
import signal
import struct
import subprocess
import time
import unittest

CRIA = os.path.join(os.environ["CRIA_EXAMPLES_DIR"], "cria")
DATA = os.environ["CRIA_TEST_DATA"]
TMP = os.environ["CRIA_TEST_TMP"]
STORIES = os.path.join(DATA, "models/stories260K.gguf")
PROMPTS = ["Once upon a time", "The dog", "Once upon a time, there was", "Tom and Sue", "", "A \u00e9 \U0001f600 line\nand another"]


def path_of(name):
    return os.path.join(TMP, name)


def write(name, lines):
    with open(path_of(name), "w", encoding="utf-8") as f:
        f.write("".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines))
    return path_of(name)


def batch(source, target, *more, status=0):
    done = subprocess.run([CRIA, "batch", "-m", STORIES, "-f", source, "-o", target, "--temp", "0", "-n", "24", "-t", "1", *more], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=120)
    assert done.returncode == status, "status %d, not %d: %s" % (done.returncode, status, done.stderr.decode())
    return done


def read(path):
    with open(path, "rb") as f:
        return f.read()


def results(path):
    return [json.loads(line) for line in read(path).splitlines()]


def requests(n):
    return [{"id": "r%d" % i, "prompt": PROMPTS[i % len(PROMPTS)], "max_tokens": 1 + i * 7 % 40} for i in range(n)]


def adapter(name, seed):
    """Writes a LoRA adapter of two of the model's matrices, 64 columns each, as a GGUF file."""
    random_numbers, rank, tensors = random.Random(seed), 4, []
    for tensor, rows in (("blk.0.attn_q.weight", 64), ("blk.3.ffn_gate.weight", 172)):
        for shape, ending in (((64, rank), ".lora_a"), ((rank, rows), ".lora_b")):
            values = [random_numbers.uniform(-0.5, 0.5) for _ in range(shape[0] * shape[1])]
            tensors.append((tensor + ending, shape, struct.pack("<%df" % len(values), *values)))

    def text(t):
        return struct.pack("<Q", len(t)) + t.encode()

    keys = (("general.type", "adapter"), ("general.architecture", "llama"), ("adapter.type", "lora"))
    out = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys) + 1)
    out += b"".join(text(k) + struct.pack("<I", 8) + text(v) for k, v in keys) + text("adapter.lora.alpha") + struct.pack("<If", 6, 8.0)
    offset = 0
    for tensor, shape, data in tensors:
        out += text(tensor) + struct.pack("<IQQIQ", 2, *shape, 0, offset)
        offset += -len(data) % 32 + len(data)
    for part in [b""] + [data for _, _, data in tensors]:
        out += part
        out += b"\0" * (-len(out) % 32)
    with open(path_of(name), "wb") as f:
        f.write(out)
    return path_of(name)


def text_of_run(prompt, *more):
    done = subprocess.run([CRIA, "run", "--raw", "-m", STORIES, "-p", prompt, "-n", "24", "--temp", "0", "-t", "1", *more], capture_output=True, timeout=60)
    return done.stdout.decode("utf-8", "replace"), done


class Batch(unittest.TestCase):
    def test_adapters_act_on_all_lines_or_on_those_that_say_so(self):
        first, second, prompt = adapter("first.gguf", 1), adapter("second.gguf", 2), PROMPTS[0]
        choices = ((), ("--lora", first), ("--lora", first + ":0.5"), ("--lora", second, "--lora", first + ":-2"))
        plain, one, half, both = (text_of_run(prompt, *choice)[0] for choice in choices)
        self.assertEqual(len({plain, one, half, both}), 4)
        self.assertEqual(text_of_run(prompt, "--lora", first + ":0")[0], plain)
        source = write("lora.jsonl", [{"prompt": prompt}, {"prompt": prompt, "lora": []}, {"prompt": prompt, "lora": [{"id": 0, "scale": 0.5}]},
                                      {"prompt": prompt, "lora": [{"id": 1}, {"id": 0, "scale": -2}]}, {"prompt": prompt, "lora": [{"id": 0}]}])
        batch(source, path_of("lora.out.jsonl"), "--overwrite", "--lora", first, "--lora", second + ":0")
        self.assertEqual([r["text"] for r in results(path_of("lora.out.jsonl"))], [one, plain, half, both, one])
        bad = [{"prompt": "x", "lora": lora} for lora in ([{"id": 2}], [{"id": -1}], [{"scale": 1}], [0], {"id": 0}, [{"id": 0, "scale": "a"}])]
        batch(write("bad.jsonl", bad), path_of("lora.out.jsonl"), "--overwrite", "--lora", first, "--lora", second, status=1)
        self.assertEqual([r["error"]["code"] for r in results(path_of("lora.out.jsonl"))], ["bad_value"] * len(bad))
        for file in ("nowhere.gguf", STORIES, source):
            _, done = text_of_run(prompt, "--lora", file)
            self.assertEqual(done.returncode, 1)
            self.assertIn(os.path.basename(file), done.stderr.decode())

    def test_results_are_in_order_and_are_the_texts_of_run(self):
        source, target = write("in.jsonl", requests(12)), path_of("out.jsonl")
        batch(source, target, "--overwrite", "--parallel", "5")
        got = results(target)
        self.assertEqual([r["line"] for r in got], list(range(1, 13)))
        self.assertEqual([r["id"] for r in got], ["r%d" % i for i in range(12)])
        for r, asked in zip(got, requests(12)):
            text = subprocess.run([CRIA, "run", "--raw", "-m", STORIES, "-p", asked["prompt"], "-n", str(asked["max_tokens"]), "--temp", "0"],
                                  capture_output=True, check=True).stdout
            self.assertEqual(r["text"], text.decode("utf-8", "replace"))
            self.assertLessEqual(r["completion_tokens"], asked["max_tokens"])
        self.assertIn(got[0]["finish_reason"], ("max_tokens", "end_of_text"))
        for parallel in ("1", "16"):
            batch(source, path_of("other.jsonl"), "--overwrite", "--parallel", parallel)
            self.assertEqual(read(path_of("other.jsonl")), read(target))
        tight = batch(source, path_of("other.jsonl"), "--overwrite", "--parallel", "12", "-c", "128", "--cache-positions", "128")
        self.assertEqual(read(path_of("other.jsonl")), read(target))
        self.assertIn(b"12 requests, 0 done before, 0 errors", tight.stderr)
        self.assertEqual(batch(source, "-", "--parallel", "3").stdout, read(target))

    def test_replies_keep_to_a_schema_of_all_lines_or_of_one(self):
        person = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer", "minimum": 0, "maximum": 99}},
                  "required": ["name", "age"], "additionalProperties": False}
        colour = {"enum": ["red", "green"]}
        lines = [{"prompt": "Lily", "max_tokens": 200, "seed": i, "temperature": 1.5} for i in range(6)]
        lines += [{"prompt": "Lily", "max_tokens": 20, "json_schema": colour}, {"prompt": "Tom", "json_schema": colour},
                  {"prompt": "x", "json_schema": {"multipleOf": 2}}]
        schema = path_of("person.json")
        with open(schema, "w", encoding="utf-8") as f:
            json.dump(person, f)
        source = write("schema.jsonl", lines)
        batch(source, path_of("schema.out"), "--overwrite", "--parallel", "4", "--json-schema", schema, status=1)
        got = results(path_of("schema.out"))
        for r in got[:6]:
            self.assertEqual(r["finish_reason"], "end_of_text", r)
            made = json.loads(r["text"])
            self.assertEqual(sorted(made), ["age", "name"])
            self.assertTrue(0 <= made["age"] <= 99 and len(made["name"]) <= 8, made)
        self.assertGreater(len({r["text"] for r in got[:6]}), 1)
        for r in got[6:8]:
            self.assertIn(json.loads(r["text"]), ("red", "green"))
        self.assertIn("multipleOf", got[8]["error"]["message"])
        batch(source, path_of("schema.other"), "--overwrite", "--parallel", "1", "--json-schema", schema, status=1)
        self.assertEqual(read(path_of("schema.other")), read(path_of("schema.out")))
        grammar = path_of("g.gbnf")
        with open(grammar, "w", encoding="utf-8") as f:
            f.write('root ::= "yes" | "no"')
        batch(write("two.jsonl", [{"prompt": "Lily"}, {"prompt": "Tom"}]), path_of("two.out"), "--overwrite", "--grammar", grammar)
        self.assertTrue({r["text"] for r in results(path_of("two.out"))} <= {"yes", "no"})
        with open(grammar, "w", encoding="utf-8") as f:
            f.write("root ::= root")
        self.assertIn(b"g.gbnf: line 1", batch(source, path_of("no.out"), "--grammar", grammar, status=1).stderr)
        batch(source, path_of("no.out"), "--grammar", grammar, "--json-schema", schema, status=2)

    def test_a_line_may_set_every_number_of_the_sampler(self):
        settings = {"repeat_penalty": 3, "presence_penalty": 0.5, "frequency_penalty": 0.25, "repeat_last_n": 32, "no_repeat_ngram": 2}
        source = write("settings.jsonl", [{"prompt": PROMPTS[0], **settings, "order": "the writer's own"}, {"prompt": PROMPTS[0]},
                                          {"prompt": PROMPTS[0], "repeat_penalty": 0}, {"prompt": PROMPTS[0], "top_k": "3"}])
        batch(source, path_of("settings.out"), "--overwrite", status=1)
        got = results(path_of("settings.out"))
        self.assertEqual(got[1]["text"], text_of_run(PROMPTS[0])[0])
        self.assertNotEqual(got[0]["text"], got[1]["text"])
        self.assertIn("repeat_penalty: 0", got[2]["error"]["message"])
        self.assertIn("top_k: is not a number", got[3]["error"]["message"])
        batch(write("penalty.jsonl", [{"prompt": PROMPTS[0], "repeat_penalty": 3.0}]), path_of("penalty.out"), "--overwrite")
        self.assertEqual(results(path_of("penalty.out"))[0]["text"], text_of_run(PROMPTS[0], "--repeat-penalty", "3")[0])

    def test_what_a_server_would_do_and_batch_does_not_is_an_error_of_the_line(self):
        wishes = {"tools": [{"type": "function"}], "response_format": {"type": "json_object"}, "max_completion_tokens": 5, "n": 2, "logprobs": True,
                  "logit_bias": {"5": 1}, "grammar": "root ::= \"a\"", "body": {"messages": []}}
        nothing = {"tools": [], "response_format": {"type": "text"}, "n": 1, "logprobs": False, "logit_bias": None, "model": "m", "stream": True, "user": "u"}
        lines = [{"prompt": "x", key: value} for key, value in wishes.items()] + [{"prompt": "x", **nothing}]
        batch(write("wishes.jsonl", lines), path_of("wishes.out"), "--overwrite", status=1)
        got = results(path_of("wishes.out"))
        for key, answer in zip(wishes, got):
            self.assertTrue(answer["error"]["message"].startswith(key + ": "), answer)
        self.assertIn("text", got[-1])

    def test_a_bad_line_is_an_error_of_its_own(self):
        lines = ["{\"prompt\": \"Once\"}\n", "not json\n", "\n", "[1, 2]\n", {"id": 7}, {"prompt": 5}, {"prompt": "x", "temperature": -1},
                 {"prompt": "x", "top_p": "a"}, {"prompt": "x", "stop": [""]}, {"prompt": "x " * 2000},
                 {"id": "chat", "messages": [{"role": "user", "content": "hi"}]}, "[" * 100000 + "\n", "{\"prompt\": \"x\", \"max_tokens\": 1e400}\n",
                 {"prompt": "x", "max_tokens": 2.5}, {"prompt": "x", "seed": -1}, "{\"prompt\": \"\\ud800\"}\n", "\xff\n", {"messages": []},
                 {"prompt": "The", "stop": " a", "note": "a key of the writer's own"}]
        source, target = write("bad.jsonl", lines), path_of("bad.out.jsonl")
        done = batch(source, target, "--overwrite", "-c", "256", status=1)
        self.assertIn(b"requests: 16 have no answer", done.stderr)
        self.assertIn(b"requests: 16 have no answer", batch(source, target, "-c", "256", status=1).stderr)   # all done before, but not answered
        for wrong in (["-n", "-5"], ["-n", "18446744073709551616"], ["--seed", "-1"]):
            batch(source, path_of("no.out"), *wrong, status=2)
        got = results(target)
        self.assertEqual([r["line"] for r in got], [1, 2] + list(range(4, 20)))
        self.assertEqual([("error" in r) for r in got], [False] + [True] * 16 + [False])
        codes = {r["line"]: r["error"]["code"] for r in got if "error" in r}
        self.assertEqual(codes[2], "bad_value")
        self.assertEqual(codes[10], "context_full")
        self.assertEqual(codes[11], "missing_key")
        self.assertEqual(got[3]["id"], 7)
        self.assertEqual(codes[18], "bad_value")
        self.assertIn(b"16 errors", done.stderr)
        self.assertNotIn(" a", got[-1]["text"])

    def test_messages_are_answered_as_run_does_by_the_template_that_is_chosen(self):
        lines = [{"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": p}]} for p in PROMPTS[:3]]
        source = write("messages.jsonl", lines)
        for form in ("zephyr", "chatml"):
            batch(source, path_of("messages.out"), "--overwrite", "--chat-template", form)
            for r, asked in zip(results(path_of("messages.out")), lines):
                done = subprocess.run([CRIA, "run", "-m", STORIES, "--system", "Be kind.", "-p", asked["messages"][1]["content"], "-n", "24", "--temp", "0",
                                       "--chat-template", form], capture_output=True, check=True)
                self.assertEqual(r["text"], done.stdout.decode("utf-8", "replace"))
                self.assertFalse(r["text"].startswith(" "))
        kept = read(path_of("messages.out"))
        self.assertIn(b"neither a template's name", batch(source, path_of("messages.out"), "--overwrite", "--chat-template", "nope", status=1).stderr)
        self.assertEqual(read(path_of("messages.out")), kept)

    def test_a_run_goes_on_behind_what_is_whole(self):
        source, target = write("resume.jsonl", requests(20)), path_of("resume.out.jsonl")
        batch(source, path_of("whole.jsonl"), "--overwrite")
        whole = read(path_of("whole.jsonl"))
        for kept in (0, 1, len(whole) // 3, len(whole) // 2, len(whole) - 1, len(whole)):
            with open(target, "wb") as f:
                f.write(whole[:kept])
            batch(source, target)
            self.assertEqual(read(target), whole, kept)
        with open(target, "wb") as f:
            f.write(b'{"line": 3}\n')
        refused = batch(source, target, status=1)
        self.assertIn(b"mismatch", refused.stderr)
        self.assertEqual(read(target), b'{"line": 3}\n')
        with open(target, "wb") as f:   # an input that has changed since, as far as its ids tell
            f.write(whole[:len(whole) // 2])
        begun = read(target)
        for changed in (requests(21)[1:], [{"custom_id": 7, "prompt": "x"}] + requests(20)[1:], ["no JSON\n"] + requests(20)[1:]):
            self.assertIn(b"mismatch", batch(write("changed.jsonl", changed), target, status=1).stderr)
            self.assertEqual(read(target), begun)
        # The same ids with other words or settings: the answers are those of other requests.
        for key, value in (("prompt", "Else"), ("max_tokens", 3), ("temperature", 0.5), ("repeat_penalty", 1.5), ("stop", "x"), ("json_schema", {"enum": [1]})):
            changed = requests(20)
            changed[1][key] = value
            done = batch(write("changed.jsonl", changed), target, status=1)
            self.assertIn(b"mismatch", done.stderr)
            self.assertIn(b"line 2 answers line 2 of the requests as it was before it changed", done.stderr)
            self.assertEqual(read(target), begun)
        batch(write("changed.jsonl", [{"note": i, **r} for i, r in enumerate(requests(20))]), target)   # keys of the writer's own change nothing
        self.assertEqual(read(target), whole)
        without = [{k: v for k, v in r.items() if k != "request"} for r in results(target)]   # results that do not say which request they answer
        batch(source, write("without.jsonl", without[:7]))
        self.assertEqual([r["text"] for r in results(path_of("without.jsonl"))], [r["text"] for r in without])
        short = write("short.jsonl", requests(2))
        with open(target, "wb") as f:
            f.write(whole)
        batch(short, target, status=1)
        self.assertEqual(read(target), whole)

    def test_what_is_no_result_is_left_alone(self):
        source = write("kept.jsonl", requests(3))
        for text in (b"my data", b"{", b'{"line":7,', b'{"prompt": "x"}', b'{"line":1,"id"'):
            target = path_of("kept.out")
            with open(target, "wb") as f:
                f.write(text)
            is_begun = b'{"line":1,'.startswith(text[:10])
            if not is_begun:
                self.assertIn(b"mismatch", batch(source, target, status=1).stderr)
            # nothing is cut off before the model is there
            self.assertEqual(subprocess.run([CRIA, "batch", "-m", path_of("no.gguf"), "-f", source, "-o", target], stderr=subprocess.PIPE).returncode, 1)
            refused = subprocess.run([CRIA, "batch", "-m", path_of("no.gguf"), "-f", source, "-o", target, "--overwrite"], stderr=subprocess.PIPE)
            self.assertEqual(refused.returncode, 1)
            self.assertEqual(read(target), text)
            batch(source, target, *([] if is_begun else ["--overwrite"]))
            self.assertEqual(len(results(target)), 3)
        before = read(source)
        for more in ([], ["--overwrite"]):
            self.assertIn(b"bad_argument", batch(source, source, *more, status=1).stderr)
        self.assertEqual(read(source), before)

    def test_an_interrupted_run_loses_and_repeats_nothing(self):
        source, target = write("long.jsonl", requests(100)), path_of("long.out.jsonl")
        batch(source, path_of("long.whole.jsonl"), "--overwrite", "--parallel", "4")
        whole = read(path_of("long.whole.jsonl"))
        if os.path.exists(target):
            os.remove(target)
        n_interrupted = 0
        for stop in (signal.SIGINT, signal.SIGKILL, signal.SIGINT):
            running = subprocess.Popen([CRIA, "batch", "-m", STORIES, "-f", source, "-o", target, "--temp", "0", "-n", "24", "-t", "1", "--parallel", "4"],
                                       stderr=subprocess.PIPE)
            size = os.path.getsize(target) if os.path.exists(target) else 0
            deadline = time.time() + 60
            while running.poll() is None and time.time() < deadline and (os.path.getsize(target) if os.path.exists(target) else 0) <= size:
                time.sleep(0.002)
            if running.poll() is None:
                running.send_signal(stop)
            error = running.communicate(timeout=60)[1]
            if running.returncode:
                n_interrupted += 1
                self.assertTrue(whole.startswith(read(target)[:read(target).rfind(b"\n") + 1]))
                if stop == signal.SIGINT:
                    self.assertIn(b"cancelled", error)
        self.assertGreater(n_interrupted, 0)
        batch(source, target, "--parallel", "4")
        self.assertEqual(read(target), whole)

    def test_a_file_that_reaches_its_limit_is_an_error_and_goes_on_later(self):
        source, target = write("limit.jsonl", requests(40)), path_of("limit.out.jsonl")
        batch(source, path_of("limit.whole.jsonl"), "--overwrite")
        whole, limit = read(path_of("limit.whole.jsonl")), 1500
        command = [CRIA, "batch", "-m", STORIES, "-f", source, "-o", target, "--overwrite", "--temp", "0", "-n", "24", "-t", "1"]
        full = subprocess.run(command, stderr=subprocess.PIPE, timeout=120, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
        self.assertEqual(full.returncode, 1, full.stderr)
        self.assertRegex(full.stderr, rb"io: results: cannot be written: .+; the same command goes on")
        self.assertEqual(read(target), whole[:limit])
        batch(source, target)
        self.assertEqual(read(target), whole)
        self.assertIn(b"40 requests, all done before", batch(source, target).stderr)
        self.assertEqual(read(target), whole)

    def test_results_may_go_to_a_device(self):
        source = write("device.jsonl", requests(3))
        batch(source, "/dev/null")
        if os.path.exists("/dev/full"):
            self.assertRegex(batch(source, "/dev/full", status=1).stderr, rb"io: results: cannot be written: .+")

    def test_files_that_cannot_be_used_are_errors(self):
        source = write("one.jsonl", requests(1))
        self.assertIn(b"io", batch(path_of("absent.jsonl"), path_of("x"), status=1).stderr)
        self.assertIn(b"io", batch(source, os.path.join(TMP, "absent", "x"), status=1).stderr)
        self.assertIn(b"io", batch(source, TMP, status=1).stderr)
        batch(source, path_of("x"), "--parallel", "0", status=2)
        empty = write("empty.jsonl", ["\n"])
        batch(empty, path_of("empty.out.jsonl"), "--overwrite")
        self.assertEqual(read(path_of("empty.out.jsonl")), b"")


if __name__ == "__main__":
    if not os.path.exists(STORIES):
        print("SKIPPED: %s is absent (set CRIA_TEST_DATA)" % STORIES)
        raise SystemExit(77)
    os.makedirs(TMP, exist_ok=True)
    unittest.main()
