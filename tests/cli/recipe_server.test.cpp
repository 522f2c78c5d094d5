// SPDX-License-Identifier: MIT
// The recipe of a server's loop, where steps fail.
#include "examples/recipes/serving.cpp"

#include <tests/support/load_parts.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <new>

namespace {

/// A host's executor that has no memory for its tasks while it is told so.
struct scarce_executor {
  std::atomic<bool> has_memory{true};
  std::size_t concurrency() const noexcept { return 2; }
  void run(std::size_t n, cria::task_ref task) {
    if (!has_memory) throw std::bad_alloc();
    for (std::size_t i = 0; i < n; ++i) task(i);
  }
};

}  // namespace

TEST_CASE("recipe of a server: who asks while steps lack memory is told so, and who asks later is served") {
  scarce_executor threads;
  // Large enough that its products are shared out.
  const auto model = cria_test::model_of(cria_test::tiny_model({.dim = 128, .n_layers = 2, .n_heads = 4, .n_kv_heads = 2, .head_dim = 32, .ffn_dim = 512}));
  auto engine = cria::batch_engine::create(model, {.max_sequences = 2, .context_size = 48, .page_size = 16, .executor = cria::executor_ref(threads)});
  REQUIRE(engine);
  recipes::server s(*std::move(engine));
  for (int round = 0; round < 3; ++round) {
    CAPTURE(round);
    threads.has_memory = false;
    std::vector<std::future<cria::result<cria::generation>>> replies;
    for (int i = 0; i < 3; ++i) replies.push_back(s.ask("ab", {.max_tokens = 4}));   // the third waits for a place
    for (auto& reply : replies) {
      REQUIRE(reply.wait_for(std::chrono::seconds(30)) == std::future_status::ready);
      const auto done = reply.get();
      REQUIRE_FALSE(done);
      CHECK(done.error().code == cria::errc::out_of_memory);
    }
    threads.has_memory = true;
    auto reply = s.ask("ab", {.max_tokens = 4});
    REQUIRE(reply.wait_for(std::chrono::seconds(30)) == std::future_status::ready);
    const auto done = reply.get();
    REQUIRE_MESSAGE(done, (done ? "" : done.error().to_string()));
    CHECK(done->tokens.size() <= 4);
  }
}
