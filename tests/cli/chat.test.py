# SPDX-License-Identifier: MIT
"""`cria chat` through a pseudo-terminal, as somebody types: commands, ctrl-C and ctrl-D, resizes, kept chats; and one-shot through pipes.

The replies are those of stories260K, which was never taught to chat: what counts is that the same is said twice. CRIA_TEST_SMOLLM2 adds a real chat model.
"""

import fcntl
import json
import os
import pty
import re
import select
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
import unittest

CRIA = os.path.join(os.environ["CRIA_EXAMPLES_DIR"], "cria")
PLAIN = os.path.join(os.environ["CRIA_EXAMPLES_DIR"], "cria_plain")   # the program without libedit
MODEL = os.path.join(os.environ["CRIA_TEST_DATA"], "models", "stories260K.gguf")
SMOLLM2 = os.environ.get("CRIA_TEST_SMOLLM2", "")
TMP = os.environ["CRIA_TEST_TMP"]
WAIT = 60


def stories(*more, context=512, threads=1, seed=7, temperature=0):
    return ["-m", MODEL, "--chat-template", "chatml", "-c", str(context), "-t", str(threads), "--temp", str(temperature), "--seed", str(seed), *more]


class Terminal:
    """The program on a terminal of its own."""
    program, edits_lines = CRIA, True

    def __init__(self, *arguments, shell=None, **environment):
        self.seen = ""
        pid, fd = pty.fork()
        if pid == 0:
            env = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "LC_ALL", "LC_CTYPE")}
            env.update({"TERM": "xterm", "LANG": "C.UTF-8"}, **environment)
            command = [self.program, "chat", *([] if "--history" in arguments else ["--no-history"]), *arguments]
            if shell:
                env.update({"PS1": "$ ", "COMMAND": shlex.join(command)})
                os.execvpe(shell[0], shell, env)
            os.execve(self.program, command, env)
        self.pid, self.fd, self.status = pid, fd, None
        if shell:
            self.until(r"\$ ")
            os.write(fd, b'eval "$COMMAND"\n')

    def until(self, pattern, timeout=WAIT):
        """Reads until the pattern appears; returns what came up to its end."""
        limit = time.monotonic() + timeout
        while True:
            found = re.search(pattern, self.seen)
            if found:
                text, self.seen = self.seen[:found.end()], self.seen[found.end():]
                return text
            if not self.read(limit):
                raise AssertionError("no %r in %r" % (pattern, self.seen[-2000:]))

    def read(self, limit):
        ready, _, _ = select.select([self.fd], [], [], max(0, limit - time.monotonic()))
        if not ready:
            return False
        try:
            block = os.read(self.fd, 65536)
        except OSError:   # the program has gone
            return False
        self.seen += block.decode("utf-8", "replace")
        return bool(block)

    def type(self, text, is_at_prompt=True):
        """Types; at a prompt when the program reads keys: until then the terminal itself shows and interprets them."""
        limit = time.monotonic() + 10
        while self.edits_lines and is_at_prompt and termios.tcgetattr(self.fd)[3] & termios.ICANON and time.monotonic() < limit:
            time.sleep(0.005)
        os.write(self.fd, text.encode())

    def give_up_line(self):
        """Ctrl-C at a prompt. A program that does not edit lines may have shown it and not yet wait for them: as a person would, this tries again."""
        for attempt in range(60):
            self.type("\x03")
            try:
                return self.until("ctrl-D or /exit leaves", 1)
            except AssertionError:
                if self.edits_lines:
                    raise
        raise AssertionError("ctrl-C is not answered: %r" % self.seen[-2000:])

    def processor_time(self):
        """Clock ticks that the program has used, all its threads."""
        with open("/proc/%d/stat" % self.pid, encoding="ascii") as file:
            return sum(map(int, file.read().rsplit(")", 1)[1].split()[11:13]))

    def prompt(self):
        return self.until(r"> (\x1b\[0m)?")

    def ask(self, line, answer):
        """Types a line at the prompt, waits for the answer and the next prompt; returns what was printed."""
        self.type(line + "\r")
        text = self.until(answer)
        return text + self.prompt()

    def say(self, text):
        """Returns the reply to a message."""
        self.type(text + "\r")
        shown = self.until(r"\[\d+ tokens, [^\]]*\]")
        self.prompt()
        reply = shown[:shown.rindex("[")]
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", reply.split("\n", 1)[1]).replace("\r", "").strip("\n")

    def resize(self, rows, columns):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def end(self):
        """Waits for the end of the program and returns its exit status."""
        limit = time.monotonic() + WAIT
        while self.read(limit):
            pass
        while self.status is None and time.monotonic() < limit:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
            else:
                time.sleep(0.01)
        return self.status

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.status is None:
            try:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
            except (OSError, ChildProcessError):
                pass
        os.close(self.fd)


