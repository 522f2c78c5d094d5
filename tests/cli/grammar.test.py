# SPDX-License-Identifier: MIT
"""`cria run --grammar` and `--json-schema`: what is printed matches, for any seed; what cannot be promised is an error."""

import json
import os
import re
import subprocess
import sys
import unittest

CRIA = os.path.join(os.environ["CRIA_EXAMPLES_DIR"], "cria")
TMP = os.environ["CRIA_TEST_TMP"]
STORIES = os.path.join(os.environ["CRIA_TEST_DATA"], "models/stories260K.gguf")
SCHEMA = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer", "minimum": 1, "maximum": 99}},
          "required": ["name", "age"], "additionalProperties": False}


def run(*arguments):
    return subprocess.run([CRIA, "run", "-m", STORIES, "-p", "Lily", "-t", "1", *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=120)


def file_of(name, text):
    path = os.path.join(TMP, name)
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    return path


class Grammar(unittest.TestCase):
    def test_the_reply_matches_the_grammar(self):
        path = file_of("moves.gbnf", 'root ::= move ("," move){2}\nmove ::= [NBRQK]? [a-h] [1-8] # no captures\n')
        for seed in "1", "2", "3":
            done = run("--grammar", path, "--temp", "2", "--seed", seed, "-n", "60", "--stats")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertRegex(done.stdout.decode(), r"^([NBRQK]?[a-h][1-8],){2}[NBRQK]?[a-h][1-8]$")
            self.assertIn(b"grammar     ", done.stderr)

    def test_the_reply_validates(self):
        path = file_of("person.json", json.dumps(SCHEMA))
        for seed in "1", "2", "3":
            done = run("--json-schema", path, "--temp", "1.5", "--seed", seed, "-n", "200")
            self.assertEqual(done.returncode, 0, done.stderr)
            person = json.loads(done.stdout.decode())
            self.assertEqual(sorted(person), ["age", "name"])
            self.assertTrue(isinstance(person["name"], str) and len(person["name"]) <= 12)
            self.assertTrue(isinstance(person["age"], int) and 1 <= person["age"] <= 99)

    def test_a_schema_may_be_given_itself(self):
        given, of_file = (run("--json-schema", schema, "--temp", "1.5", "--seed", "1", "-n", "200")
                          for schema in (json.dumps(SCHEMA), file_of("same.json", json.dumps(SCHEMA))))
        self.assertEqual((given.returncode, given.stdout), (0, of_file.stdout), given.stderr)
        self.assertTrue(given.stdout)
        done = run("--json-schema", '{"items": {"multipleOf": 2}}')
        self.assertEqual((done.returncode, done.stdout), (1, b""))
        self.assertIn(b"--json-schema: #/items/multipleOf", done.stderr)

    def test_a_reply_that_was_cut_is_an_error(self):
        done = run("--json-schema", file_of("cut.json", json.dumps(SCHEMA)), "-n", "3")
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"max_tokens", done.stderr)

    def test_what_does_not_compile_names_file_and_place(self):
        for option, name, text, place in [("--grammar", "a.gbnf", 'root ::= "a" b\n', "line 1, column 14"),
                                          ("--grammar", "b.gbnf", "root ::= root\n", "line 1, column 1"),
                                          ("--json-schema", "c.json", '{"items": {"multipleOf": 2}}', "#/items/multipleOf"),
                                          ("--json-schema", "d.json", "{", "line 1, column 2")]:
            done = run(option, file_of(name, text))
            self.assertEqual((done.returncode, done.stdout), (1, b""))
            self.assertTrue(re.search(re.escape(name) + ": " + re.escape(place), done.stderr.decode()), done.stderr)
        self.assertNotEqual(run("--grammar", "a", "--json-schema", "b").returncode, 0)


if __name__ == "__main__":
    if not os.path.exists(STORIES) or not os.path.exists(CRIA):
        print("SKIPPED: %s or %s is absent" % (STORIES, CRIA))
        sys.exit(77)
    os.makedirs(TMP, exist_ok=True)
    unittest.main()
