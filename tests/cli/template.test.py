# SPDX-License-Identifier: MIT
"""`cria template`: the bytes that a chat template writes. Reference: tests/chat/templates/named.json (jinja2 3.1.6) and what the templates here say."""

import json
import os
import subprocess
import unittest

CRIA = os.path.join(os.environ["CRIA_EXAMPLES_DIR"], "cria")
NAMED = os.path.join(os.environ["CRIA_SOURCE_DIR"], "tests/chat/templates/named.json")
VOCAB = os.path.join(os.environ["CRIA_TEST_DATA"], "tokenizer/ggml-vocab-llama-spm.gguf")
TMP = os.environ["CRIA_TEST_TMP"]
HELLO = [{"role": "user", "content": "Hi"}]


def write(name, text):
    path = os.path.join(TMP, name)
    with open(path, "w", encoding="utf-8", newline="") as file:
        file.write(text)
    return path


def template(*arguments, status=0, stdin=b""):
    done = subprocess.run([CRIA, "template", *arguments], input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == status, "%s: status %d, not %d\n%s" % (arguments, done.returncode, status, done.stderr.decode())
    return done.stderr.decode() if status else done.stdout.decode()


class Template(unittest.TestCase):
    def setUp(self):
        os.makedirs(TMP, exist_ok=True)
        self.hello = write("hello.json", json.dumps(HELLO))

    def test_named_templates_write_the_expected_bytes(self):
        with open(NAMED, encoding="utf-8") as file:
            expected = json.load(file)
        tools = write("tools.json", json.dumps(expected["tools"]))
        cases = [c for c in expected["cases"] if c[0] not in ("parts.jinja", "reasoning.jinja")]   # which ask for the date, and for a variable
        for name, messages, is_full, text in cases[::7]:
            chosen = os.path.join(os.path.dirname(NAMED), name) if name.endswith(".jinja") else name
            arguments = ["--chat-template", chosen, "--messages", write("messages.json", json.dumps(messages))]
            arguments += ["--bos", "<s>", "--eos", "</s>", "--tools", tools] if is_full else ["--no-generation-prompt"]
            if isinstance(text, str):
                self.assertEqual(template(*arguments), text)
            else:
                self.assertIn("cria: error: bad_value: line ", template(*arguments, status=1))

    def test_template_messages_and_tools_come_from_files(self):
        jinja = write("t.jinja", "{{ bos_token }}{% for m in messages %}[{{ m.content }}]{% endfor %}{{ tools | tojson }}{{ add_generation_prompt }}")
        tools = write("tools.json", '[{"name": "f", "x": 1.50}]')
        self.assertEqual(template("--template", jinja, "--messages", self.hello), "[Hi]nullTrue")
        self.assertEqual(template("--template", jinja, "-f", self.hello), "[Hi]nullTrue")
        self.assertEqual(template("--template", jinja, "--messages", self.hello, "--tools", tools, "--bos", "B", "--no-generation-prompt"),
                         'B[Hi][{"name": "f", "x": 1.5}]False')
        self.assertEqual(template("--template", jinja, "--messages", "-", stdin=b'{"messages": []}'), "nullTrue")
        self.assertEqual(template("--template", jinja, "--messages", self.hello, "--mark"), "[\u00abHi\u00bb]nullTrue")

    def test_special_tokens_are_those_of_the_model(self):
        if not os.path.exists(VOCAB):
            self.skipTest("%s is absent" % VOCAB)
        jinja = write("t.jinja", "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}")
        self.assertEqual(template("-m", VOCAB, "--chat-template", jinja, "--messages", self.hello), "<s>Hi</s>")
        self.assertIn("missing_key", template("-m", VOCAB, "--messages", self.hello, status=1))

    def test_errors_say_where(self):
        broken = write("broken.jinja", "{{ 1 }}\n{% iff x %}")
        self.assertIn("syntax: " + broken + ", line 2, column 4: ", template("--template", broken, "--messages", self.hello, status=1))
        refuses = write("refuses.jinja", "\n {{ raise_exception('No, ' + messages[0].role) }}")
        self.assertIn("bad_value: line 2, column 20: No, user", template("--template", refuses, "--messages", self.hello, status=1))
        bad = write("bad.json", '[{"role": 5}]')
        self.assertIn("wrong_type: " + bad + ", messages[0]: ", template("--chat-template", "chatml", "--messages", bad, status=1))
        self.assertIn("syntax: " + broken + ", line 1, column 2", template("--chat-template", "chatml", "--messages", broken, status=1))
        self.assertIn("io: ", template("--chat-template", "chatlm", "--messages", self.hello, status=1))
        for wrong in ([], ["--messages", self.hello], ["--messages", self.hello, "--template", broken, "-m", broken],
                      ["--messages", self.hello, "-m", broken, "--bos", "x"], ["--messages", self.hello, "--template", broken, "--chat-template", "chatml"]):
            self.assertIn("usage", template(*wrong, status=2))


if __name__ == "__main__":
    unittest.main(verbosity=1)