class PlainTerminal(Terminal):
    """The program without line editing: the terminal itself shows what is typed, and hands over whole lines."""
    program, edits_lines = PLAIN, False


def with_template(path, text):
    """Writes the model with a chat template: a key more in front, as long as whole units of alignment, so that nothing behind it moves."""
    def key(value):
        name = b"tokenizer.chat_template"
        return struct.pack("<Q", len(name)) + name + struct.pack("<IQ", 8, len(value)) + value

    with open(MODEL, "rb") as file:
        old = file.read()
    magic, version, n_tensors, n_keys = struct.unpack_from("<4sIQQ", old)
    assert magic == b"GGUF" and b"tokenizer.chat_template" not in old
    value = text.encode()
    value += b"{#" + b"-" * ((-len(key(value + b"{##}"))) % 32) + b"#}"
    assert len(key(value)) % 32 == 0
    with open(path, "wb") as file:
        file.write(struct.pack("<4sIQQ", magic, version, n_tensors, n_keys + 1) + key(value) + old[24:])


# As the file of TinyLlama 1.1B Chat has it: marks that are text, </s> behind each message.
ZEPHYR = """{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>\n' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>\n' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>\n'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}"""


def once(*arguments, stdin=b"", **environment):
    return subprocess.run([CRIA, "chat", *arguments], input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=WAIT,
                          env={**os.environ, **environment})


