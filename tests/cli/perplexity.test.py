# SPDX-License-Identifier: MIT
"""`cria perplexity`. Reference: llama-perplexity d32676d (August 2026) on the same model and text,
`llama-perplexity -m stories260K.gguf -f frankenstein.txt -c C -b C --chunks N -t 1 -fa off -ctk f32 -ctv f32`."""

import os
import pty
import re
import struct
import subprocess
import sys
import unittest

CRIA = os.path.join(os.environ["CRIA_EXAMPLES_DIR"], "cria")
DATA = os.environ["CRIA_TEST_DATA"]
TMP = os.environ["CRIA_TEST_TMP"]
STORIES = os.path.join(DATA, "models/stories260K.gguf")
TEXT = os.path.join(DATA, "texts/frankenstein.txt")
# window, windows -> its value and error
THEIRS = {(64, 1): (172.2515, None), (64, 5): (64.2458, None), (64, 8): (48.8644, 8.87851), (128, 20): (37.4809, 3.00727)}

PROGRESS = r"perplexity \d+ %(, \d+ (s|min) left)?  \d+ of \d+ windows: [\d.]+ \+/- [\d.]+$"


def cria(*arguments, status=0):
    done = subprocess.run([CRIA, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)
    assert done.returncode == status, "%s: status %d, not %d\n%s" % (arguments, done.returncode, status, done.stderr.decode())
    lines = [line for line in done.stderr.decode().splitlines() if not re.match(PROGRESS, line)]
    if status:
        assert len(lines) == 1 and lines[0].startswith("cria: error: "), done.stderr
        return lines[0]
    assert lines == [], done.stderr
    return done.stdout.decode()


def measure(window, windows, *more, model=STORIES, **options):
    return cria("perplexity", "-m", model, "-f", TEXT, "-c", str(window), "--chunks", str(windows), *more, **options)


def numbers(line, pattern):
    return [float(x) for x in re.search(pattern, line).groups()]


class Perplexity(unittest.TestCase):
    def test_the_figures_are_llama_perplexitys(self):
        for (window, windows), (value, error) in THEIRS.items():
            out = measure(window, windows, "--cache", "f32")
            mine, mine_error, n, length, scored = numbers(out, r"^perplexity ([\d.]+) \+/- ([\d.]+) \((\d+) windows of (\d+) tokens, (\d+) scored\)\n$")
            self.assertEqual((n, length, scored), (windows, window, windows * (window - 1 - window // 2)))
            self.assertAlmostEqual(mine / value, 1, delta=1e-5)  # float32 sums in another order; four printed digits
            if error:
                self.assertAlmostEqual(mine_error / error, 1, delta=1e-4)

    def test_threads_do_not_change_a_digit_and_the_text_may_be_given(self):
        expected = measure(64, 3)
        for more in (["-t", "1"], ["-t", "3"]):
            self.assertEqual(measure(64, 3, *more), expected)
        with open(TEXT, encoding="utf-8") as f:
            beginning = f.read()[:2000]
        self.assertEqual(cria("perplexity", "-m", STORIES, "-p", beginning, "-c", "64", "--chunks", "3"), expected)

    def test_saved_logits_and_divergence(self):
        saved = os.path.join(TMP, "stories.logits")
        expected = measure(64, 4)
        self.assertEqual(measure(64, 4, "--save-logits", saved), expected)
        n_rows = 4 * 31
        self.assertEqual(os.path.getsize(saved), 32 + 4 * 8 + 8 + n_rows * (12 + 2 * 512 + 8))
        same = measure(64, 4, "--kl", saved)
        self.assertTrue(same.startswith(expected))
        mean, _, largest = numbers(same, r"KL\(reference \|\| model\) mean (-?[\d.e-]+) \+/- ([\d.e-]+), max ([\d.e-]+) nats\n")
        self.assertLess(abs(mean), 1e-7)
        self.assertLess(largest, 1e-6)
        self.assertIn("same likeliest token 100.000 %", same)
        self.assertAlmostEqual(numbers(same, r"reference perplexity ([\d.]+)")[0] / numbers(expected, r"perplexity ([\d.]+)")[0], 1, delta=1e-4)

        small = os.path.join(TMP, "stories.q4_0.gguf")
        cria("quantize", STORIES, small, "Q4_0")
        other = measure(64, 2, "--kl", saved, model=small)  # fewer windows than were saved
        mean, _, largest = numbers(other, r"mean (-?[\d.e-]+) \+/- ([\d.e-]+), max ([\d.e-]+) nats\n")
        self.assertTrue(1e-4 < mean < 0.5 and mean < largest, other)

        def refused(pattern, *arguments, **more):
            self.assertRegex(measure(*arguments, status=1, **more), "cria: error: " + pattern)

        refused("mismatch: .*stories.logits: has windows of 64 tokens, not of 128", 128, 2, "--kl", saved)
        refused("mismatch: .*stories.logits: has 4 windows, fewer than the 5", 64, 5, "--kl", saved)
        refused("bad_magic: .*: is not a file of saved logits", 64, 2, "--kl", STORIES)
        refused("io: /no/such: ", 64, 2, "--kl", "/no/such")
        refused("io: /no/such/dir/x: ", 64, 2, "--save-logits", "/no/such/dir/x")
        with open(TEXT, "rb") as f:
            text = f.read()[1:4000]
        other_text = os.path.join(TMP, "other.txt")
        with open(other_text, "wb") as f:
            f.write(text)
        self.assertRegex(cria("perplexity", "-m", STORIES, "-f", other_text, "-c", "64", "--chunks", "2", "--kl", saved, status=1),
                         "mismatch: .*is of another text: window 1 ")
        with open(saved, "rb") as f:
            bytes_of = bytearray(f.read())
        changed = os.path.join(TMP, "changed.logits")
        struct.pack_into("<B", bytes_of, len(bytes_of) // 2, bytes_of[len(bytes_of) // 2] ^ 1)
        with open(changed, "wb") as f:
            f.write(bytes_of)
        refused("bad_value: .*changed.logits: row 31 of window 2 is damaged", 64, 4, "--kl", changed)
        with open(changed, "wb") as f:
            f.write(bytes_of[:-1])
        refused("truncated: .*changed.logits: ", 64, 4, "--kl", changed)

    def test_a_running_value_is_told_as_lines_in_a_file_and_as_one_line_on_a_terminal(self):
        command = [CRIA, "perplexity", "-m", STORIES, "-f", TEXT, "-c", "64", "--chunks", "20"]
        piped = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120, check=True)
        lines = piped.stderr.decode().splitlines()
        self.assertEqual([int(line.split()[1]) for line in lines], list(range(10, 101, 10)), lines)
        for line in lines:
            self.assertRegex(line, PROGRESS)
        # The last running value is the result.
        self.assertEqual(lines[-1].split(": ")[1].split()[0], piped.stdout.decode().split()[1])
        ours, theirs = pty.openpty()
        shown = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=theirs, timeout=120, check=True)
        os.close(theirs)
        self.assertEqual(shown.stdout, piped.stdout)
        text = os.read(ours, 65536).decode()
        os.close(ours)
        self.assertIn("\rperplexity [", text)
        self.assertNotIn("\n", text)

    def test_errors_and_usage(self):
        self.assertIn("bad_argument: text: has ", cria("perplexity", "-m", STORIES, "-p", "too short", status=1))
        self.assertIn("io: /no/such.txt: ", cria("perplexity", "-m", STORIES, "-f", "/no/such.txt", status=1))
        for arguments in (["-f", TEXT], ["-m", STORIES], ["-m", STORIES, "-f", TEXT, "-c", "3"], ["-m", STORIES, "-f", TEXT, "--chunks", "-1"]):
            self.assertIn("cria: error: usage: cria perplexity", cria("perplexity", *arguments, status=2))


if __name__ == "__main__":
    if not os.path.exists(STORIES) or not os.path.exists(TEXT):
        print("SKIPPED: %s or %s is absent (set CRIA_TEST_DATA)" % (STORIES, TEXT))
        sys.exit(77)
    os.makedirs(TMP, exist_ok=True)
    unittest.main()
