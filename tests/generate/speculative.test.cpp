// SPDX-License-Identifier: MIT
// Guesses must change the speed only: every text is compared with the one of plain decoding, whatever the guesses are.
#include <cria/generate/speculative.hpp>
#include <cria/kv/paged.hpp>

#include <tests/generate/session_fixture.hpp>
#include <tests/support/run_model.hpp>
#include <tests/support/tiny_model.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <stop_token>
#include <string>
#include <vector>

using namespace cria;
using cria::detail::speculative_length;
using namespace cria_test;

namespace {

/// Guesses from a reply that is known already, each token wrong with a chance of `n_wrong` in 8.
struct knowing_drafter {
  std::vector<token_id> whole;
  std::uint64_t n_wrong = 0;
  random_generator random{1};

  [[nodiscard]] std::size_t max_guesses() const noexcept { return 7; }
  std::size_t draft(std::span<const token_id> context, std::span<token_id> out) {
    std::size_t n = 0;
    for (; n < out.size() && context.size() + n < whole.size(); ++n) out[n] = random.next() % 8 < n_wrong ? token_id{5} : whole[context.size() + n];
    return n;
  }
};

/// Guesses what no vocabulary has, and says that it guessed more than there was room for.
struct mad_drafter {
  [[nodiscard]] std::size_t max_guesses() const noexcept { return 1000; }
  std::size_t draft(std::span<const token_id>, std::span<token_id> out) {
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = i % 3 == 2 ? token_id{1 << 30} : i % 2 == 0 ? token_id{-7} : token_id{3};
    return 1'000'000;
  }
};

/// Knows the text and always guesses something else.
struct wrong_drafter {
  std::vector<token_id> whole;
  [[nodiscard]] std::size_t max_guesses() const noexcept { return 16; }
  std::size_t draft(std::span<const token_id> context, std::span<token_id> out) {
    for (std::size_t n = 0; n < out.size(); ++n) out[n] = context.size() + n < whole.size() && whole[context.size() + n] == 300 ? token_id{301} : token_id{300};
    return out.size();
  }
};

/// Always guesses the same token.
struct stubborn_drafter {
  token_id guess;
  [[nodiscard]] std::size_t max_guesses() const noexcept { return 3; }
  std::size_t draft(std::span<const token_id>, std::span<token_id> out) {
    std::fill(out.begin(), out.end(), guess);
    return out.size();
  }
};

/// Guesses many tokens, of which the first eight are right, but none every fourth time.
struct boasting_drafter {
  std::vector<token_id> whole;
  std::size_t n_calls = 0;
  [[nodiscard]] std::size_t max_guesses() const noexcept { return 60; }
  std::size_t draft(std::span<const token_id> context, std::span<token_id> out) {
    const bool is_right = ++n_calls % 4 != 0;
    for (std::size_t n = 0; n < out.size(); ++n) {
      const token_id next = context.size() + n < whole.size() ? whole[context.size() + n] : token_id{3};
      out[n] = is_right && n < 8 ? next : next == 4 ? token_id{5} : token_id{4};
    }
    return out.size();
  }
};

void check_same(const speculative_generation& got, const generation& wanted) {
  CHECK(got.tokens == wanted.tokens);
  CHECK(got.text == wanted.text);
  CHECK(got.reason == wanted.reason);
  CHECK(got.n_prompt == wanted.n_prompt);
}

std::vector<token_id> whole_of(const auto& s, const generation& g) {
  std::vector<token_id> out(s.tokens().begin(), s.tokens().begin() + static_cast<std::ptrdiff_t>(g.n_prompt));
  out.insert(out.end(), g.tokens.begin(), g.tokens.end());
  return out;
}

}  // namespace

