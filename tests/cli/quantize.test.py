# SPDX-License-Identifier: MIT
"""`cria quantize` and what `cria inspect` says of its files. Reference: the fixture files, which llama-quantize made (models/README.md)."""

import contextlib
import json
import os
import pty
import resource
import signal
import subprocess
import sys
import unittest

CRIA = os.path.join(os.environ["CRIA_EXAMPLES_DIR"], "cria")
DATA = os.environ["CRIA_TEST_DATA"]
TMP = os.environ["CRIA_TEST_TMP"]
FIXTURE = os.path.join(DATA, "models/fixture-256.F32.gguf")
STORIES = os.path.join(DATA, "models/stories260K.gguf")


def cria(*arguments, status=0, **more):
    done = subprocess.run([CRIA, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120, **more)
    assert done.returncode == status, "%s: status %d, not %d\n%s" % (arguments, done.returncode, status, done.stderr.decode())
    if status:
        lines = done.stderr.decode().splitlines()
        assert len(lines) == 1 and lines[0].startswith("cria: error: "), done.stderr
        return lines[0]
    assert done.stderr == b"", done.stderr
    return done.stdout.decode()


def inspect(path):
    return json.loads(cria("inspect", "-m", path, "--json"))


def path_of(name):
    return os.path.join(TMP, name)


class Quantize(unittest.TestCase):
    def test_the_mixes_of_the_fixture_files(self):
        for kind in ("Q4_0", "q4_k_m", "IQ4_XS"):
            out = path_of("out.gguf")
            report = cria("quantize", FIXTURE, out, kind, "-t", "2")
            mine, theirs = inspect(out), inspect(os.path.join(DATA, "models/fixture-256.%s.gguf" % kind.upper()))
            self.assertEqual({t["name"]: (t["type"], t["shape"]) for t in mine["tensors"]}, {t["name"]: (t["type"], t["shape"]) for t in theirs["tensors"]})
            self.assertEqual(mine["metadata"]["general.file_type"], theirs["metadata"]["general.file_type"])
            self.assertEqual(mine["types"], theirs["types"])
            self.assertIn("%.3f bits per weight" % mine["all_types"]["bits_per_weight"], report)
            self.assertIn(out + ": 30 tensors, 10.1 MB -> ", report)

    def test_bits_per_weight_are_those_of_the_bytes(self):
        out = path_of("bits.gguf")
        cria("quantize", FIXTURE, out, "Q4_0")
        told = inspect(out)
        size = sum(t["size"] for t in told["tensors"])
        weights = 0
        for t in told["tensors"]:
            n = 1
            for d in t["shape"]:
                n *= d
            weights += n
        self.assertEqual((told["all_types"]["size"], told["all_types"]["elements"], told["all_types"]["tensors"]), (size, weights, len(told["tensors"])))
        self.assertAlmostEqual(told["all_types"]["bits_per_weight"], 8 * size / weights, places=9)
        self.assertAlmostEqual(told["types"]["Q4_0"]["bits_per_weight"], 4.5, places=9)
        text = cria("inspect", "-m", out)
        self.assertRegex(text, r"\nQ4_0 +\d+ tensors +\d+\.\d MB +4\.500 bits per weight\n")
        self.assertRegex(text, r"\nall +30 tensors +\d+\.\d MB +%.3f bits per weight\n" % (8 * size / weights))

    def test_the_model_still_tells_stories_and_fallbacks_are_told(self):
        out = path_of("stories.gguf")
        report = cria("quantize", STORIES, out, "Q8_0")
        self.assertIn("blk.0.ffn_down.weight: rows of 172 do not fit Q8_0, so it is F16\n", report)
        self.assertIn("little girl", cria("run", "-m", out, "-p", "Once upon a time", "-n", "40", "--temp", "0"))

    def test_chosen_types_threads_and_files_that_are_quantised_already(self):
        one, two = path_of("one.gguf"), path_of("two.gguf")
        cria("quantize", FIXTURE, one, "Q4_K", "-t", "1", "--output-type", "q8_0", "--embedding-type", "F16")
        cria("quantize", FIXTURE, two, "Q4_K_M", "-t", "3", "--output-type", "Q8_0", "--embedding-type", "f16")
        with open(one, "rb") as a, open(two, "rb") as b:
            self.assertEqual(a.read(), b.read())
        types = {t["name"]: t["type"] for t in inspect(one)["tensors"]}
        self.assertEqual((types["output.weight"], types["token_embd.weight"]), ("Q8_0", "F16"))
        report = cria("quantize", one, two, "Q2_K", "--pure")
        self.assertRegex(report, r"\d+ tensors were Q4_K already and lost precision twice")
        self.assertEqual(inspect(two)["types"].keys(), {"F32", "Q2_K"})

    def test_errors_leave_the_target_alone(self):
        folder = path_of("errors")
        os.makedirs(folder, exist_ok=True)
        target, cut = os.path.join(folder, "target.gguf"), os.path.join(folder, "cut.gguf")
        with open(target, "w") as f:
            f.write("precious")
        with open(FIXTURE, "rb") as f, open(cut, "wb") as g:
            g.write(f.read()[:3_000_000])

        def refused(pattern, *arguments, status=1, **more):
            self.assertRegex(cria("quantize", *arguments, status=status, **more), "cria: error: " + pattern)
            with open(target) as f:
                self.assertEqual(f.read(), "precious")
            self.assertEqual(sorted(os.listdir(folder)), ["cut.gguf", "target.gguf"])

        refused("truncated: ", cut, target, "Q4_0")
        refused("io: /no/such.gguf: ", "/no/such.gguf", target, "Q4_0")
        refused("bad_magic: ", target, os.path.join(folder, "new.gguf"), "Q4_0")
        refused("io: .*/no/folder/x.gguf: cannot create", FIXTURE, os.path.join(folder, "no/folder/x.gguf"), "Q4_0")
        refused("io: .*: is a directory", FIXTURE, folder, "Q4_0")
        refused("io: /dev/full: not a regular file", FIXTURE, "/dev/full", "Q4_0")
        refused("usage: cria quantize: TYPE: Q9 is none of F32, F16, .*Q4_K_M", FIXTURE, target, "Q9", status=2)
        refused("usage: cria quantize: .*cria writes no tensors of type IQ2_S", FIXTURE, target, "Q4_0", "--output-type", "IQ2_S", status=2)
        refused("usage: ", FIXTURE, target, status=2)
        refused("usage: ", FIXTURE, target, "Q4_0", "-t", "-1", status=2)

        def no_room():   # a write beyond 100,000 bytes fails, as on a full disk
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

        refused("io: .*target.gguf: cannot write: File too large", FIXTURE, target, "Q4_0", preexec_fn=no_room, restore_signals=False)

    def test_the_target_must_not_be_the_source(self):
        copy = path_of("same.gguf")
        with open(STORIES, "rb") as f, open(copy, "wb") as g:
            g.write(f.read())
        link = path_of("link.gguf")
        if os.path.lexists(link):
            os.remove(link)
        os.symlink(copy, link)
        for target in (copy, link):
            self.assertIn("bad_argument: %s: is the file that the model is read from" % target, cria("quantize", copy, target, "F16", status=1))
        with open(STORIES, "rb") as f, open(copy, "rb") as g:
            self.assertEqual(f.read(), g.read())

    def test_a_terminal_gets_a_bar_and_is_left_clean(self):
        master, slave = pty.openpty()
        done = subprocess.run([CRIA, "quantize", FIXTURE, path_of("bar.gguf"), "Q4_K_M"], stdout=subprocess.PIPE, stderr=slave, timeout=120)
        os.close(slave)
        shown = b""
        with contextlib.suppress(OSError):   # EIO ends it: a single read gets what the kernel has passed on until then
            while part := os.read(master, 65536):
                shown += part
        os.close(master)
        self.assertEqual(done.returncode, 0)
        self.assertIn(b"quantising [", shown)
        self.assertTrue(shown.endswith(b" \r"), shown[-20:])
        self.assertNotIn(b"\n", shown)


if __name__ == "__main__":
    if not os.path.exists(STORIES) or not os.path.exists(FIXTURE):
        print("SKIPPED: %s or %s is absent (set CRIA_TEST_DATA)" % (STORIES, FIXTURE))
        sys.exit(77)
    os.makedirs(TMP, exist_ok=True)
    unittest.main()
