# SPDX-License-Identifier: MIT
"""`cria serve`: answers are those of `cria run`, whole or as a stream, alone or beside others; wrong requests, full queues, clients that leave, signals."""

import base64
import concurrent.futures
import http.client
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import unittest

CRIA = os.path.join(os.environ["CRIA_EXAMPLES_DIR"], "cria")
TMP = os.environ["CRIA_TEST_TMP"]
STORIES = os.path.join(os.environ["CRIA_TEST_DATA"], "models/stories260K.gguf")
SMOLLM2 = os.environ.get("CRIA_TEST_SMOLLM2", "")
PROMPTS = ["Once upon a time", "The dog", "Tom and Sue", "Lily had a red", "One day, a big", "There was a cat"]

# Writes tools and calls as Hermes does; any model calls once a grammar lets it do nothing else.
TOOL_TEMPLATE = """{%- if tools %}{{ 'tools:' }}{% for tool in tools %}{{ tool | tojson }}{% endfor %}{{ '\\n' }}{% endif %}
{%- for m in messages %}{{ m.role + ': ' + (m.content or '') + '\\n' }}
{%- for call in m.tool_calls or [] %}{{ '<tool_call>\\n' }}{{ call.function | tojson }}{{ '\\n</tool_call>' }}{% endfor %}{% endfor %}
{%- if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"""
ONLY_A_CALL = r'''root ::= "<tool_call>{\"name\": \"get_weather\", \"arguments\": {\"city\": \"" [a-z]{3} "\"}}</tool_call>"'''