TEST_CASE("speculative: greedy text of every golden prompt is the golden text, with good guesses, bad ones and absurd ones") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  for (const golden_case& c : read_golden("stories260K").cases) {
    CAPTURE(c.prompt);
    session s = make_session(m, {.context_size = 256});
    lookup_drafter looking;
    std::string streamed;
    const auto looked = generate_speculatively(s, c.prompt, greedy(c.greedy.size()), looking, [&](std::string_view text) { streamed += text; });
    REQUIRE(looked);
    CHECK(looked->tokens == c.greedy);
    CHECK(looked->text == c.greedy_bytes);
    CHECK(streamed == c.greedy_bytes);
    CHECK(s.length() == c.tokens.size() + c.greedy.size() - 1);
    std::vector<token_id> whole = c.tokens;
    whole.insert(whole.end(), c.greedy.begin(), c.greedy.end());
    for (const std::uint64_t n_wrong : {0u, 3u, 8u}) {
      s.reset();
      knowing_drafter knowing{whole, n_wrong};
      const auto known = generate_speculatively(s, c.tokens, greedy(c.greedy.size()), knowing);
      REQUIRE(known);
      CHECK(known->tokens == c.greedy);
      CHECK(std::equal(s.tokens().begin(), s.tokens().end(), whole.begin()));
      CHECK(s.length() == whole.size() - 1);
      CHECK(known->speculation.n_guessed > 0);
      if (n_wrong == 0) CHECK(known->speculation.n_accepted > 0);
    }
    mad_drafter mad;
    s.reset();
    const auto survived = generate_speculatively(s, c.prompt, greedy(c.greedy.size()), mad);
    REQUIRE(survived);
    CHECK(survived->tokens == c.greedy);
  }
}

TEST_CASE("speculative: sampled text, its ends and what the session holds are those of plain decoding with the same seed") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  std::size_t n_accepted = 0;
  for (std::uint64_t seed = 0; seed < 24; ++seed) {
    CAPTURE(seed);
    generation_options o{.max_tokens = 60};
    o.sampling.seed = seed;
    o.sampling.repeat_penalty = seed % 2 == 0 ? 1.1f : 1.0f;
    o.sampling.mirostat = seed % 8 == 7 ? 2 : 0;
    if (seed % 3 == 0) o.stop_strings = {" the", "ing to"};
    if (seed % 5 == 0) o.stop_tokens = {300, 301, 302, 303, 304, 305};
    if (seed % 7 == 0) o.max_tokens = 1000;
    o.ignore_eos = seed % 7 == 0;
    session plain = make_session(m, {.context_size = 128}), fast = make_session(m, {.context_size = 128});
    const auto wanted = plain.generate("Once upon a time", o).value();
    knowing_drafter knowing{whole_of(plain, wanted), seed % 4};
    const auto got = generate_speculatively(fast, "Once upon a time", o, knowing).value();
    check_same(got, wanted);
    CHECK(std::equal(fast.tokens().begin(), fast.tokens().end(), plain.tokens().begin(), plain.tokens().end()));
    n_accepted += got.speculation.n_accepted;
    // A second turn keeps of the cache what plain decoding keeps.
    const auto more = generate_speculatively(fast, "Once upon a time, there", greedy(5), knowing).value();
    const auto more_wanted = plain.generate("Once upon a time, there", greedy(5)).value();
    check_same(more, more_wanted);
    CHECK(more.n_reused == more_wanted.n_reused);
  }
  CHECK(n_accepted > 24);
}

TEST_CASE("speculative: a model that guesses for itself is always right, greedy or sampled; a rounded one nearly always") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  for (const precision p : {precision::exact, precision::fast}) {
    auto drafter = model_drafter::create(load_stories(p), m, {.context_size = 128, .n_threads = 1}).value();
    std::size_t n_guessed = 0, n_accepted = 0;
    for (const bool is_greedy : {true, false}) {
      generation_options o = is_greedy ? greedy(80) : generation_options{.max_tokens = 80};
      o.sampling.seed = 5;
      session plain = make_session(m, {.context_size = 128}), fast = make_session(m, {.context_size = 128});
      const auto wanted = plain.generate("The dog", o).value();
      const auto got = generate_speculatively(fast, "The dog", o, drafter).value();
      check_same(got, wanted);
      n_guessed += got.speculation.n_guessed;
      n_accepted += got.speculation.n_accepted;
    }
    CHECK(n_guessed > 0);
    if (p == precision::exact) CHECK(n_accepted + 16 >= n_guessed);   // those behind the last token of each text were not looked at
    CHECK(n_accepted * 10 + 160 > n_guessed * 7);
  }
  const std::string other = tiny_model().build();
  const auto refused = model_drafter::create(load_bytes(other).value(), m, {.n_threads = 1});
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == errc::mismatch);
  CHECK(refused.error().where == "vocabulary");
}