class Chat(unittest.TestCase):
    def setUp(self):
        shutil.rmtree(TMP, ignore_errors=True)
        os.makedirs(TMP)

    def test_every_command(self):
        with Terminal(*stories("-n", "12")) as t:
            t.until("/help lists the commands")
            t.prompt()
            helped = t.ask("/help", "ctrl-D leaves")
            for name in "help exit clear config temp tokens system regen undo save load read template stats top".split():
                self.assertIn("/" + name, helped)
            t.ask("/undo", "no turn to take back")
            t.ask("/regen", "nothing to answer")
            t.ask("/top", "nothing was evaluated")
            t.ask("/nonsense 1", "/nonsense: is no command; /help lists them")
            t.ask("/", "is no command")
            # settings
            self.assertRegex(t.ask("/config", r"stats\s+on"), r"temperature\s+0\b")
            t.ask("/temp 0.7", r"temperature 0\.7")
            t.ask("/temp", r"temperature 0\.7")
            t.ask("/temp -1", "is not in")
            t.ask("/temp warm", "is no number")
            t.ask("/config top_k 5", "top_k 5")
            t.ask("/config top_k = 6", "top_k 6")
            t.ask("/config top_k", "top_k 6")
            t.ask("/config max_tokens 0", "neither a number")
            t.ask("/config history slide", "history slide")
            t.ask("/config history never", "is none of")
            t.ask("/config colour red", "is no setting")
            t.ask("/temp 0", "temperature 0")
            # system message
            t.ask("/system", "no system message")
            t.ask("/system Be a lama.", "system message: Be a lama.")
            t.ask("/system", "system message: Be a lama.")
            # talk
            first = t.say("Once upon a time")
            self.assertTrue(first)
            self.assertRegex(t.ask("/top 3", r"(?s)%.*%.*%"), r'\d+ +\d+\.\d\d %  "')
            t.ask("/top x", "is no number")
            self.assertRegex(t.ask("/tokens", r"turn 1 +\d+ +Once upon a time"), r"\d+ of \d+ tokens")
            self.assertEqual(t.say("/regen"), first)   # greedy
            t.ask("/stats", r"in all +\d+ tokens computed")
            t.ask("/stats off", "stats off")
            t.ask("/stats maybe", "neither on nor off")
            t.ask("/stats on", "stats on")
            t.ask("/undo", r"took back: Once upon a time")
            self.assertEqual(t.say("Once upon a time"), first)
            # files
            path = os.path.join(TMP, "read.txt")
            with open(path, "w") as file:
                file.write("A file's text, with a number: 4711.")
            t.ask("/read " + path, "35 bytes")
            t.say("What is it?")
            t.ask("/tokens", "turn 2 .*A file's text")
            t.ask("/read " + path + ".absent", "No such file")
            t.ask("/read", "needs a file name")
            t.ask("/save", "needs a file name")
            t.ask("/load", "needs a file name")
            t.ask("/load " + path, "bad_magic|truncated")
            t.ask("/load " + path + ".absent", "No such file")
            t.ask("/save " + os.path.join(TMP, "no", "such", "folder"), "cannot create")
            t.ask("/save " + os.path.join(TMP, "kept chat"), "messages, .* tokens to ")
            # templates
            t.ask("/template", r"(?s)template: chatml.*im_start")
            t.ask("/template alpaca", "template: alpaca")
            t.ask("/template nonsense", "No such file")
            t.ask("/template model", "tokenizer.chat_template")   # the file has none
            t.ask("/template", "template: alpaca")
            t.ask("/system off", "no system message")
            t.ask("/clear", "cleared")
            t.ask("/tokens", "0 of ")
            t.type("/exit\r")
            self.assertEqual(t.end(), 0)

    def test_ctrl_c_stops_a_reply_keeps_what_was_said_and_the_chat_goes_on(self):
        with Terminal(*stories("--set", "ignore_eos=on", "--set", "reply_room=1", context=32768)) as t:
            t.prompt()
            t.type("Once upon a time\r")
            t.until(r"\n.*[a-z]{2} [a-z]+")   # the reply has begun
            t.type("\x03", is_at_prompt=False)
            t.until(r"\(stopped\)")
            t.until("cancelled")
            t.prompt()
            shown = t.ask("/tokens", r"turn 1 +\d+")
            self.assertGreater(int(re.search(r"turn 1 +(\d+)", shown).group(1)), 20)
            t.ask("/config max_tokens 5", "max_tokens 5")
            self.assertTrue(t.say("And then?"))
            # At the prompt it gives up the line, and does not leave.
            t.type("half a line\x03")
            t.until("ctrl-D or /exit leaves")
            t.prompt()
            t.type("\x03")
            t.until("ctrl-D or /exit leaves")
            t.prompt()
            t.ask("/tokens", "turn 2 +.*And then")
            t.type("\x04")
            self.assertEqual(t.end(), 0)

    def test_ctrl_c_while_the_terminal_takes_no_more_text_loses_nothing(self):
        with Terminal(*stories("--set", "ignore_eos=on", "--set", "reply_room=1", context=32768)) as t:
            t.prompt()
            t.type("Once upon a time\r")
            t.until(r"\n.*[a-z]{2} [a-z]+")
            # Nobody reads: what a terminal holds is full at some time, and the program waits in a write.
            used = -1
            while used != (used := t.processor_time()):
                time.sleep(0.5)
            os.kill(t.pid, signal.SIGINT)
            time.sleep(0.2)
            t.until(r"\(stopped\)")
            t.prompt()
            t.ask("/tokens", r"turn 1 +\d+")
            t.type("\x04")
            self.assertEqual(t.end(), 0)

    def test_ctrl_z_gives_the_terminal_back_to_the_shell_and_fg_goes_on(self):
        with Terminal(*stories("-n", "4"), shell=["bash", "--norc", "--noprofile", "-i"]) as t:
            t.prompt()
            t.type("half ")
            t.until("half ")
            t.type("\x1a", is_at_prompt=False)
            t.until("Stopped")
            os.write(t.fd, b"fg\n")
            t.until("half ")
            t.type("a line\x03")
            t.until("ctrl-D or /exit leaves")
            t.prompt()
            t.type("\x04")
            t.until(r"\$ ")
            os.write(t.fd, b"exit 7\n")
            self.assertEqual(t.end(), 7)

    def test_messages_of_several_lines_and_the_end_of_input_inside_them(self):
        with Terminal(*stories("-n", "4")) as t:
            t.prompt()
            t.type('"""first line\r')
            t.until(r"\.\.\. ")
            t.type("/second\r")
            t.until(r"\.\.\. ")
            t.say('third"""')
            t.ask("/tokens", "turn 1 +.*first line /second third")
            t.say('"""/help is a message here"""')
            t.ask("/tokens", "turn 2 +.*/help is a message here")
            t.type('"""given up\r')
            t.until(r"\.\.\. ")
            t.type("\x03")
            t.until("leaves")
            t.prompt()
            t.type('"""cut\r')
            t.until(r"\.\.\. ")
            t.type("\x04")                     # ends the message, not the chat
            t.until(r"\[\d+ tokens")
            t.prompt()
            t.ask("/tokens", "turn 3 +.*cut")
            t.type("\r \r")                     # nothing is not sent
            t.ask("/stats", "last reply")
            t.type("\x04")
            self.assertEqual(t.end(), 0)

    def test_a_resize_leaves_the_line_and_the_reply_alone(self):
        with Terminal(*stories("-n", "8")) as t:
            t.resize(24, 80)
            t.prompt()
            expected = t.say("Once upon a time")
            t.ask("/undo", "took back")
            t.type("Once upon ")
            t.resize(10, 30)
            time.sleep(0.2)
            t.type("a time\r")
            t.resize(50, 132)
            t.until(r"\[8 tokens")
            t.prompt()
            t.ask("/tokens", "turn 1 +.*Once upon a time")
            t.ask("/undo", "took back")
            self.assertEqual(t.say("Once upon a time"), expected)

    def test_a_kept_chat_goes_on_as_if_it_had_not_ended(self):
        path = os.path.join(TMP, "kept")
        warm = stories("-n", "10", "--set", "repeat_penalty=1.2", temperature=0.9)
        with Terminal(*warm) as t:
            t.prompt()
            t.ask("/system You tell stories.", "system message")
            t.say("One day")
            t.say("A cat")
            t.ask("/save " + path, "5 messages")
            expected = [t.say("And a dog"), t.say("/regen")]
            self.assertNotEqual(expected[0], expected[1])   # other random numbers
            t.type("/exit\r")
            self.assertEqual(t.end(), 0)
        for arguments in (warm, stories(threads=2, context=600, seed=1)):
            with Terminal(*arguments) as t:
                t.prompt()
                t.say("Something else")
                loaded = t.ask("/load " + path, "5 messages")
                self.assertEqual("(settings of that chat: " in loaded, arguments is not warm, loaded)
                if arguments is not warm:
                    self.assertRegex(loaded, r"temperature 0\.9 instead of 0, (.*, )?seed 7 instead of 1\b")
                self.assertEqual([t.say("And a dog"), t.say("/regen")], expected)
                shown = t.ask("/config", r"stats\s+on")
                self.assertRegex(shown, r"temperature\s+0\.9")
                self.assertRegex(shown, r"seed\s+7\b")
        with Terminal(*warm, "--load", path) as t:
            t.prompt()
            self.assertEqual(t.say("And a dog"), expected[0])
            with open(path, "r+b") as file:   # altered: refused, and the chat goes on
                file.seek(1000)
                byte = file.read(1)
                file.seek(1000)
                file.write(bytes([byte[0] ^ 1]))
            t.ask("/load " + path, "has changed since it was written")
            t.ask("/tokens", "turn 3 +.*And a dog")
    def test_what_the_command_line_sets_stays_where_a_chat_is_loaded(self):
        path = os.path.join(TMP, "kept")
        with Terminal(*stories("-n", "10", "--set", "repeat_penalty=1.2", temperature=0.9)) as t:
            t.prompt()
            t.say("One day")
            t.ask("/save " + path, "2 messages")
            t.type("\x04")
            self.assertEqual(t.end(), 0)
        plain = ["-m", MODEL, "--chat-template", "chatml", "--load", path]
        for given, expected in ([], (r"temperature 0\.9", r"repeat_penalty 1\.2", r"max_tokens 10", r"seed 7")), \
                (["--temp", "0.25", "--set", "repeat_penalty=1"], (r"temperature 0\.25", r"repeat_penalty 1", r"max_tokens 10", r"seed 7")), \
                (["-n", "3", "--seed", "5"], (r"temperature 0\.9", r"repeat_penalty 1\.2", r"max_tokens 3", r"seed 5")):
            with Terminal(*plain, *given) as t:
                shown = t.prompt()
                for setting in expected:
                    t.ask("/config " + setting.split()[0], setting + r"(\x1b|\r?\n)")
                self.assertEqual("temperature 0.9 instead of 0.8" in shown, "--temp" not in given, shown)
                t.type("\x04")
                self.assertEqual(t.end(), 0)
        with open(path, "r+b") as file:
            file.seek(1000)
            byte = file.read(1)
            file.seek(1000)
            file.write(bytes([byte[0] ^ 1]))
        with Terminal(*plain) as t:
            t.until("has changed since")
            self.assertEqual(t.end(), 1)

    def test_a_full_context_forgets_the_oldest_turns_and_says_so(self):
        with Terminal(*stories("-n", "10", context=100)) as t:
            t.prompt()
            for i in range(8):
                t.type("Turn %d of the talk\r" % i)
                if "oldest messages are forgotten" in t.until(r"\[\d+ tokens, [^\]]*\]"):
                    break
                t.prompt()
            else:
                self.fail("nothing was forgotten")
            self.assertNotIn("Turn 0", t.ask("/tokens", "of 100 tokens"))
            t.ask("/config history stop", "history stop")
            for _ in range(3):
                t.type("A message of more than a hundred tokens " * 3 + "\r")
                t.until("context_full")
                t.prompt()
            # What was read waits for a message that is answered.
            t.ask("/clear", "cleared")
            path = os.path.join(TMP, "held.txt")
            with open(path, "w") as file:
                file.write("A red dog.")
            t.ask("/read " + path, "10 bytes")
            t.type("A message of more than a hundred tokens " * 3 + "\r")
            t.until("context_full")
            t.prompt()
            t.say("Who?")
            t.ask("/tokens", "turn 1 .*A red dog")
            t.type("\x04")
            self.assertEqual(t.end(), 0)

    def test_colour_is_for_terminals_that_want_it(self):
        for environment, has_colour in (({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)):
            with Terminal(*stories("-n", "2"), **environment) as t:
                t.until("lists the commands")
                t.type("/stats\r")
                shown = t.until("in all .*")
                self.assertEqual("\x1b[2m" in shown, has_colour, environment)
                t.type("\x04")
                self.assertEqual(t.end(), 0)

    def test_history_is_kept_and_commands_are_completed(self):
        file = os.path.join(TMP, "state", "history")
        with Terminal(*stories("-n", "2", "--history", file)) as t:
            t.prompt()
            t.type("/sta\t\r")
            if "is no command" in t.until("in all.*|is no command.*"):
                self.skipTest("built without libedit")
            t.prompt()
            t.type("/zzz\t\r")
            t.until("/zzz: is no command")
            t.prompt()
            t.say("Remember this")
            t.type("\x04")
            self.assertEqual(t.end(), 0)
        self.assertEqual(os.stat(file).st_mode & 0o077, 0)
        with Terminal(*stories("-n", "2", "--history", file)) as t:
            t.prompt()
            t.say("\x1b[A")   # the line before
            t.ask("/tokens", "turn 1 +.*Remember this")
            t.type("\x04")
            self.assertEqual(t.end(), 0)

    def test_a_model_with_tinyllamas_template_talks(self):
        path = os.path.join(TMP, "zephyr.gguf")
        with_template(path, ZEPHYR)
        common = ["-m", path, "-t", "1", "--temp", "0", "-n", "20", "-c", "512"]
        with Terminal(*common) as t:
            t.prompt()
            shown = t.ask("/template", r"(?s)template: the model's own.*add_generation_prompt")
            self.assertIn("<|assistant|>", shown)
            t.ask("/system Be a lama.", "Be a lama")
            first = t.say("Once upon a time")
            self.assertTrue(first)
            second = t.say("And then?")
            self.assertTrue(second)
            self.assertRegex(t.ask("/tokens", r"turn 2 +\d+ +And then"), r"turn 1 +\d+ +Once upon")
            t.type("\x04")
            self.assertEqual(t.end(), 0)
        # The prompt is what Hugging Face's renderer writes, and the reply what the model says to it.
        prompt = ("<|system|>\nBe a lama.</s>\n<|user|>\nOnce upon a time</s>\n<|assistant|>\n")
        rendered = subprocess.run([CRIA, "template", "-m", path, "--messages", "-"],
                                  input=b'[{"role": "system", "content": "Be a lama."}, {"role": "user", "content": "Once upon a time"}]',
                                  stdout=subprocess.PIPE, timeout=WAIT, check=True)
        self.assertEqual(rendered.stdout.decode(), prompt)
        self.assertEqual(once(*common, "--system", "Be a lama.", "-p", "Once upon a time").stdout.decode().strip("\n"), first)
        ran = subprocess.run([CRIA, "run", *common, "--system", "Be a lama.", "-p", "Once upon a time"], stdout=subprocess.PIPE, timeout=WAIT, check=True)
        self.assertEqual(ran.stdout.decode().strip("\n"), first)
        request = b'{"messages": [{"role": "system", "content": "Be a lama."}, {"role": "user", "content": "Once upon a time"}]}\n'
        batched = subprocess.run([CRIA, "batch", *common, "-f", "-", "-o", "-"], input=request, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=WAIT,
                                 check=True)
        self.assertEqual(json.loads(batched.stdout)["text"].strip("\n"), first)

    def test_thinking_is_faint_on_a_terminal_and_nowhere_else(self):
        path = os.path.join(TMP, "thinker.gguf")
        with_template(path, "{% for m in messages %}{{ m.content }}{% endfor %}<think>\n")   # whatever it says is thinking
        common = ["-m", path, "-t", "1", "--temp", "0", "-n", "12", "-c", "512"]
        with Terminal(*common) as t:
            t.prompt()
            t.type("Once upon a time\r")
            self.assertRegex(t.until(r"\[12 tokens"), r"\n\x1b\[2m[^\x1b]*[a-z]{2}[^\x1b]*\x1b\[0m\r?\n\x1b\[2m\[12 tokens")
            t.prompt()
            t.ask("/config thinking off", "thinking off")
            self.assertEqual(t.say("/regen"), "")
            t.ask("/config thinking maybe", "neither on nor off")
            t.type("\x04")
            self.assertEqual(t.end(), 0)
        with Terminal(*common, NO_COLOR="1") as t:
            t.prompt()
            self.assertRegex(t.say("Once upon a time"), r"^\[thinking\] .*[a-z]{2}")
            t.type("\x04")
            self.assertEqual(t.end(), 0)
        done = once(*common, "-p", "Once upon a time")
        self.assertEqual((done.stdout, done.stderr, done.returncode), (b"", b"", 0))

    @unittest.skipUnless(os.path.exists(PLAIN), "the program is built without libedit")
    def test_without_line_editing_the_same_commands_do_the_same(self):
        path = os.path.join(TMP, "plain")
        with Terminal(*stories("-n", "8")) as t:
            t.prompt()
            expected = t.say("Once upon a time")
            t.type("\x04")
            self.assertEqual(t.end(), 0)
        with PlainTerminal(*stories("-n", "8")) as t:
            t.until("lists the commands")
            t.prompt()
            t.ask("/help", "ctrl-D leaves")
            self.assertEqual(t.say("Once upon a time"), expected)
            t.ask("/nonsense", "is no command")
            t.ask("/config top_k 5", "top_k 5")
            t.ask("/tokens", "turn 1 .*Once upon a time")
            t.ask("/save " + path, "2 messages")
            t.ask("/undo", "took back")
            t.ask("/load " + path, "2 messages")
            t.type('"""two\r')
            t.until(r"\.\.\. ")
            t.say('lines"""')
            t.ask("/tokens", "turn 2 .*two lines")
            t.ask("/config max_tokens none", "none")
            t.ask("/config ignore_eos on", "on")
            t.ask("/config reply_room 1", "1")
            t.type("Once upon a time\r")
            t.until(r"time\r?\n(.*\n)*.*[a-z]{2} [a-z]+ [a-z]+")   # the reply has begun
            t.type("\x03", is_at_prompt=False)
            t.until(r"\(stopped\)")
            t.prompt()
            t.give_up_line()
            t.prompt()
            t.ask("/tokens", "turn 3")
            t.type("\x04")
            self.assertEqual(t.end(), 0)
        with PlainTerminal(*stories("-n", "2"), NO_COLOR="1") as t:
            self.assertNotIn("\x1b", t.prompt())
            t.type("/exit\r")
            self.assertEqual(t.end(), 0)

    def test_one_shot_prints_the_answer_and_nothing_else(self):
        expected = once(*stories("-n", "9", "-p", "Once upon a time"))
        self.assertEqual(expected.returncode, 0, expected.stderr)
        self.assertEqual(expected.stderr, b"")
        self.assertTrue(expected.stdout)
        piped = once(*stories("-n", "9"), stdin=b"Once upon a time")
        self.assertEqual((piped.stdout, piped.stderr, piped.returncode), (expected.stdout, b"", 0))
        command = once(*stories("-n", "2"), stdin=b"/help")   # text, not a command
        self.assertEqual(command.returncode, 0)
        self.assertNotIn(b"/exit", command.stdout + command.stderr)
        with Terminal(*stories("-n", "9")) as t:
            t.prompt()
            self.assertEqual(t.say("Once upon a time"), expected.stdout.decode().strip("\n"))

    def test_wrong_usage_and_models_without_a_template_are_errors(self):
        for arguments, word in ((["--set", "temperature"], b"NAME=VALUE"), (["--set", "no=1"], b"no setting"), (["--top-p", "-1"], b"top_p"),
                                (["-n", "0"], b"tokens")):
            done = once(*stories(), *arguments, "-p", "x")
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn(word, done.stderr)
        done = once("-m", MODEL, "-p", "x")
        self.assertEqual((done.returncode, done.stdout), (1, b""))
        self.assertIn(b"tokenizer.chat_template", done.stderr)

    @unittest.skipUnless(os.path.exists(SMOLLM2), "CRIA_TEST_SMOLLM2 is not set")
    def test_a_chat_model_talks(self):
        with Terminal("-m", SMOLLM2, "--temp", "0") as t:
            t.prompt()
            self.assertEqual(t.say("What is the capital of France?"), "The capital of France is Paris.")
            t.say("And of Germany?")
            t.ask("/tokens", r"turn 2 +\d+ +And of Germany")
            t.ask("/undo", "took back: And of Germany")
            t.ask("/system You are a pirate.", "pirate")
            self.assertTrue(t.say("Who are you?"))
            t.type("\x04")
            self.assertEqual(t.end(), 0)


if __name__ == "__main__":
    if not os.path.exists(MODEL):
        print("SKIPPED: %s is absent (set CRIA_TEST_DATA)" % MODEL)
        sys.exit(77)
    unittest.main(verbosity=1)
