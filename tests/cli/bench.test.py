# SPDX-License-Identifier: MIT
"""`cria bench`: its rows in every format, its lists, its synthetic models, what it refuses; and bench/compare.py with cria as its own peer."""

import csv
import filecmp
import io
import json
import math
import os
import shutil
import subprocess
import sys
import unittest

CRIA = os.path.join(os.environ["CRIA_EXAMPLES_DIR"], "cria")
TMP = os.environ["CRIA_TEST_TMP"]
SOURCE = os.environ["CRIA_SOURCE_DIR"]
DATA = os.environ["CRIA_TEST_DATA"]
TINY = ["--synthetic", "tiny", "-t", "1"]

# The fields of llama-bench (d32676d) that mean something for cria, in its order.
LLAMA_BENCH = ("build_commit build_number cpu_info gpu_info backends model_filename model_type model_size model_n_params n_batch n_ubatch n_threads "
               "type_k type_v n_gpu_layers n_prompt n_gen n_depth test_time avg_ns stddev_ns avg_ts stddev_ts").split()
OWN = ("precision instruction_set load_ns first_token_ns peak_memory read_bandwidth percent_of_bandwidth dot_peak percent_of_dot_peak").split()


def bench(*options, status=0):
    done = subprocess.run([CRIA, "bench", *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", timeout=600)
    assert done.returncode == status, "%s: status %d\n%s%s" % (options, done.returncode, done.stdout, done.stderr)
    return done.stderr if status else done.stdout


class Rows(unittest.TestCase):
    def test_json_has_both_precisions_and_statistics_that_follow_from_the_samples(self):
        rows = json.loads(bench(*TINY, "-p", "40", "-n", "5", "-r", "3", "-o", "json"))
        self.assertEqual([(r["precision"], r["n_prompt"], r["n_gen"]) for r in rows], [("exact", 40, 0), ("exact", 0, 5), ("fast", 40, 0), ("fast", 0, 5)])
        for r in rows:
            self.assertEqual(list(r)[:len(LLAMA_BENCH)], LLAMA_BENCH)
            self.assertEqual(list(r)[len(LLAMA_BENCH):], OWN + ["samples_ns", "samples_ts"])
            ns, ts, n = r["samples_ns"], r["samples_ts"], r["n_prompt"] + r["n_gen"]
            self.assertEqual((len(ns), len(ts)), (3, 3))
            mean = sum(ts) / 3
            self.assertTrue(math.isclose(r["avg_ts"], mean, rel_tol=1e-6))
            self.assertTrue(math.isclose(r["stddev_ts"], math.sqrt(sum((t - mean) ** 2 for t in ts) / 2), rel_tol=1e-4, abs_tol=1e-6))
            self.assertTrue(abs(r["avg_ns"] - sum(ns) / 3) <= 1)
            for one_ns, one_ts in zip(ns, ts):
                self.assertTrue(math.isclose(one_ts, 1e9 * n / one_ns, rel_tol=1e-3))
            self.assertTrue(r["load_ns"] > 0 and r["peak_memory"] > r["model_size"] and r["read_bandwidth"] > 1e8)
            self.assertEqual(r["first_token_ns"] is None, r["n_prompt"] == 0)
            if r["n_prompt"]:
                self.assertTrue(r["first_token_ns"] >= r["avg_ns"])
            self.assertEqual(r["percent_of_bandwidth"] is None, r["n_gen"] == 0)
            self.assertTrue(r["percent_of_dot_peak"] is None or r["n_prompt"] > 0)
            self.assertRegex(r["test_time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
            # tiny: 1.7 M parameters; bytes of all tensors
            self.assertEqual(r["model_n_params"], 1024 * 256 * 2 + 2 * (2 * 256 * 256 + 2 * 256 * 128 + 3 * 256 * 512 + 2 * 256) + 256)

    def test_lists_make_rows_in_order_and_zero_makes_none(self):
        rows = json.loads(bench(*TINY, "-p", "8", "-p", "16", "-n", "0", "-d", "0-32+32", "-t", "2", "--precision", "fast", "-r", "1", "-o", "json"))
        self.assertEqual([(r["n_threads"], r["n_depth"], r["n_prompt"]) for r in rows], [(t, d, p) for t in (1, 2) for d in (0, 32) for p in (8, 16)])
        self.assertEqual({r["precision"] for r in rows}, {"fast"})

    def test_csv_and_jsonl_tell_the_same_fields(self):
        table = list(csv.DictReader(io.StringIO(bench(*TINY, "-p", "8", "-n", "2", "-r", "1", "-o", "csv"))))
        lines = [json.loads(line) for line in bench(*TINY, "-p", "8", "-n", "2", "-r", "1", "-o", "jsonl").splitlines()]
        self.assertEqual(len(table), 4)
        self.assertEqual(len(lines), 4)
        for row, line in zip(table, lines):
            self.assertEqual(list(row), LLAMA_BENCH + OWN)
            for field in ("model_type", "precision", "n_prompt", "n_gen", "n_depth", "n_threads", "model_size", "type_k"):
                self.assertEqual(row[field], str(line[field]))
            self.assertGreater(float(row["avg_ts"]), 0)

    def test_md_is_a_table_with_a_row_for_each_test(self):
        lines = bench(*TINY, "-p", "8", "-n", "2", "-d", "4", "--precision", "exact").splitlines()
        titles = [c.strip() for c in lines[0].strip("|").split("|")]
        self.assertEqual(titles[:3] + titles[7:9], ["model", "size", "params", "test", "t/s"])
        cells = [[c.strip() for c in line.strip("|").split("|")] for line in lines[2:4]]
        self.assertEqual([c[7] for c in cells], ["pp8 @ d4", "tg2 @ d4"])
        for c in cells:
            self.assertEqual(len(c), len(titles))
            self.assertRegex(c[8], r"^[0-9.]+ ± [0-9.]+$")
        self.assertTrue(any("GB/s" in line for line in lines[4:]))

    def test_the_machine_is_measured_beside_each_row_and_in_no_sample(self):
        rows = json.loads(bench(*TINY, "-p", "0", "-n", "16,96", "-r", "5", "--precision", "fast", "-o", "json"))
        self.assertEqual(len({r["read_bandwidth"] for r in rows}), 2)
        self.assertEqual(len({r["dot_peak"] for r in rows}), 1 if rows[0]["dot_peak"] == 0 else 2)
        # 96 tokens have five readings among them, which take several times as long as they do; 16 have none.
        few, many = (max(r["samples_ts"]) for r in rows)
        self.assertGreater(many, few / 2)

    def test_context_batch_cache_and_instruction_set_are_used(self):
        rows = json.loads(bench(*TINY, "-p", "16", "-n", "0", "-c", "64", "-b", "8", "--cache", "f32", "--precision", "exact", "-o", "json"))
        self.assertEqual((rows[0]["n_batch"], rows[0]["type_k"], rows[0]["type_v"]), (8, "f32", "f32"))
        chosen = rows[0]["instruction_set"]
        rows = json.loads(bench(*TINY, "-p", "16", "-n", "0", "--isa", chosen, "--precision", "exact", "-o", "json"))
        self.assertEqual(rows[0]["instruction_set"], chosen)


class Ceilings(unittest.TestCase):
    """The shares of what the machine could do: of what a token really reads and multiplies."""

    @staticmethod
    def model(name):
        path = os.path.join(DATA, "models", "arch", name + ".Q4_0.gguf")
        if not os.access(path, os.R_OK):
            raise unittest.SkipTest("%s is absent (set CRIA_TEST_DATA)" % path)
        return path

    @staticmethod
    def inspected(path):
        done = subprocess.run([CRIA, "inspect", "-m", path, "--json"], stdout=subprocess.PIPE, encoding="utf-8", timeout=60, check=True)
        found = json.loads(done.stdout)
        return found["metadata"], found["tensors"]

    @staticmethod
    def bytes_and_dots(path, *options):
        """Bytes that each row's token reads, and multiply-adds of bytes, as its percentage has them; None where it has none."""
        rows = json.loads(bench("-m", path, "-t", "1", "-r", "1", "--no-warmup", "--precision", "fast", "-o", "json", *options))
        of = lambda r, share, most: None if r[share] is None else r[share] / 100 * r[most] / r["avg_ts"]
        return [(of(r, "percent_of_bandwidth", "read_bandwidth"), of(r, "percent_of_dot_peak", "dot_peak")) for r in rows]

    def near(self, got, expected):
        self.assertTrue(math.isclose(got, expected, rel_tol=1e-6), "%s is not %s" % (got, expected))

    def test_of_experts_those_count_that_a_token_uses(self):
        for name in ("llama-moe", "qwen3moe"):
            path = self.model(name)
            keys, tensors = self.inspected(path)
            architecture = keys["general.architecture"]
            share = keys[architecture + ".expert_used_count"] / keys[architecture + ".expert_count"]
            self.assertLess(share, 1)
            layers, heads = keys[architecture + ".block_count"], keys[architecture + ".attention.head_count_kv"]
            k_rows = next(t["shape"][1] for t in tensors if t["name"] == "blk.0.attn_k.weight")
            read, token_dots, head_dots = 2 * 2 * layers * k_rows * 2.5, 0, 0   # of the cache, for the mean of 1, 2, 3 and 4 positions
            self.assertEqual(k_rows % heads, 0)
            for t in tensors:
                used = share if "_exps." in t["name"] else 1
                read += t["size"] / t["shape"][1] if t["name"] == "token_embd.weight" else t["size"] * used
                if len(t["shape"]) > 1 and t["type"] != "F32" and t["name"] != "token_embd.weight":
                    dots = math.prod(t["shape"]) * used
                    token_dots, head_dots = (token_dots, dots) if t["name"] == "output.weight" else (token_dots + dots, head_dots)
            (_, prompt_dots), (generated_bytes, _) = self.bytes_and_dots(path, "-p", "16", "-n", "4")
            self.near(generated_bytes, read)
            if prompt_dots is not None:   # the processor's most are known
                self.near(prompt_dots, token_dots + head_dots / 16)

    def test_layers_with_a_window_are_read_within_it(self):
        path = self.model("gemma2")
        keys, tensors = self.inspected(path)
        window, layers = keys["gemma2.attention.sliding_window"], keys["gemma2.block_count"]
        k_rows = next(t["shape"][1] for t in tensors if t["name"] == "blk.0.attn_k.weight")
        depths = (0, window - 2, window, window + 84)
        got = [read for read, _ in self.bytes_and_dots(path, "-p", "0", "-n", "4", "-d", ",".join(map(str, depths)))]
        weights = sum(t["size"] for t in tensors)   # the head is the embedding
        for depth, read in zip(depths, got):   # every other layer has the window
            positions = sum(layers / 2 * (depth + i + min(depth + i, window)) for i in (1, 2, 3, 4)) / 4
            self.near(read, weights + positions * 2 * 2 * k_rows)

    def test_of_learned_positions_one_row_is_read(self):
        path = self.model("gpt2")
        keys, tensors = self.inspected(path)
        width = keys["gpt2.embedding_length"]
        read = sum(t["size"] / (t["shape"][1] if t["name"] == "position_embd.weight" else 1) for t in tensors)
        self.near(self.bytes_and_dots(path, "-p", "0", "-n", "1")[0][0], read + 2 * 2 * keys["gpt2.block_count"] * width)


class Models(unittest.TestCase):
    def test_a_saved_model_is_the_same_each_time_and_is_measured_as_a_file(self):
        paths = [os.path.join(TMP, name) for name in ("a.gguf", "b.gguf")]
        for path in paths:
            self.assertEqual(bench("--synthetic", "tiny:q4_k_m", "--save", path), "")
        self.assertTrue(filecmp.cmp(*paths, shallow=False))
        rows = json.loads(bench("-m", paths[0], "-t", "1", "-r", "1", "-p", "8", "-n", "2", "--precision", "fast", "-o", "json"))
        self.assertEqual({r["model_filename"] for r in rows}, {paths[0]})
        self.assertEqual({r["model_type"] for r in rows}, {"llama 2M Q4_K_M"})

    def test_targets_are_seven_lines_with_a_verdict_that_fits_the_numbers(self):
        lines = bench("--synthetic", "tiny", "-t", "1", "--targets").splitlines()[2:]
        self.assertEqual(len(lines), 7)
        for line in lines:
            _, limit, measured, verdict = (c.strip() for c in line.strip("|").split("|"))
            sign, limit, unit = limit.split()
            measured, measured_unit = measured.split()
            self.assertEqual(unit, measured_unit)
            passes = float(measured) < float(limit) if sign == "<" else float(measured) > float(limit)
            self.assertEqual(verdict, "pass" if passes else "FAIL")
        # Turn t = 0..19 has 32 t + 16 tokens; of these the cache holds all that was said before but the last token of the reply: 32 t - 1.
        self.assertIn("%.3f %%" % (100 * sum(32 * t - 1 for t in range(1, 20)) / sum(32 * t + 16 for t in range(20))), lines[-1])


class Refusals(unittest.TestCase):
    def test_wrong_usage_is_status_2_and_names_the_option(self):
        for options, word in (
                (["-p", "1-"], "-p"), (["-n", "x"], "-n"), (["-d", "1;2"], "-d"), (["-t", "1025"], "-t"), (["-r", "0"], "-r"), (["-b", "0"], "-b"),
                (["--synthetic", "llama"], "tinyllama"), (["--synthetic", "tiny:Q9"], "Q4_0"), (["-m", "x.gguf", "--synthetic", "tiny"], "--synthetic"),
                (["-m", "x.gguf", "--save", "y.gguf"], "--save"), (["-o", "sql"], "-o"), (["--precision", "half"], "--precision"), (["--isa", "mmx"], "--isa"),
                (["--synthetic", "tiny", "-p", "100", "-c", "50"], "-c")):
            said = bench(*options, status=2)
            self.assertIn(word, said)
            self.assertEqual(said.count("\n"), 1, said)

    def test_options_that_would_have_no_effect_are_refused(self):
        rows_only = (["-d", "8"], ["-r", "2"], ["-c", "512"], ["--cache", "f32"], ["--no-warmup"])
        for mode, refused in ((["--parallel", "2"], rows_only),
                              (["--targets"], (*rows_only, ["-p", "8"], ["-n", "2"], ["-b", "8"], ["-o", "json"], ["--parallel", "2"], ["-t", "1,2"],
                                               ["--precision", "exact,fast"])),
                              (["--save", os.path.join(TMP, "never.gguf")],
                               (*rows_only, ["-p", "8"], ["-t", "1"], ["--isa", "scalar"], ["--precision", "fast"], ["--targets"]))):
            for options in refused:
                self.assertIn("cria: error: usage: cria bench: ", bench("--synthetic", "tiny", *mode, *options, status=2))
        self.assertFalse(os.path.exists(os.path.join(TMP, "never.gguf")))

    def test_a_missing_file_and_a_broken_one_are_status_1(self):
        self.assertIn("none.gguf", bench("-m", os.path.join(TMP, "none.gguf"), status=1))
        path = os.path.join(TMP, "broken.gguf")
        with open(path, "wb") as f:
            f.write(b"GGUF\x03\x00\x00\x00")
        self.assertIn("error", bench("-m", path, status=1))
        self.assertIn("error", bench("--synthetic", "tiny", "--save", os.path.join(TMP, "no/such/folder.gguf"), status=1))


class Compare(unittest.TestCase):
    def test_the_table_has_medians_ratios_and_what_was_run(self):
        runs = os.path.join(TMP, "runs.jsonl")
        done = subprocess.run([sys.executable, os.path.join(SOURCE, "bench/compare.py"), "--cria", CRIA, "--peer", "self=%s bench --precision fast" % CRIA,
                               "--synthetic", "tiny:Q8_0", "-p", "16", "-n", "4", "-d", "0,8", "-t", "1", "--rounds", "2", "-o", runs],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", timeout=600)
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = done.stdout.splitlines()
        titles = [c.strip() for c in lines[0].strip("|").split("|")]
        self.assertEqual(titles, ["tiny:Q8_0", "cria exact", "cria fast", "self", "cria exact / self", "cria fast / self", "of this machine"])
        with open(runs, encoding="utf-8") as f:
            rows = [json.loads(line) for line in f]
        self.assertEqual(len(rows), 3 * 2 * 4)
        for line, name in zip(lines[2:6], ("pp16, 1 thread", "pp16 @ d8, 1 thread", "tg4, 1 thread", "tg4 @ d8, 1 thread")):
            cells = [c.strip() for c in line.strip("|").split("|")]
            self.assertEqual(cells[0], name)
            exact, fast, peer = (float(c) for c in cells[1:4])
            self.assertTrue(math.isclose(float(cells[4].strip("*")), exact / peer, rel_tol=0.02, abs_tol=0.006))
            self.assertTrue(math.isclose(float(cells[5].strip("*")), fast / peer, rel_tol=0.02, abs_tol=0.006))
        mine = sorted(r["avg_ts"] for r in rows if r["engine"] == "cria exact" and r["n_prompt"] and not r["n_depth"])
        self.assertTrue(math.isclose(float(lines[2].split("|")[2]), sum(mine) / 2, rel_tol=0.01))

    def test_a_peer_that_fails_is_reported_in_its_own_words(self):
        done = subprocess.run([sys.executable, os.path.join(SOURCE, "bench/compare.py"), "--cria", CRIA, "--peer", "self=%s bench --isa mmx" % CRIA,
                               "--synthetic", "tiny", "-t", "1", "-p", "8", "-n", "1", "--rounds", "1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              encoding="utf-8", timeout=600)
        self.assertEqual(done.returncode, 1)
        self.assertIn("mmx", done.stderr)


if __name__ == "__main__":
    if not os.path.exists(CRIA):
        print("SKIPPED: the program cria was not built (CRIA_BUILD_EXAMPLES)")
        sys.exit(77)
    shutil.rmtree(TMP, ignore_errors=True)
    os.makedirs(TMP)
    unittest.main(verbosity=2)