TEST_CASE("speculative: sampled tokens have the model's own distribution, where guesses are accepted and where they are not") {
  // The first token comes from the prompt and the second from a pass without guesses; each pass from then on has one, so the third token is drawn against
  // a guess, and the fourth behind one that was right, or after one that was wrong.
  constexpr std::size_t vocab = 19, n_draws = 4000;
  const std::string bytes = tiny_model({.vocab_size = vocab, .seed = 3}).build();
  const model m = load_bytes(bytes).value();
  session s = make_session(m, {.context_size = 32, .max_batch = 8});
  const std::vector<token_id> prompt{4, 9, 12};
  generation_options o{.max_tokens = 4, .ignore_eos = true};
  o.sampling = sampler_config{};
  o.sampling.temperature = 1.0f;
  o.sampling.top_k = 0;
  o.sampling.top_p = 1.0f;
  o.sampling.min_p = 0.0f;

  std::vector<std::vector<double>> expected(4, std::vector<double>(vocab));
  const std::function<void(std::size_t, double)> enumerate = [&](std::size_t depth, double p) {
    double total = 0;
    std::vector<double> weights;
    for (const float x : s.logits()) total += weights.emplace_back(std::exp(static_cast<double>(x)));
    const std::size_t length = s.length();
    for (std::size_t t = 0; t < vocab; ++t) {
      const double chance = p * weights[t] / total;
      expected[depth][t] += chance;
      if (depth == 3) continue;
      REQUIRE(s.truncate(length));
      REQUIRE(s.evaluate(std::vector<token_id>{static_cast<token_id>(t)}));
      enumerate(depth + 1, chance);
    }
  };
  REQUIRE(s.evaluate(prompt));
  enumerate(0, 1);
  const auto likeliest = std::max_element(expected[2].begin(), expected[2].end());
  stubborn_drafter drafter{static_cast<token_id>(likeliest - expected[2].begin())};

  std::vector<std::vector<double>> count(4, std::vector<double>(vocab));
  std::size_t n_accepted = 0, n_guessed = 0;
  for (o.sampling.seed = 0; o.sampling.seed < n_draws; ++o.sampling.seed) {
    const auto g = generate_speculatively(s, prompt, o, drafter).value();
    for (std::size_t i = 0; i < 4; ++i) ++count[i][static_cast<std::size_t>(g.tokens[i])];
    n_accepted += g.speculation.n_accepted;
    n_guessed += g.speculation.n_guessed;
  }
  CHECK(n_guessed >= n_draws);
  CHECK(static_cast<double>(n_accepted) > 0.5 * *likeliest * n_draws);
  for (std::size_t i = 0; i < 4; ++i) {
    double chi_square = 0;
    for (std::size_t t = 0; t < vocab; ++t) {
      const double wanted = expected[i][t] * n_draws;
      REQUIRE(wanted > 1);
      chi_square += (count[i][t] - wanted) * (count[i][t] - wanted) / wanted;
    }
    CAPTURE(i);
    CAPTURE(chi_square);
    // 18 degrees of freedom: above 42.3 once in 1,000. The seeds are fixed, so a right program passes always.
    CHECK(chi_square < 42.3);
  }
}