class Server:
    """A server on a port of its own."""

    def __init__(self, *more, model=STORIES):
        self.process = subprocess.Popen([CRIA, "serve", "-m", model, "--port", "0", "-t", "1", *more], stderr=subprocess.PIPE)
        said = b""
        while b"listening" not in said:
            line = self.process.stderr.readline()
            assert line, "the server has ended: %s" % said.decode()
            said += line
        self.port = int(re.search(rb"http://127.0.0.1:(\d+)", said).group(1))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stderr.close()

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        return self.process.wait(timeout=30)

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def ask(self, method, path, body=None, headers=None):
        """Status, headers and body of a reply."""
        connection = self.connect()
        text = json.dumps(body) if isinstance(body, (dict, list)) else body
        connection.request(method, path, text, {"Content-Type": "application/json", **(headers or {})})
        reply = connection.getresponse()
        done = reply.status, reply.headers, reply.read()
        connection.close()
        return done

    def raw(self, head, body=b"", wait=30):
        """Sends bytes on a connection of its own; returns all that comes back until it is closed."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=wait) as s:
            got = b""
            try:
                s.sendall(head.replace(b"\n", b"\r\n") + body)
                while more := s.recv(65536):
                    got += more
            except ConnectionError:
                pass
            return got

    def post(self, path, body, status=200):
        got, _, text = self.ask("POST", path, body)
        assert got == status, "%d, not %d: %s" % (got, status, text)
        return json.loads(text)

    def stream(self, path, body):
        """The events of a stream, which ends as it should."""
        status, headers, text = self.ask("POST", path, {**body, "stream": True})
        assert status == 200 and headers["Content-Type"] == "text/event-stream", text
        events = [event for event in text.decode().split("\n\n") if event != ":"]   # comments say that it goes on
        assert events[-2:] == ["data: [DONE]", ""], events[-2:]
        return [json.loads(event[len("data: "):]) for event in events[:-2]]

    def metric(self, name):
        text = self.ask("GET", "/metrics")[2].decode()
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))


def text_of(prompt, n=24, *more):
    """What `cria run` writes."""
    done = subprocess.run([CRIA, "run", "-m", STORIES, "-p", prompt, "-n", str(n), "--temp", "0", "-t", "1", *more], stdout=subprocess.PIPE, check=True)
    return done.stdout.decode()


def greedy(prompt, tokens=24, **more):
    return {"prompt": prompt, "max_tokens": tokens, "temperature": 0, **more}


def chat(content, **more):
    return {"messages": [{"role": "user", "content": content}], "temperature": 0, **more}


@unittest.skipUnless(os.path.exists(STORIES), "no stories260K.gguf")
class Completions(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        shutil.rmtree(TMP, ignore_errors=True)
        os.makedirs(TMP)
        cls.template = os.path.join(TMP, "tools.jinja")
        with open(cls.template, "w", encoding="utf-8") as file:
            file.write(TOOL_TEMPLATE)
        cls.server = Server("--chat-template", cls.template, "-c", "512")
        cls.addClassCleanup(cls.server.__exit__)

    def test_text_is_that_of_cria_run(self):
        for prompt in PROMPTS[:3]:
            done = self.server.post("/v1/completions", greedy(prompt))
            self.assertEqual(done["choices"][0]["text"], text_of(prompt))
            self.assertEqual(done["choices"][0]["finish_reason"], "length")
            self.assertEqual(done["usage"]["completion_tokens"], 24)
            self.assertEqual(done["usage"]["total_tokens"], 24 + done["usage"]["prompt_tokens"])

    def test_a_prompt_may_be_tokens_or_a_list_of_one_text(self):
        ids = subprocess.run([CRIA, "tokenize", "-m", STORIES, "-p", PROMPTS[0]], stdout=subprocess.PIPE, check=True).stdout
        tokens = [int(n) for n in re.findall(rb"\d+", ids)]
        for prompt in (tokens, [tokens], [PROMPTS[0]]):
            self.assertEqual(self.server.post("/v1/completions", greedy(prompt))["choices"][0]["text"], text_of(PROMPTS[0]))

    def test_a_stream_has_the_same_text(self):
        chunks = self.server.stream("/v1/completions", greedy(PROMPTS[0], stream_options={"include_usage": True}))
        self.assertEqual("".join(c["choices"][0]["text"] for c in chunks[:-1]), text_of(PROMPTS[0]))
        self.assertEqual([c["choices"][0]["finish_reason"] for c in chunks[:-1]], [None] * (len(chunks) - 2) + ["length"])
        self.assertEqual((chunks[-1]["choices"], chunks[-1]["usage"]["completion_tokens"]), ([], 24))
        self.assertEqual(len({c["id"] for c in chunks}), 1)
        self.assertGreater(len(chunks), 10)
        self.assertNotIn("usage", self.server.stream("/v1/completions", greedy(PROMPTS[0]))[-1])

    def test_many_at_once_are_each_as_alone(self):
        alone = {p: text_of(p) for p in PROMPTS}
        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            asked = [(p, pool.submit(self.server.post, "/v1/completions", greedy(p))) for p in PROMPTS * 8]
            for prompt, reply in asked:
                self.assertEqual(reply.result()["choices"][0]["text"], alone[prompt])

    def test_choices_have_the_seeds_that_follow(self):
        random = {"prompt": PROMPTS[0], "max_tokens": 16, "temperature": 1}
        three = self.server.post("/v1/completions", {**random, "seed": 7, "n": 3})["choices"]
        self.assertEqual([c["index"] for c in three], [0, 1, 2])
        for c in three:
            self.assertEqual(c["text"], self.server.post("/v1/completions", {**random, "seed": 7 + c["index"]})["choices"][0]["text"])
        self.assertEqual(len({c["text"] for c in three}), 3)
        streamed = ["", "", ""]
        for chunk in self.server.stream("/v1/completions", {**random, "seed": 7, "n": 3}):
            for c in chunk["choices"]:
                streamed[c["index"]] += c["text"]
        self.assertEqual(streamed, [c["text"] for c in three])

    def test_seeds(self):
        random = {"prompt": PROMPTS[0], "max_tokens": 24, "temperature": 1}
        texts = {self.server.post("/v1/completions", random)["choices"][0]["text"] for _ in range(4)}
        self.assertGreater(len(texts), 1)   # each request that names none has its own
        with Server("--seed", "5", "--temp", "1", "-n", "24") as server:
            texts = {server.post("/v1/completions", {"prompt": PROMPTS[0]})["choices"][0]["text"] for _ in range(3)}
            self.assertEqual(texts, {server.post("/v1/completions", {**random, "seed": 5})["choices"][0]["text"]})

    def test_stops_biases_and_schemas(self):
        whole = text_of(PROMPTS[0])
        word = whole.split()[3]
        done = self.server.post("/v1/completions", greedy(PROMPTS[0], stop=word))["choices"][0]
        self.assertEqual((done["text"], done["finish_reason"]), (whole[:whole.index(word)], "stop"))
        banned = {str(i): -100 for i in range(512) if i not in (2, 300)}
        self.assertEqual(self.server.post("/v1/completions", greedy(PROMPTS[0], 4, logit_bias=banned))["choices"][0]["finish_reason"], "length")
        only = self.server.post("/v1/completions", greedy(PROMPTS[0], 4, logit_bias=banned))["choices"][0]["text"]
        self.assertEqual(only, only[:len(only) // 4] * 4)
        schema = {"type": "object", "properties": {"n": {"enum": [1, 22]}}, "required": ["n"], "additionalProperties": False}
        form = {"type": "json_schema", "json_schema": {"name": "number", "schema": schema}}
        done = self.server.post("/v1/completions", greedy(PROMPTS[0], 60, response_format=form))["choices"][0]
        self.assertIn(json.loads(done["text"]), [{"n": 1}, {"n": 22}])
        self.assertEqual(done["finish_reason"], "stop")

    def test_how_likely_tokens_were(self):
        done = self.server.post("/v1/completions", greedy(PROMPTS[0], 5, logprobs=3))["choices"][0]
        told = done["logprobs"]
        self.assertEqual("".join(told["tokens"]), done["text"])
        self.assertEqual(told["text_offset"], [len("".join(told["tokens"][:i])) for i in range(5)])
        streamed = self.server.stream("/v1/completions", greedy(PROMPTS[0], 5, logprobs=3))
        self.assertEqual([o for c in streamed for o in c["choices"][0].get("logprobs", {"text_offset": []})["text_offset"]], told["text_offset"])
        # The same from `cria logits`, which computes the prompt and the text in one pass.
        lines = subprocess.run([CRIA, "logits", "-m", STORIES, "-p", PROMPTS[0] + done["text"], "--top", "3", "-t", "1"], stdout=subprocess.PIPE, check=True)
        positions = json.loads(lines.stdout)["cases"][0]["positions"][-6:-1]
        for token, logprob, top, wanted in zip(told["tokens"], told["token_logprobs"], told["top_logprobs"], positions):
            self.assertEqual(len(top), 3)
            self.assertEqual(logprob, top[token])   # greedy
            for value, (_, logit) in zip(sorted(top.values(), reverse=True), wanted["top"]):
                self.assertAlmostEqual(value, logit - wanted["logsumexp"], delta=1e-4)
        rare = self.server.post("/v1/completions", greedy(PROMPTS[0], 2, logprobs=1, logit_bias={"300": 100}))["choices"][0]["logprobs"]
        for value, top in zip(rare["token_logprobs"], rare["top_logprobs"]):   # the model's own, before biases
            self.assertLess(value, min(top.values()))
        asked = chat("Once", logprobs=True, top_logprobs=2, max_tokens=6)
        whole = self.server.post("/v1/chat/completions", asked)["choices"][0]
        streamed = []
        for chunk in self.server.stream("/v1/chat/completions", asked):
            streamed += chunk["choices"][0].get("logprobs", {"content": []})["content"]
        self.assertEqual(streamed, whole["logprobs"]["content"])
        self.assertEqual((len(streamed), {len(token["top_logprobs"]) for token in streamed}), (6, {2}))
        self.assertEqual(b"".join(bytes(token["bytes"]) for token in streamed).decode(), whole["message"]["content"])

    def test_what_would_change_the_answer_is_an_error_and_the_rest_is_not(self):
        for path, ask in (("/v1/completions", greedy(PROMPTS[0], 4)), ("/v1/chat/completions", chat("a", max_tokens=4)), ("/v1/embeddings", {"input": "a"})):
            changes = {"n_predict": 5, "ignore_eos": True, "min_tokens": 3, "reasoning_effort": "low", "dry_sequence_breakers": ["x"], "temprature": 1,
                       "verbosity": "low", "echo": True, "best_of": 2, "modalities": ["audio"], "\u001b": 1}
            for key, value in changes.items():
                e = self.server.post(path, {**ask, key: value}, status=400)["error"]
                self.assertEqual(e["param"], key if key != "\u001b" else "\\x1b")
            nothing = {"model": "m", "user": "u", "metadata": {"a": "b"}, "store": False, "service_tier": "auto", "safety_identifier": "s", "ignore_eos": False,
                       "prompt_cache_key": "k", "min_tokens": 0, "verbosity": "medium", "modalities": ["text"], "suffix": "", "n_predict": None}
            self.server.post(path, {**ask, **nothing})
        self.server.post("/v1/embeddings", {"input": "a", "dimensions": 64})
        self.assertEqual(self.server.post("/v1/embeddings", {"input": "a", "dimensions": 32}, status=400)["error"]["param"], "dimensions")

    def test_names_that_other_servers_have(self):
        same = [greedy(PROMPTS[0], 99, repetition_penalty=3), greedy(PROMPTS[0], 99, repeat_penalty=3, repeat_last_n=512)]
        same = [self.server.post("/v1/completions", body)["choices"][0]["text"] for body in same]
        self.assertEqual(same[0], same[1])
        self.assertNotEqual(same[0], text_of(PROMPTS[0], 99))
        ended = self.server.post("/v1/completions", greedy(PROMPTS[0], stop_token_ids=list(range(3, 512))))
        self.assertEqual((ended["choices"][0]["text"], ended["choices"][0]["finish_reason"]), ("", "stop"))
        random = {"prompt": PROMPTS[0], "max_tokens": 16, "temperature": 1}
        texts = [self.server.post("/v1/completions", {**random, "seed": seed})["choices"][0]["text"] for seed in (-1, (1 << 64) - 1, 1)]
        self.assertEqual(texts[0], texts[1])
        self.assertNotEqual(texts[0], texts[2])

    def test_a_prompt_may_be_several_texts(self):
        ids = [int(n) for n in re.findall(rb"\d+", subprocess.run([CRIA, "tokenize", "-m", STORIES, "-p", PROMPTS[2]], stdout=subprocess.PIPE).stdout)]
        done = self.server.post("/v1/completions", greedy([PROMPTS[0], PROMPTS[1], ids], n=2))
        self.assertEqual([c["index"] for c in done["choices"]], list(range(6)))
        self.assertEqual([c["text"] for c in done["choices"]], [text_of(p) for p in PROMPTS[:3] for _ in range(2)])
        alone = [self.server.post("/v1/completions", greedy(p))["usage"]["prompt_tokens"] for p in PROMPTS[:3]]
        self.assertEqual((done["usage"]["prompt_tokens"], done["usage"]["completion_tokens"]), (sum(alone), 6 * 24))

    def test_what_choices_share_was_not_there_before(self):
        asked = {"prompt": "Words that no other test says, and many of them, " * 3, "max_tokens": 2, "n": 4}
        usages = [self.server.post("/v1/completions", asked)["usage"] for _ in range(2)]
        reused = [usage["prompt_tokens_details"]["cached_tokens"] for usage in usages]
        self.assertLess(reused[0], 4)   # the beginning of every text
        self.assertGreater(reused[1], usages[1]["prompt_tokens"] // 2)

    def test_a_failure_has_its_own_status(self):
        nothing_left = {str(i): -100 for i in range(512)}
        self.assertEqual(self.server.post("/v1/completions", greedy("a", logit_bias=nothing_left), status=500)["error"]["code"], "non_finite")

    def test_members_that_are_null_are_absent(self):
        nulls = dict.fromkeys(["stop", "n", "seed", "logit_bias", "stream", "stream_options", "response_format", "logprobs", "tools"])
        self.assertEqual(self.server.post("/v1/completions", greedy(PROMPTS[0], **nulls))["choices"][0]["text"], text_of(PROMPTS[0]))

    def test_calls_have_names_ids_and_arguments(self):
        tools = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}]
        asked = chat("Weather?", tools=tools, grammar=ONLY_A_CALL)
        choice = self.server.post("/v1/chat/completions", asked)["choices"][0]
        call = choice["message"]["tool_calls"][0]
        self.assertEqual((choice["finish_reason"], choice["message"]["content"], call["type"], call["function"]["name"]),
                         ("tool_calls", None, "function", "get_weather"))
        self.assertRegex(json.loads(call["function"]["arguments"])["city"], "^[a-z]{3}$")
        chunks = self.server.stream("/v1/chat/completions", asked)
        self.assertEqual([c["choices"][0]["delta"].get("tool_calls") for c in chunks if "tool_calls" in c["choices"][0]["delta"]], [[{"index": 0, **call}]])
        self.assertEqual((chunks[0]["choices"][0]["delta"]["role"], chunks[-1]["choices"][0]["finish_reason"]), ("assistant", "tool_calls"))
        self.assertEqual("".join(c["choices"][0]["delta"].get("content", "") for c in chunks), "")
        twice = ONLY_A_CALL + ONLY_A_CALL[len("root ::="):]
        for several, n in ((True, 2), (False, 1)):
            calls = self.server.post("/v1/chat/completions", {**asked, "grammar": twice, "parallel_tool_calls": several})["choices"][0]["message"]["tool_calls"]
            self.assertEqual(len(calls), n)
        # What a client sends back after it has run the function.
        messages = [*asked["messages"], choice["message"], {"role": "tool", "tool_call_id": call["id"], "content": "rain"}]
        self.server.post("/v1/chat/completions", {"messages": messages, "tools": tools, "max_tokens": 4})
        without = chat("x", tools=tools, tool_choice="none", max_tokens=4)
        self.assertNotIn("tool_calls", self.server.post("/v1/chat/completions", without)["choices"][0]["message"])

    def test_calls_can_be_required(self):
        def tool(name, **properties):
            parameters = {"type": "object", "properties": properties, "required": list(properties), "$defs": {"City": {"enum": ["Lima", "Cusco"]}}}
            return {"type": "function", "function": {"name": name, "parameters": parameters}}

        tools = [tool("get_weather", city={"$ref": "#/$defs/City"}), tool("set_light", on={"type": "boolean"})]
        for choice, names in (("required", {"get_weather", "set_light"}), ({"type": "function", "function": {"name": "set_light"}}, {"set_light"}),
                              ({"type": "function", "function": {"name": "get_weather"}}, {"get_weather"})):
            with self.subTest(choice=choice):
                asked = chat("Weather?", tools=tools, tool_choice=choice, max_tokens=60)
                whole = self.server.post("/v1/chat/completions", asked)["choices"][0]
                [call] = whole["message"]["tool_calls"]
                self.assertEqual((whole["finish_reason"], whole["message"]["content"]), ("tool_calls", None))
                self.assertIn(call["function"]["name"], names)
                arguments = json.loads(call["function"]["arguments"])
                self.assertIn(arguments, [{"city": "Lima"}, {"city": "Cusco"}] if call["function"]["name"] == "get_weather" else [{"on": True}, {"on": False}])
                deltas = [c["choices"][0]["delta"] for c in self.server.stream("/v1/chat/completions", asked)]
                self.assertEqual([d["tool_calls"] for d in deltas if "tool_calls" in d], [[{"index": 0, **call}]])
                self.assertEqual("".join(d.get("content", "") for d in deltas), "")

    def test_content_may_be_parts_of_text(self):
        parts = [{"type": "text", "text": "Once upon "}, {"type": "text", "text": "a time"}]
        asked = {"max_tokens": 12}
        self.assertEqual(self.server.post("/v1/chat/completions", chat(parts, **asked))["choices"], self.server.post(
            "/v1/chat/completions", chat("Once upon a time", **asked))["choices"])

    def test_vectors_are_those_of_cria_embed(self):
        printed = subprocess.run([CRIA, "embed", "-m", STORIES, "-p", PROMPTS[1], "-t", "1"], stdout=subprocess.PIPE, check=True).stdout
        wanted = [float(x) for x in printed.split()]
        done = self.server.post("/v1/embeddings", {"input": [PROMPTS[0], PROMPTS[1]]})
        self.assertEqual([d["index"] for d in done["data"]], [0, 1])
        self.assertEqual([struct.pack("<f", x) for x in done["data"][1]["embedding"]], [struct.pack("<f", x) for x in wanted])
        packed = base64.b64decode(self.server.post("/v1/embeddings", {"input": PROMPTS[1], "encoding_format": "base64"})["data"][0]["embedding"])
        self.assertEqual(packed, struct.pack("<%df" % len(wanted), *wanted))

    def test_wrong_requests_name_the_field(self):
        words = [{"role": "user", "content": "a"}]
        wrong = [("/v1/completions", {"max_tokens": 3}, "prompt"), ("/v1/completions", greedy(5), "prompt"), ("/v1/completions", greedy([512]), "prompt"),
                 ("/v1/completions", greedy([-1]), "prompt"), ("/v1/completions", greedy(["a"] * 99), "prompt"), ("/v1/completions", greedy([]), "prompt"),
                 ("/v1/completions", greedy(["a", 5]), "prompt"), ("/v1/completions", greedy("a", seed=1.5), "seed"),
                 ("/v1/completions", greedy("a", repetition_penalty=0), "repetition_penalty"),
                 ("/v1/completions", greedy("a", repetition_penalty=1, repeat_penalty=1), "repetition_penalty"),
                 ("/v1/completions", greedy("a", stop_token_ids=[512]), "stop_token_ids"),
                 ("/v1/chat/completions", {"messages": words, "parallel_tool_calls": 1}, "parallel_tool_calls"),
                 ("/v1/completions", greedy("a", n=0), "n"), ("/v1/completions", greedy("a", n=17), "n"), ("/v1/completions", greedy("a", n=1.5), "n"),
                 ("/v1/completions", greedy("a", max_tokens=0), "max_tokens"), ("/v1/completions", greedy("a", stream=1), "stream"),
                 ("/v1/completions", greedy("a", temperature=-1), "temperature"), ("/v1/completions", greedy("a", top_p="1"), "top_p"),
                 ("/v1/completions", greedy("a", stop=[""]), "stop"), ("/v1/completions", greedy("a", logprobs=21), "logprobs"),
                 ("/v1/completions", greedy("a", logit_bias={"x": 1}), "logit_bias"), ("/v1/completions", greedy("a", logit_bias={"512": 1}), "logit_bias"),
                 ("/v1/completions", greedy("a", grammar="root ::= ("), "grammar"), ("/v1/completions", greedy("a", response_format="json"), "response_format"),
                 ("/v1/completions", greedy("a", response_format={"type": "json_schema", "json_schema": {"schema": {"type": "wrong"}}}), "response_format"),
                 ("/v1/chat/completions", {}, "messages"), ("/v1/chat/completions", {"messages": []}, "messages"),
                 ("/v1/chat/completions", {"messages": "hi"}, "messages"),
                 ("/v1/chat/completions", {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages"),
                 ("/v1/chat/completions", {"messages": words, "tools": [{}], "tool_choice": "required"}, "tools"),
                 ("/v1/chat/completions", {"messages": words, "tool_choice": "required"}, "tool_choice"),
                 ("/v1/chat/completions", {"messages": words, "tools": [{"name": "f"}], "tool_choice": "any"}, "tool_choice"),
                 ("/v1/chat/completions", {"messages": words, "tools": [{"name": "f"}], "tool_choice": {"type": "function"}}, "tool_choice"),
                 ("/v1/chat/completions", {"messages": words, "tools": [{"name": "f"}], "tool_choice": {"type": "function", "function": "f"}}, "tool_choice"),
                 ("/v1/chat/completions", {"messages": words, "tools": [{"name": "f"}],
                                           "tool_choice": {"type": "function", "function": {"name": "g"}}}, "tool_choice"),
                 ("/v1/chat/completions", {"messages": words, "tools": [{"name": "f", "parameters": {"type": "object", "if": {}}}],
                                           "tool_choice": "required"}, "tools"),
                 ("/v1/chat/completions", {"messages": words, "tools": [{"name": "f"}], "tool_choice": "required", "grammar": "root ::= \"x\""}, "tool_choice"),
                 ("/v1/chat/completions", {"messages": words, "chat_template_kwargs": 3}, "chat_template_kwargs"),
                 ("/v1/chat/completions", {"messages": words, "top_logprobs": 2}, "top_logprobs"),
                 ("/v1/embeddings", {}, "input"), ("/v1/embeddings", {"input": "a", "encoding_format": "x"}, "encoding_format"),
                 ("/v1/embeddings", {"input": ["a"] * 257}, "input")]
        for path, body, field in wrong:
            with self.subTest(body=body):
                e = self.server.post(path, body, status=400)["error"]
                self.assertEqual(e["type"], "invalid_request_error")
                self.assertTrue(e["param"].startswith(field), e)
        for body in ("", "{", "[]", "7", '{"prompt": "\xff"}'.encode("latin-1"), "[" * 100000):
            with self.subTest(body=body[:20]):
                self.assertEqual(self.server.post("/v1/completions", body, status=400)["error"]["param"], "body")
        long = self.server.post("/v1/completions", greedy("word " * 2000), status=400)["error"]
        self.assertEqual(long["code"], "context_length_exceeded")
        long = self.server.post("/v1/chat/completions", chat("word " * 2000), status=400)["error"]
        self.assertEqual(long["code"], "context_length_exceeded")

    def test_other_paths_and_methods(self):
        for method, path in (("GET", "/"), ("GET", "/v1/chat/completions"), ("POST", "/v1/models"), ("DELETE", "/v1/models")):
            status, _, body = self.server.ask(method, path)
            self.assertIn(status, (400, 404))
            self.assertIn("message", json.loads(body)["error"])
        [model] = json.loads(self.server.ask("GET", "/v1/models")[2])["data"]
        self.assertEqual(model["id"], "stories260K")
        self.assertEqual(json.loads(self.server.ask("GET", "/v1/models/stories260K")[2]), model)
        for other in ("stories260", "a" * 8000, ""):
            self.assertEqual(self.server.ask("GET", "/v1/models/" + other)[0], 404)
        self.assertEqual(self.server.ask("GET", "/health")[0], 200)
        for method in ("GET", "OPTIONS", "POST"):   # what matches paths must not use the stack for each letter
            self.assertIn(self.server.ask(method, "/" + "a" * 8000)[0], (204, 400, 404, 414))
        status, _, body = self.server.ask("POST", "/v1/completions", b" " * (17 << 20))
        self.assertEqual((status, "message" in json.loads(body)["error"]), (413, True))

    def test_bodies_have_a_limit_however_they_come(self):
        def chunks(total):
            for _ in range(total >> 16):
                yield b" " * (1 << 16)

        for headers in ({}, {"Content-Type": "application/x-www-form-urlencoded"}):
            for size, wanted in ((17 << 20, 413), (1 << 20, 400)):   # blanks are no JSON
                for body in (chunks(size), b" " * size):
                    status, _, reply = self.server.ask("POST", "/v1/completions", body, headers)
                    self.assertEqual((status, "message" in json.loads(reply)["error"]), (wanted, True))
        long = json.dumps({**greedy(PROMPTS[0]), "user": "x" * 10000})
        for kind in ("application/x-www-form-urlencoded", "text/plain", "application/json"):   # the first is what curl says by itself
            status, _, reply = self.server.ask("POST", "/v1/completions", long, {"Content-Type": kind})
            self.assertEqual((status, json.loads(reply)["choices"][0]["text"]), (200, text_of(PROMPTS[0])))
        endless = b"POST %s HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n"
        for path, wanted in ((b"/v1/completions", b" 413 "), (b"/elsewhere", b" 404 ")):   # a client that never stops is cut off
            self.assertIn(self.server.raw(endless % path, b"10000\r\n%s\r\n" % (b" " * 65536) * 1200)[8:13], (wanted, b""))

    def test_what_nobody_reads_is_no_next_request(self):
        inner = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"
        for head, status in ((b"GET /health", b"400"), (b"OPTIONS /health", b"400"), (b"POST /elsewhere", b"404"), (b"PUT /v1/completions", b"404"),
                             (b"DELETE /v1/completions", b"404")):
            got = self.server.raw(head + b" HTTP/1.1\nHost: x\nContent-Length: %d\n\n" % len(inner), inner)
            self.assertEqual((got[9:12], got.count(b"HTTP/1.1 ")), (status, 1), got)
        twice = b"POST /v1/completions HTTP/1.1\nHost: x\nContent-Length: 5\nContent-Length: 500\n\n"
        self.assertEqual(self.server.raw(twice, b"12345" + inner)[9:12], b"400")
        both = b"POST /v1/completions HTTP/1.1\nHost: x\nContent-Length: 5\nTransfer-Encoding: chunked\n\n"
        got = self.server.raw(both, b"0\r\n\r\n" + inner)
        self.assertEqual((got[9:12], got.count(b"HTTP/1.1 ")), (b"400", 1), got)
        start = time.monotonic()
        got = self.server.raw(b"POST /v1/completions HTTP/1.1\nHost: x\nConnection: close\n\n")   # no body at all
        self.assertEqual((got[9:12], time.monotonic() - start < 4), (b"400", True))

    def test_bytes_that_are_no_http(self):
        for sent in (b"\0" * 100, b"GET\r\n\r\n", b"POST /v1/completions HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", b"A" * 100000):
            with socket.create_connection(("127.0.0.1", self.server.port), timeout=30) as s:
                try:
                    s.sendall(sent)
                    s.shutdown(socket.SHUT_WR)
                    s.recv(1000)
                except OSError:
                    pass
        self.assertEqual(self.server.ask("GET", "/health")[0], 200)


@unittest.skipUnless(os.path.exists(STORIES), "no stories260K.gguf")
class Running(unittest.TestCase):
    def test_caches_are_those_of_other_commands(self):
        vectors = set()
        for cache in ("f16", "f32", "bf16"):
            printed = subprocess.run([CRIA, "embed", "-m", STORIES, "-p", PROMPTS[1], "-t", "1", "--cache", cache], stdout=subprocess.PIPE, check=True).stdout
            wanted = [struct.pack("<f", float(x)) for x in printed.split()]
            with Server("--cache", cache) as server:
                for prompt in PROMPTS[:2]:
                    done = server.post("/v1/completions", greedy(prompt, 100))["choices"][0]
                    self.assertEqual(done["text"], text_of(prompt, 100, "--cache", cache))
                got = [struct.pack("<f", x) for x in server.post("/v1/embeddings", {"input": PROMPTS[1]})["data"][0]["embedding"]]
                self.assertEqual(got, wanted)
                vectors.add(tuple(got))
        self.assertEqual(len(vectors), 3)

    def test_a_full_queue_says_when_to_come_again(self):
        with Server("--parallel", "1", "--queue", "1") as server:
            long = {"prompt": "a", "n": 2, "max_tokens": 400, "logit_bias": {"2": -100}}
            for _ in range(20):   # until it was asked while the first request was computed
                with concurrent.futures.ThreadPoolExecutor(2) as pool:
                    asked = [pool.submit(server.ask, "POST", "/v1/completions", long) for _ in range(2)]
                    refused = [reply.result() for reply in asked if reply.result()[0] != 200]
                if refused:
                    break
            status, headers, body = refused[0]
            self.assertEqual((status, headers["Retry-After"], json.loads(body)["error"]["type"]), (503, "1", "server_error"))
            self.assertEqual(server.post("/v1/completions", greedy(PROMPTS[0]))["choices"][0]["text"], text_of(PROMPTS[0]))
            self.assertEqual(server.post("/v1/completions", {**long, "n": 3}, status=400)["error"]["param"], "n")   # coming again would not help

    def test_who_has_a_free_place_does_not_count_as_waiting(self):
        with Server("--parallel", "8", "--queue", "1") as server:
            self.assertEqual(len(server.post("/v1/completions", greedy("a", 4, n=9))["choices"]), 9)
            with concurrent.futures.ThreadPoolExecutor(9) as pool:
                asked = [pool.submit(server.post, "/v1/completions", greedy(p, 200)) for p in (PROMPTS * 2)[:9]]
                for reply in asked:
                    reply.result()

    def test_adapters_act_on_vectors_too(self):
        path = os.path.join(TMP, "lora.gguf")
        os.makedirs(TMP, exist_ok=True)
        numbers = [((i * 37) % 101 - 50) / 100 for i in range(256)]

        def text(t):
            return struct.pack("<Q", len(t)) + t.encode()

        keys = (("general.type", "adapter"), ("general.architecture", "llama"), ("adapter.type", "lora"))
        out = b"GGUF" + struct.pack("<IQQ", 3, 2, 4) + b"".join(text(k) + struct.pack("<I", 8) + text(v) for k, v in keys)
        out += text("adapter.lora.alpha") + struct.pack("<If", 6, 8.0)
        for name, shape, offset in (("blk.0.attn_q.weight.lora_a", (64, 4), 0), ("blk.0.attn_q.weight.lora_b", (4, 64), 1024)):
            out += text(name) + struct.pack("<IQQIQ", 2, *shape, 0, offset)
        out += b"\0" * (-len(out) % 32) + struct.pack("<256f", *numbers) * 2
        with open(path, "wb") as file:
            file.write(out)
        vectors = set()
        for more in ((), ("--lora", path), ("--lora", path + ":0")):
            with Server(*more) as server:
                vectors.add(tuple(server.post("/v1/embeddings", {"input": PROMPTS[0]})["data"][0]["embedding"]))
        self.assertEqual(len(vectors), 2)

    def test_without_a_template_chats_are_refused(self):
        with Server() as server:
            self.assertIn("chat template", server.post("/v1/chat/completions", chat("a"), status=400)["error"]["message"])

    def test_keys_and_origins(self):
        key = os.path.join(TMP, "key")
        os.makedirs(TMP, exist_ok=True)
        with open(key, "w", encoding="utf-8") as file:
            file.write("s3cret\nnot this\n")
        with Server("--api-key-file", key, "--allow-origin", "http://example.org") as server:
            for given, status in ((None, 401), ("Bearer s3cre", 401), ("Bearer s3cretX", 401), ("s3cret", 401), ("Bearer s3cret", 200)):
                got, headers, _ = server.ask("GET", "/v1/models", headers={"Authorization": given} if given else {})
                self.assertEqual((got, headers["Access-Control-Allow-Origin"]), (status, "http://example.org"))
            self.assertEqual(server.ask("GET", "/health")[0], 200)
            wanted = "authorization, content-type, x-stainless-lang"
            status, headers, _ = server.ask("OPTIONS", "/v1/chat/completions", headers={"Access-Control-Request-Headers": wanted})
            self.assertEqual((status, headers["Access-Control-Allow-Headers"]), (204, wanted))
            self.assertEqual(server.ask("POST", "/v1/completions", greedy("a"))[0], 401)
            self.assertEqual(server.ask("POST", "/v1/completions", greedy("a", 1), {"Authorization": "Bearer s3cret"})[0], 200)
            connection = server.connect()   # bodies of strangers are not kept, and do not disturb what follows
            for given, status in (("", 401), ("Bearer s3cret", 200)) * 2:
                connection.request("POST", "/v1/completions", json.dumps(greedy("a", 1)), {"Authorization": given})
                reply = connection.getresponse()
                reply.read()
                self.assertEqual(reply.status, status)
            connection.close()
        with Server() as server:
            got, headers, _ = server.ask("GET", "/v1/models", headers={"Authorization": "Bearer anything"})
            self.assertEqual((got, headers["Access-Control-Allow-Origin"]), (200, None))

    def test_wrong_beginnings(self):
        empty = os.path.join(TMP, "empty")
        os.makedirs(TMP, exist_ok=True)
        with open(empty, "w", encoding="utf-8") as file:
            file.write("\n")
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            for more, status, said in ((["--port", port], 1, port), (["--api-key-file", empty], 1, "empty line"), (["--host", "256.1.1.1"], 1, "256.1.1.1"),
                                       (["--port", "70000"], 2, "70000"), (["-m", "/nowhere.gguf"], 1, "nowhere"),
                                       (["--chat-template", "/nowhere"], 1, "nowhere")):
                model = [] if "-m" in more else ["-m", STORIES]
                done = subprocess.run([CRIA, "serve", "--port", "0", *model, *more] if "--port" not in more else [CRIA, "serve", *model, *more],
                                      stderr=subprocess.PIPE, timeout=60)
                self.assertEqual(done.returncode, status, done.stderr)
                self.assertIn(said, done.stderr.decode())

    def test_without_threads_it_does_not_begin(self):
        try:
            import resource
        except ImportError:
            self.skipTest("no limits here")

        def take_little():   # the memory for the stacks of some 200 threads
            limit, stack = 4000 << 20, 16 << 20
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            resource.setrlimit(resource.RLIMIT_STACK, (stack, resource.getrlimit(resource.RLIMIT_STACK)[1]))

        try:
            subprocess.run([CRIA, "--version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True, preexec_fn=take_little)
        except subprocess.SubprocessError:
            self.skipTest("nothing runs with so little")   # a sanitizer's shadow
        done = subprocess.run([CRIA, "serve", "-m", STORIES, "--port", "0", "-t", "1", "--parallel", "256", "--queue", "512"], stderr=subprocess.PIPE,
                              timeout=60, preexec_fn=take_little)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"threads", done.stderr)
        self.assertNotIn(b"listening", done.stderr)

    def test_signals_before_it_listens(self):
        for delay in range(24):
            process = subprocess.Popen([CRIA, "serve", "-m", STORIES, "--port", "0", "-t", "1"], stderr=subprocess.PIPE)
            try:
                if delay < 12:
                    time.sleep(0.004 + 0.002 * delay)
                else:
                    process.stderr.readline()   # "listening", which it does next
                process.send_signal(signal.SIGTERM)
                self.assertIn(process.wait(timeout=20), (0, 130, -signal.SIGTERM))   # 130: while the model was loaded
            finally:
                process.kill()
                process.wait()
                process.stderr.close()

    def test_clients_that_dribble_or_do_nothing_do_not_hold_up_the_end(self):
        with Server() as server:
            idle = server.connect()
            idle.request("GET", "/health")
            idle.getresponse().read()
            dribbler = socket.create_connection(("127.0.0.1", server.port))
            ends = threading.Event()

            def dribble():
                while not ends.wait(0.5):
                    try:
                        dribbler.send(b"x")
                    except OSError:
                        return

            thread = threading.Thread(target=dribble)
            thread.start()
            start = time.monotonic()
            try:
                self.assertEqual(server.stop(), 0)
                self.assertLess(time.monotonic() - start, 15)   # it is 4 where the machine is free
            finally:
                ends.set()
                thread.join()
                dribbler.close()
                idle.close()

    def test_signals_end_it_in_order(self):
        for how in (signal.SIGTERM, signal.SIGINT):
            with Server() as server:
                self.assertEqual(server.ask("GET", "/health")[0], 200)
                self.assertEqual(server.stop(how), 0)


@unittest.skipUnless(os.path.exists(SMOLLM2), "CRIA_TEST_SMOLLM2 names no model")
class Chats(unittest.TestCase):
    def setUp(self):
        self.server = Server("-c", "4096", "--queue", "1", model=SMOLLM2)
        self.addCleanup(self.server.__exit__)

    def test_an_answer(self):
        question = chat("What is the capital of France?", max_tokens=40)
        whole = self.server.post("/v1/chat/completions", question)["choices"][0]
        self.assertEqual((whole["message"]["role"], whole["finish_reason"]), ("assistant", "stop"))
        self.assertIn("Paris", whole["message"]["content"])
        chunks = self.server.stream("/v1/chat/completions", question)
        self.assertEqual("".join(c["choices"][0]["delta"].get("content", "") for c in chunks), whole["message"]["content"])

    def test_messages_may_be_calls_alone(self):
        call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        for said in ({"role": "assistant", "content": None, "tool_calls": [call]}, {"role": "assistant", "tool_calls": [call]}):
            messages = [{"role": "user", "content": "a"}, said, {"role": "tool", "tool_call_id": "1", "content": "b"}]
            self.server.post("/v1/chat/completions", {"messages": messages, "max_tokens": 2})   # SmolLM2's template joins texts

    def test_what_the_template_cannot_write_is_said_of_the_messages(self):
        missing = ("messages[1].content", "is missing")
        for said, (field, why) in (({"role": "user"}, missing), ({"role": "user", "content": None}, missing),
                                   ({"role": "user", "content": 3}, ("messages", "cannot be written by the model's chat template: "))):
            e = self.server.post("/v1/chat/completions", {"messages": [{"role": "system", "content": "a"}, said]}, status=400)["error"]
            self.assertEqual(e["param"], field)
            self.assertIn(why, e["message"])

    def test_late_failures_end_whole_answers_with_what_is_wrong(self):
        connection = self.server.connect()
        connection.request("POST", "/v1/chat/completions", json.dumps(chat("Tell me all about llamas.", logit_bias={"2": -100})))
        reply = connection.getresponse()
        self.assertEqual((reply.status, reply.read(1)), (200, b" "))   # it says that it is there
        self.assertEqual(self.server.stop(), 0)
        with self.assertRaises(http.client.IncompleteRead) as failure:
            reply.read()
        self.assertIn("is shutting down", json.loads(failure.exception.partial)["error"]["message"])
        connection.close()

    def wait_until(self, holds):
        for _ in range(600):   # 30 s and more
            if holds():
                return
            time.sleep(0.05)
        self.fail("it does not happen")

    def leave(self, body):
        """Asks, and goes away when the request is on its way."""
        connection = self.server.connect()
        connection.request("POST", "/v1/chat/completions", json.dumps(body))
        self.wait_until(lambda: self.server.metric("cria_requests_running") == 1)
        connection.sock.shutdown(socket.SHUT_RDWR)
        connection.close()

    def test_who_leaves_is_no_longer_computed(self):
        long = {"messages": [{"role": "user", "content": "Tell me all about llamas."}], "max_tokens": 4000, "logit_bias": {"2": -100}}
        for i, body in enumerate(({**long, "stream": True}, long, {**long, "messages": [{"role": "user", "content": "word " * 3000}]})):
            with self.subTest(i):
                self.leave(body)
                self.wait_until(lambda i=i: self.server.metric('cria_requests_finished_total{model="SmolLM2-135M-Instruct.Q4_1",reason="cancelled"}') == i + 1)
                self.assertEqual(self.server.metric("cria_requests_running"), 0)

    def test_vectors_do_not_hold_up_others(self):
        many = {"input": ["word " * 400] * 200}   # a minute and more
        connections = []

        def begin():
            connections.append(self.server.connect())
            connections[-1].request("POST", "/v1/embeddings", json.dumps(many))

        begin()
        start = time.monotonic()
        one = self.server.post("/v1/embeddings", {"input": "word " * 400})["data"][0]["embedding"]
        self.server.post("/v1/chat/completions", chat("Hello", max_tokens=3))
        self.assertLess(time.monotonic() - start, 30)
        self.assertEqual(len(one), 576)
        begin()
        for connection in connections:   # after a while they hear that they are not forgotten
            reply = connection.getresponse()
            self.assertEqual((reply.status, reply.read(1)), (200, b" "))
        self.server.post("/v1/embeddings", {"input": "word"}, status=503)   # one waits, which is all that may
        for connection in connections:
            connection.sock.shutdown(socket.SHUT_RDWR)
            connection.close()
        self.wait_until(lambda: self.server.ask("POST", "/v1/embeddings", {"input": "word"})[0] == 200)
        start = time.monotonic()
        connections.clear()
        begin()
        self.assertEqual(self.server.stop(), 0)
        self.assertLess(time.monotonic() - start, 15)
        self.assertEqual(connections[0].getresponse().status, 503)
        connections[0].close()

    def test_a_signal_ends_streams(self):
        streams = []
        for _ in range(8):   # the more there are, the more are behind with what they have to write
            connection = self.server.connect()
            connection.request("POST", "/v1/chat/completions", json.dumps(chat("Tell me all about llamas.", stream=True, logit_bias={"2": -100})))
            streams.append((connection, connection.getresponse()))
        for _, reply in streams:
            line = b":"
            while line in (b":", b":\n", b"\n"):   # comments while the prompt is read
                line = reply.readline()
            self.assertTrue(line.startswith(b"data: "), line)
        self.assertEqual(self.server.stop(), 0)
        for connection, reply in streams:
            try:
                rest = reply.read()
            except http.client.IncompleteRead as e:
                rest = e.partial
            self.assertIn(b"is shutting down", rest)
            self.assertNotIn(b"[DONE]", rest)
            connection.close()


if __name__ == "__main__":
    if b"\n  serve " not in subprocess.run([CRIA, "--help"], stdout=subprocess.PIPE, check=True).stdout:
        print("SKIPPED: cpp-httplib (Debian, Ubuntu: libcpp-httplib-dev) is not installed")
        sys.exit(77)
    unittest.main()