TEST_CASE("speculative: cancelling, a callback's no and a full context end it as they end plain decoding") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  session plain = make_session(m, {.context_size = 64}), fast = make_session(m, {.context_size = 64});
  generation_options o = greedy(1000);
  o.ignore_eos = true;
  const auto full = plain.generate("Once upon a time", o).value();
  CHECK(full.reason == finish_reason::context_full);
  knowing_drafter knowing{whole_of(plain, full)};
  check_same(generate_speculatively(fast, "Once upon a time", o, knowing).value(), full);
  CHECK(fast.length() == 64);

  const auto until_ten = [](const token_event& e) { return e.index < 9; };
  check_same(generate_speculatively(fast, "Once upon a time", o, knowing, until_ten).value(), plain.generate("Once upon a time", o, until_ten).value());
  CHECK(std::equal(fast.tokens().begin(), fast.tokens().end(), plain.tokens().begin(), plain.tokens().end()));

  std::stop_source stop;
  o.stop = stop.get_token();
  const auto stops_at_12 = [&](const token_event& e) {
    if (e.index == 12) stop.request_stop();
  };
  const auto stopped = generate_speculatively(fast, "Once upon a time", o, knowing, stops_at_12).value();
  CHECK(stopped.reason == finish_reason::cancelled);
  CHECK(stopped.n_generated() == 13);
  CHECK(std::equal(stopped.tokens.begin(), stopped.tokens.end(), full.tokens.begin()));
  CHECK(generate_speculatively(fast, "Once upon a time", o, knowing).value().n_generated() == 0);
  const std::size_t n_held = fast.length();
  CHECK(n_held > 0);
  CHECK(generate_speculatively(fast, std::vector<token_id>{}, greedy(3), knowing).error().where == "prompt");
  CHECK(fast.length() == n_held);   // refused before anything changes
  CHECK(generate_speculatively(fast, std::vector<token_id>{1, 999}, greedy(3), knowing).error().code == errc::bad_argument);
  CHECK(generate_speculatively(fast, std::vector<token_id>(65, 1), greedy(3), knowing).error().code == errc::context_full);
  CHECK(generate_speculatively(fast, "Once", greedy(0), knowing).value().reason == finish_reason::max_tokens);
  // A callback that uses the session for something else is refused, as in plain decoding.
  std::size_t n_refused = 0;
  check_same(generate_speculatively(fast, "Once upon a time", greedy(20), knowing, [&](const token_event& e) {
    if (e.index != 4) return;
    fast.reset();
    n_refused = !fast.truncate(0) + !fast.generate("Tom", greedy(1)) + !generate_speculatively(fast, "Tom", greedy(1), knowing);
  }).value(), plain.generate("Once upon a time", greedy(20)).value());
  CHECK(n_refused == 3);
#if CRIA_HAS_EXCEPTIONS
  const auto throws_at_6 = [](const token_event& e) {
    if (e.index == 6) throw 1;
  };
  CHECK_THROWS(static_cast<void>(generate_speculatively(fast, "Once upon a time", greedy(20), knowing, throws_at_6)));
  CHECK(std::equal(fast.tokens().begin(), fast.tokens().end(), plain.tokens().begin()));
  check_same(generate_speculatively(fast, "Once upon a time", greedy(10), knowing).value(), plain.generate("Once upon a time", greedy(10)).value());
#endif
}

TEST_CASE("speculative: a callback sees the logits that its token was drawn from, whichever guesses are right") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  session plain = make_session(m), fast = make_session(m);
  std::vector<std::uint64_t> expected, seen;
  const auto done = plain.generate("Once upon a time", greedy(40), [&](const token_event&) { expected.push_back(hash_of(plain.logits())); }).value();
  knowing_drafter knowing{whole_of(plain, done)};
  knowing_drafter half_wrong{whole_of(plain, done), 3};
  lookup_drafter lookup;
  const auto look = [&](const token_event& e) {
    seen.push_back(hash_of(fast.logits()));
    CHECK(fast.top_logits(1).value().front().token == e.token);
  };
  const auto check = [&](auto& drafter) {
    seen.clear();
    check_same(generate_speculatively(fast, "Once upon a time", greedy(40), drafter, look).value(), done);
    CHECK(seen == expected);
    CHECK(fast.logits().empty());
  };
  check(knowing);
  check(half_wrong);
  check(lookup);
  const std::function<void(std::string_view)> nothing;
  check_same(generate_speculatively(fast, "Once upon a time", greedy(40), knowing, nothing).value(), done);
}

TEST_CASE("speculative: cancelled at any token, also within a run of right guesses, the session holds what plain decoding leaves") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  session plain = make_session(m, {.context_size = 64}), fast = make_session(m, {.context_size = 64});
  generation_options o = greedy(30);
  o.ignore_eos = true;
  const auto whole = plain.generate("Once upon a time", o).value();
  const knowing_drafter knowing{whole_of(plain, whole)};
  for (std::size_t last = 0; last < 25; ++last) {
    CAPTURE(last);
    const auto run = [&](session& s, auto&& generate) {
      std::stop_source stop;
      o.stop = stop.get_token();
      s.reset();
      const generation done = generate([&](const token_event& e) { if (e.index == last) stop.request_stop(); });
      CHECK(done.reason == finish_reason::cancelled);
      CHECK(done.n_generated() == last + 1);
      return std::vector<token_id>(s.tokens().begin(), s.tokens().end());
    };
    knowing_drafter drafter = knowing;
    const auto wanted = run(plain, [&](auto callback) { return plain.generate("Once upon a time", o, callback).value(); });
    CHECK(run(fast, [&](auto callback) { return generate_speculatively(fast, "Once upon a time", o, drafter, callback).value(); }) == wanted);
  }
}

TEST_CASE("speculative: over a pool without pages for more it ends with the text and the reason of plain decoding") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  using cache_type = paged_kv_cache<kv_type::f16>;
  const auto session_over_pages = [&](std::size_t n_pages, std::size_t max_batch) {
    auto pool = page_pool<kv_type::f16>::create(m.cache_shape(), {.n_pages = n_pages, .page_size = 16}).value();
    return basic_session<cache_type>::create(m, cache_type::create(std::move(pool), 256).value(), {.n_threads = 1, .max_batch = max_batch}).value();
  };
  generation_options o = greedy(200);
  o.ignore_eos = true;
  auto roomy = session_over_pages(8, 16);
  const auto longer = roomy.generate("Once upon a time", o).value();
  for (const std::size_t max_batch : {4u, 16u}) {   // guesses in several passes, and in one
    auto plain = session_over_pages(4, max_batch), fast = session_over_pages(4, max_batch);
    const auto wanted = plain.generate("Once upon a time", o).value();
    CHECK(wanted.reason == finish_reason::context_full);
    CHECK(wanted.n_generated() == 60);
    const auto same = [&](const result<speculative_generation>& got) {
      REQUIRE_MESSAGE(got, (got ? "" : got.error().to_string()));
      check_same(*got, wanted);
      CHECK(std::equal(fast.tokens().begin(), fast.tokens().end(), plain.tokens().begin(), plain.tokens().end()));
    };
    knowing_drafter knowing{whole_of(roomy, longer)};
    same(generate_speculatively(fast, "Once upon a time", o, knowing));
    lookup_drafter looking({.min_match = 1});
    same(generate_speculatively(fast, "Once upon a time", o, looking));
  }
}

TEST_CASE("speculative: where a pool keeps nothing before a window, wrong guesses leave no trace, however small passes are") {
  using cache_type = paged_kv_cache<kv_type::f16>;
  model_parts parts = tiny_model({.dim = 64, .n_heads = 4, .n_kv_heads = 2, .vocab_size = 97, .type = tensor_type::q4_0});
  parts.set("llama.attention.sliding_window", std::uint32_t{7});
  const model m = load_bytes(parts.build()).value();
  const generation_options options{.max_tokens = 150, .sampling = sampler_config::greedy(), .ignore_eos = true};
  const std::vector<token_id> prompt = {1, 5, 9, 40, 41, 5};
  const generation wanted = make_session(m, {.context_size = 256}).generate(prompt, options).value();
  auto pool = page_pool<kv_type::f16>::create(m.cache_shape(), {.n_pages = 16, .page_size = 16, .slack = 0}).value();
  std::vector<token_id> whole = prompt;
  whole.insert(whole.end(), wanted.tokens.begin(), wanted.tokens.end());
  for (const std::size_t max_batch : {1u, 2u, 3u, 8u, 264u}) {
    CAPTURE(max_batch);
    auto s = basic_session<cache_type>::create(m, cache_type::create(pool, 256).value(), {.n_threads = 1, .max_batch = max_batch}).value();
    boasting_drafter boasting{whole};
    const auto got = generate_speculatively(s, prompt, options, boasting);
    REQUIRE(got);
    check_same(*got, wanted);
    CHECK(s.length() == whole.size() - 1);
    CHECK(std::equal(s.tokens().begin(), s.tokens().end(), whole.begin()));
  }
}

TEST_CASE("speculative: a drafter hears the reply's stop token, also in its first pass over the whole prompt") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  session fast = make_session(m, {.context_size = 256});
  auto drafter = model_drafter::create(m, m, {.context_size = 256, .n_threads = 1}).value();
  const std::vector<token_id> context(200, 5);
  std::vector<token_id> out(4);
  auto sampler = runtime_sampler::create(sampler_config::greedy(), m.vocab_size()).value();
  std::stop_source stop;
  stop.request_stop();
  const auto stopped = drafter.draft(context, out, sampler, stop.get_token());
  REQUIRE_FALSE(stopped);
  CHECK(stopped.error().code == errc::cancelled);
  CHECK(drafter.draft(context, out, sampler).value() == 4);

  struct stopping_drafter {
    std::stop_source& stop;
    std::size_t max_guesses() const noexcept { return 4; }
    result<std::size_t> draft(std::span<const token_id>, std::span<token_id>, const runtime_sampler&, const stop_token& asked) {
      CHECK_FALSE(asked.stop_requested());
      stop.request_stop();
      CHECK(asked.stop_requested());
      return error{errc::cancelled, "draft"};
    }
  };
  std::stop_source own;
  stopping_drafter stops{own};
  generation_options o = greedy(50);
  o.stop = own.get_token();
  const auto ended = generate_speculatively(fast, "Once upon a time", o, stops);
  REQUIRE(ended);
  CHECK(ended->reason == finish_reason::cancelled);
  CHECK(ended->n_generated() > 0);
  // Cancelled without the reply's token having been: the drafter's own failure.
  struct failing_drafter {
    std::size_t max_guesses() const noexcept { return 4; }
    result<std::size_t> draft(std::span<const token_id>, std::span<token_id>) { return error{errc::cancelled, "draft"}; }
  } fails;
  CHECK(generate_speculatively(fast, "Once upon a time", greedy(50), fails).error().where == "draft");
}

TEST_CASE("speculative_lookup: the longest agreement wins, then the latest, in the context and in the host's texts") {
  const auto draft = [](const lookup_drafter& d, std::vector<token_id> context, std::size_t n) {
    std::vector<token_id> out(n);
    out.resize(d.draft(context, out));
    return out;
  };
  using tokens = std::vector<token_id>;
  lookup_drafter d;
  CHECK(draft(d, {}, 4).empty());
  CHECK(draft(d, {1}, 4).empty());
  CHECK(draft(d, {1, 2, 3, 1}, 4).empty());                                         // one token is no agreement
  CHECK(draft(d, {1, 2, 3, 4, 1, 2}, 4) == tokens{3, 4, 1, 2});
  CHECK(draft(d, {1, 2, 3, 4, 1, 2}, 1) == tokens{3});
  CHECK(draft(d, {1, 2, 3, 1, 2, 4, 1, 2}, 2) == tokens{4, 1});                      // the later of two
  CHECK(draft(d, {9, 1, 2, 3, 8, 1, 2, 4, 9, 1, 2}, 2) == tokens{3, 8});             // the longer of two
  CHECK(draft(d, {7, 7, 7, 7}, 3) == tokens{7});
  REQUIRE(d.add_text(tokens{5, 1, 2, 6, 7}));
  CHECK(draft(d, {5, 1, 2}, 4) == tokens{6, 7});
  CHECK(draft(d, {1, 2, 3, 1, 2}, 1) == tokens{3});                                  // among equals the context is first
  CHECK(draft(d, {1, 2, 3, 5, 1, 2}, 1) == tokens{6});
  CHECK(draft(d, {6, 7}, 4).empty());                                                // nothing follows the end of the text
  CHECK(draft(lookup_drafter({.min_match = 1}), {1, 2, 3, 1}, 2) == tokens{2, 3});
}

TEST_CASE("speculative: where no guess is right there are no more passes than tokens, and few guesses, whatever the clock says") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  const golden_case c = read_golden("stories260K").cases.front();
  session s = make_session(m, {.context_size = 512});
  generation_options options = greedy(480);
  options.ignore_eos = true;
  const auto plain = s.generate(c.tokens, options).value();
  std::vector<token_id> whole = c.tokens;
  whole.insert(whole.end(), plain.tokens.begin(), plain.tokens.end());
  s.reset();
  wrong_drafter wrong{whole};
  const auto done = generate_speculatively(s, c.tokens, options, wrong).value();
  CHECK(done.tokens == plain.tokens);
  const speculative_statistics& n = done.speculation;
  CHECK(n.n_accepted == 0);
  CHECK(n.n_passes == 479);
  // The first one, at most 16 in each of four more passes while failures are still news, then one in 4, 8, 16, 32, 32, ... passes.
  CHECK(n.n_guessed > 10);
  CHECK(n.n_guessed <= 1 + 4 * 16 + 3 + 480 / 32);
  MESSAGE(n.n_guessed << " guesses in " << n.n_passes << " passes");
}

TEST_CASE("speculative_length: a clock that says guesses cost nothing, or less than nothing, does not make wrong ones go on") {
  for (const double seconds : {0.0, 0.5, 1.0}) {
    speculative_length length(16);
    std::size_t n_guessed = 0;
    for (int i = 0; i < 1000; ++i) {
      const std::size_t n = length.next();
      length.note(n, 0, n == 0 ? 1 : seconds);
      n_guessed += n;
    }
    CHECK(n_guessed <= 1 + 4 * 16 + 3 + 1000 / 32);
  }
}

TEST_CASE("speculative_length: where nothing is right guesses cost less than 5 %, where all is right they grow, and they come back") {
  for (const double extra : {0.02, 0.1, 0.25, 0.5, 1.0}) {
    CAPTURE(extra);
    speculative_length length(16);
    const auto pass = [&](double chance_right) {
      const std::size_t n = length.next();
      const std::size_t n_right = chance_right > 0.5 ? n : 0;
      const double seconds = 1 + extra * static_cast<double>(n);
      length.note(n, n_right, seconds);
      return std::pair<double, double>{seconds, static_cast<double>(1 + n_right)};
    };
    double seconds = 0;
    for (int i = 0; i < 400; ++i) seconds += pass(0).first;
    CHECK(seconds < 400 * 1.05);
    double tokens = 0;
    seconds = 0;
    for (int i = 0; i < 400; ++i) {
      const auto [s, t] = pass(1);
      seconds += s;
      tokens += t;
    }
    CHECK(tokens / seconds > 0.8 * std::max(1.0, 17 / (1 + 16 * extra)));
    seconds = 0;
    for (int i = 0; i < 400; ++i) seconds += pass(0).first;
    CHECK(seconds < 400 * 1.06);   // the first failures are expected to be successes
  }
  CHECK(speculative_length(0).next() == 0);
}
