// SPDX-License-Identifier: MIT
// tests/generate/random_host.hpp - a host that does anything in any order, by a seed: requests of a batch engine, sessions over two kinds of cache, streams,
// speculative decoding, saved and restored sessions, forks, adapters, grammars, stops of every kind. What each must give is known: what it gives alone.
//
//   cria_test::random_host<cria::kv_type::f16> host(cria_test::make_world(seed), seed);
//   for (int i = 0; i < 100; ++i) host.act();
//   host.finish();
#pragma once

#include <cria/generate/batch_engine.hpp>
#include <cria/generate/session_file.hpp>
#include <cria/generate/speculative.hpp>
#include <cria/kv/paged.hpp>

#include <doctest/doctest.h>

#include <tests/generate/session_fixture.hpp>
#include <tests/support/adapter_parts.hpp>
#include <tests/support/tiny_model.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace cria_test {

/// A model and what belongs to it.
struct world {
  cria::model model, draft;                   ///< draft: the same or another one of the same vocabulary
  std::vector<cria::adapter> adapters = {};
};

/// Llamas of a few kilobytes, with and without windows, and those of the reference data, if they are there.
inline world make_world(std::uint32_t seed) {
  const auto tiny = [](cria::tensor_type type, std::uint32_t window) {
    model_parts parts = tiny_model({.dim = 64, .n_heads = 4, .n_kv_heads = 2, .ffn_dim = 96, .vocab_size = 97, .type = type});
    if (window != 0) parts.set("llama.attention.sliding_window", window);
    return parts;
  };
  static const char* const files[] = {"models/stories260K.gguf",         "models/arch/gemma3.Q4_0.gguf", "models/arch/gpt2.Q4_0.gguf",
                                      "models/arch/llama-moe.Q4_0.gguf", "models/arch/gemma2.Q4_0.gguf", "models/arch/qwen3.Q4_0.gguf"};
  constexpr std::size_t n_files = std::size(files);
  const std::size_t which = seed % (n_files + 3);
  if (which < n_files && std::filesystem::exists(data_root() / files[which])) {
    cria::load_options options;
    options.n_threads = 1;
    const cria::model m = cria::load_model(data_root() / files[which], options).value();
    return {m, m};
  }
  model_parts parts = tiny(cria::tensor_type::q4_0, which % 3 == 0 ? 0 : which % 3 == 1 ? 7 : 21);
  const cria::model m = load_bytes(parts.build()).value();
  world made{m, load_bytes(tiny(cria::tensor_type::q8_0, 0).build()).value()};
  for (const std::uint32_t n : {3u, 4u}) {
    made.adapters.push_back(adapter_of(adapter_parts(parts, {"blk.0.attn_k.weight", "blk.1.ffn_up.weight"}, n, 16, n).file, m));
  }
  return made;
}

/// The same of a model in parts.
inline world make_world(model_parts parts) {
  const cria::model m = load_bytes(parts.build()).value();
  world made{m, m};
  for (const std::uint32_t n : {3u, 4u}) {
    made.adapters.push_back(adapter_of(adapter_parts(parts, {"blk.0.attn_k.weight", "blk.1.attn_output.weight"}, n, 16, n).file, m));
  }
  return made;
}

template <cria::kv_type Type>
class random_host {
  using token_list = std::vector<cria::token_id>;
  using session_type = cria::basic_session<cria::contiguous_kv_cache<Type>>;
  using paged_cache = cria::paged_kv_cache<Type>;
  using paged_session = cria::basic_session<paged_cache>;
  using engine_type = cria::basic_batch_engine<Type>;

  /// A request with all that decides its text, and how the host behaves while it runs.
  struct order {
    token_list prompt;
    cria::generation_options options;
    std::size_t n_events = 0;                    ///< 0: the callback never ends it
    enum : std::uint8_t { says_no, throws, stops } manner = says_no;
    cria::stop_source stop = {};
  };
  /// What it gives alone.
  using outcome = cria::result<cria::generation>;

 public:
  random_host(world w, std::uint32_t seed)
      : world_(std::move(w)),
        context_(world_.model.cache_shape().widest_window() == 0 ? 96 : 256),
        random_(seed),
        alone_(make<session_type>(1)),
        check_(make<session_type>(2)),
        engine_(make_engine()),
        pool_(cria::page_pool<Type>::create(world_.model.cache_shape(), {.n_pages = context_ / 2, .page_size = 16, .slack = 16 * below(3)}).value()) {
    for (int i = 0; i < 2; ++i) {
      plain_.push_back(make<session_type>(1 + below(3)));
      paged_.push_back(paged_session::create(world_.model, paged_cache::create(pool_, context_).value(), options_of(1 + below(3))).value());
    }
  }

  /// Does something.
  void act() {
    const std::size_t what = below(20);
    if (what < 12) batch_act();
    else if (what < 16) session_act(plain_, below(plain_.size()));
    else session_act(paged_, below(paged_.size()));
  }

  /// Lets everything end and looks whether it is all gone.
  void finish() {
    while (engine_.has_work()) step();
    const cria::batch_statistics s = engine_.statistics();
    CHECK(orders_.empty());
    CHECK(s.n_running + s.n_waiting == 0);
    CHECK(s.pages.n_used == s.n_indexed_pages);
    CHECK(s.pages.n_shared == 0);
    engine_.forget_prefixes();
    CHECK(engine_.statistics().pages.n_used == 0);
    CHECK(engine_.statistics().pages.n_windowed_used == 0);
    paged_.clear();
    forks_.clear();
    CHECK(pool_->n_free() == pool_->n_pages());
  }

  std::size_t n_compared = 0, n_prefixes = 0, n_refused = 0, n_preempted = 0, n_reused = 0, n_accepted = 0;

 private:
  [[nodiscard]] std::size_t below(std::size_t n) { return random_() % n; }
  [[nodiscard]] bool one_in(std::size_t n) { return below(n) == 0; }

  [[nodiscard]] cria::session_options options_of(std::size_t n_threads) {
    return {.context_size = context_, .n_threads = n_threads, .max_batch = one_in(2) ? 264 : 1 + below(20)};
  }
  template <class Session>
  [[nodiscard]] Session make(std::size_t n_threads) { return Session::create(world_.model, options_of(n_threads)).value(); }
  [[nodiscard]] engine_type make_engine() {
    return engine_type::create(world_.model, {.max_sequences = 1 + below(8),
                                              .context_size = context_,
                                              .cache_positions = one_in(3) ? 0 : context_ + 16 * below(4),
                                              .page_size = one_in(3) ? 32u : 16u,
                                              .max_batch = 1 + below(40),
                                              .prompt_share = 1 + below(12),
                                              .shares_prefixes = !one_in(5),
                                              .n_threads = 1 + below(3)})
        .value();
  }

  [[nodiscard]] token_list random_tokens(std::size_t n) {
    token_list out(n);
    for (auto& t : out) t = static_cast<cria::token_id>(3 + below(world_.model.vocab_size() - 3));
    return out;
  }

  /// A prompt: a new one, the beginning of an earlier conversation, or one that goes on.
  [[nodiscard]] token_list random_prompt() {
    token_list out;
    if (!talks_.empty() && !one_in(4)) {
      out = talks_[below(talks_.size())];
      if (one_in(2)) out.resize(1 + below(out.size()));
    }
    const token_list more = random_tokens(out.empty() || one_in(2) ? 1 + below(one_in(4) ? context_ * 2 / 3 : 8) : 0);
    out.insert(out.end(), more.begin(), more.end());
    if (out.size() > context_ && !one_in(8)) out.resize(1 + below(context_));
    return out;
  }

  [[nodiscard]] order random_order() {
    order o;
    o.prompt = random_prompt();
    o.options.max_tokens = one_in(12) ? 0 : one_in(3) ? cria::generation_options::no_limit : 1 + below(24);
    cria::sampler_config& s = o.options.sampling;
    if (one_in(2)) s = cria::sampler_config::greedy();
    s.seed = below(1000);
    if (one_in(3)) s.repeat_penalty = 1.2f, s.repeat_last_n = 16;
    if (one_in(6)) s.mirostat = 2;
    if (one_in(6)) s.dry_multiplier = 0.8f;
    if (one_in(6)) s.xtc_probability = 0.5f, s.xtc_threshold = 0.05f;
    if (one_in(5)) o.options.stop_strings = {"t", "a", one_in(2) ? "t1" : " the"};
    if (one_in(4)) o.options.stop_tokens = random_tokens(1 + below(3));
    if (one_in(4)) o.options.shown_tokens = {1, 2};
    static const char* const grammars[] = {"root ::= (\"t\" [0-9]+)+", "root ::= [^x]*", "root ::= \" \"? [a-z t0-9]{3,12}", "root ::= \"t1\" | \"t2\" root"};
    if (one_in(4)) o.options.grammar = cria::grammar::parse(grammars[below(4)]).value();
    else o.options.ignore_eos = !one_in(3);
    o.options.adapters.emplace();   // said each time: what the session was told before does not count
    for (std::size_t n = world_.adapters.empty() ? 0 : below(3); n > 0; --n) {
      o.options.adapters->push_back({world_.adapters[below(world_.adapters.size())], one_in(2) ? 1.0f : 0.5f});
    }
    if (one_in(4)) {
      o.n_events = 1 + below(10);
      o.manner = one_in(3) ? order::throws : one_in(2) ? order::stops : order::says_no;
    }
    o.options.stop = o.stop.get_token();
    if (one_in(30)) o.stop.request_stop();
    return o;
  }

  /// What is done at each token. Takes what it needs by value: it may live longer than the order.
  [[nodiscard]] static auto callback_of(const order& o) {
    return [n = o.n_events, manner = o.manner, stop = o.stop](const cria::token_event&) mutable -> bool {
      if (n == 0 || --n != 0) return true;
      if (manner == order::stops) stop.request_stop();
#if CRIA_HAS_EXCEPTIONS
      if (manner == order::throws) throw std::runtime_error("no more");
#endif
      return manner == order::stops;
    };
  }
  /// Says what the host's manner may have made of it.
  [[nodiscard]] static bool may_end_early(const order& o) { return o.n_events != 0 || o.stop.stop_requested(); }

  [[nodiscard]] outcome give_alone(const order& o) {
    cria::generation_options options = o.options;
    options.stop = {};
    alone_.reset();
    return alone_.generate(o.prompt, options);
  }

  void compare(const order& o, const outcome& got, bool may_be_cut) {
    const outcome wanted = give_alone(o);
    if (got && !got->tokens.empty()) {
      token_list talk = o.prompt;
      talk.insert(talk.end(), got->tokens.begin(), got->tokens.end());
      if (talks_.size() < 8) talks_.push_back(std::move(talk));
      else talks_[below(8)] = std::move(talk);
    }
    if (!got && (may_be_cut && got.error().code == cria::errc::host_exception)) return;
    if (!wanted && may_be_cut && got) return;   // it was ended before it could fail
    CHECK_MESSAGE(got.has_value() == wanted.has_value(), (got ? "" : got.error().to_string()) << " / " << (wanted ? "" : wanted.error().to_string()));
    if (!got || !wanted) {
      n_refused += !got;
      if (!got && !wanted) CHECK(got.error().to_string() == wanted.error().to_string());
      return;
    }
    if (may_be_cut && (got->reason == cria::finish_reason::cancelled || got->reason == cria::finish_reason::stopped_by_callback)) {
      ++n_prefixes;
      CHECK(wanted->text.starts_with(got->text));
      REQUIRE(got->tokens.size() <= wanted->tokens.size());
      CHECK(std::equal(got->tokens.begin(), got->tokens.end(), wanted->tokens.begin()));
      return;
    }
    ++n_compared;
    CHECK(got->tokens == wanted->tokens);
    CHECK(got->text == wanted->text);
    CHECK(got->reason == wanted->reason);
    CHECK(got->n_prompt == o.prompt.size());
  }

  void batch_act() {
    const std::size_t what = below(16);
    if (what < 4) {
      add();
    } else if (what == 4 && !orders_.empty()) {
      const auto one = std::next(orders_.begin(), static_cast<std::ptrdiff_t>(below(orders_.size())));
      if (one_in(2)) CHECK(engine_.cancel(one->first));
      else one->second.stop.request_stop();
      cancelled_.insert(one->first);
    } else if (what == 5 && one_in(4)) {
      engine_.forget_prefixes();
    } else if (what == 6 && one_in(4)) {
      engine_type other = std::move(engine_);
      engine_ = std::move(other);
    } else if (what == 7 && one_in(4)) {
      cria::stop_source now;
      now.request_stop();
      static_cast<void>(engine_.step(now.get_token()));   // loses nothing
      take_finished();
    } else if (what == 8 && one_in(20) && orders_.empty()) {
      engine_ = make_engine();
    } else {
      step();
    }
  }

  void add() {
    order o = random_order();
    const auto id = engine_.add(o.prompt, o.options, callback_of(o));
    if (!id) return compare(o, id.error(), false);
    orders_.emplace(*id, std::move(o));
  }

  void step() {
    // Somebody else ends a request while the pass runs.
    std::optional<std::thread> other;
    if (one_in(12) && !orders_.empty()) {
      const auto one = std::next(orders_.begin(), static_cast<std::ptrdiff_t>(below(orders_.size())));
      cancelled_.insert(one->first);
      other.emplace([stop = one->second.stop]() mutable { stop.request_stop(); });
    }
    const auto stepped = engine_.step();
    if (other) other->join();
    CHECK_MESSAGE(stepped, (stepped ? "" : stepped.error().to_string()));
    take_finished();
    n_preempted = std::max(n_preempted, static_cast<std::size_t>(engine_.statistics().n_preempted));
  }

  void take_finished() {
    while (const auto ended = engine_.next_finished()) {
      const auto found = orders_.find(ended->id);
      REQUIRE(found != orders_.end());
      CAPTURE(ended->id);
      compare(found->second, ended->outcome, may_end_early(found->second) || cancelled_.count(ended->id) != 0);
      if (ended->outcome) n_reused += ended->outcome->n_reused;
      orders_.erase(found);
    }
  }

  template <class Session>
  void session_act(std::vector<Session>& all, std::size_t i) {
    Session& s = all[i];
    const std::size_t what = below(16);
    if (what < 5) generate(s);
    else if (what < 7) stream(s);
    else if (what < 9) speculate(s);
    else if (what < 11) return go_back(s);
    else if (what == 11) evaluate(s);
    else if (what == 12) embed(s);
    else if (what == 13) save_and_restore(s, all[below(all.size())]);
    else if (what == 14) fork(s);
    else s.reset();
    check_contents(s);
  }

  template <class F>
  [[nodiscard]] static outcome caught(F&& f) {
#if CRIA_HAS_EXCEPTIONS
    try {
      return f();
    } catch (const std::runtime_error&) {
      return cria::error{cria::errc::host_exception, "callback", "threw", cria::error::no_offset};
    }
#else
    return f();
#endif
  }

  template <class Session>
  void generate(Session& s) {
    const order o = random_order();
    std::string text;
    auto told = [&text, inner = callback_of(o)](const cria::token_event& e) mutable {
      text += e.text;
      return inner(e);
    };
    const outcome got = caught([&] { return s.generate(o.prompt, o.options, told); });
    if (got) CHECK(text == got->text);
    if (got) check_holds(s, o, *got);
    compare(o, got, may_end_early(o));
  }

  template <class Session>
  void stream(Session& s) {
    const order o = random_order();
    auto events = s.stream(o.prompt, o.options);
    std::string text;
    std::size_t left = one_in(2) ? std::numeric_limits<std::size_t>::max() : below(10);
    const bool is_read_whole = left > 10;
    for (const cria::token_event& e : events) {
      if (left-- == 0) break;
      text += e.text;
    }
    if (one_in(8)) {   // any other use ends it
      s.reset();
      for (auto it = events.begin(); it != events.end(); ++it) {}
      return;
    }
    const outcome got = events.result();
    if (got && is_read_whole) CHECK(text == got->text);
    compare(o, got, !is_read_whole || o.stop.stop_requested());
  }

  template <class Session>
  void speculate(Session& s) {
    const order o = random_order();
    std::string text;
    auto told = [&text, inner = callback_of(o)](const cria::token_event& e) mutable {
      text += e.text;
      return inner(e);
    };
    const outcome got = caught([&]() -> outcome {
      if (one_in(2)) {
        cria::lookup_drafter looking({.min_match = 1, .max_guesses = 1 + below(12)});
        if (!talks_.empty()) looking.add_text(talks_[below(talks_.size())]).value();
        auto made = generate_speculatively(s, o.prompt, o.options, looking, told);
        if (made) n_accepted += made->speculation.n_accepted;
        return made ? outcome(std::move(*made)) : outcome(made.error());
      }
      auto draft = cria::model_drafter::create(world_.draft, world_.model, options_of(1), 1 + below(6)).value();
      auto made = generate_speculatively(s, o.prompt, o.options, draft, told);
      if (made) n_accepted += made->speculation.n_accepted;
      return made ? outcome(std::move(*made)) : outcome(made.error());
    });
    if (got) CHECK(text == got->text);
    if (got) check_holds(s, o, *got);
    compare(o, got, may_end_early(o));
  }

  /// What a session holds after a generation: the prompt and what was chosen but for the last token, if it came so far.
  template <class Session>
  void check_holds(const Session& s, const order& o, const cria::generation& got) {
    token_list whole = o.prompt;
    whole.insert(whole.end(), got.tokens.begin(), got.tokens.end());
    CHECK(s.length() <= whole.size());
    CHECK(std::equal(s.tokens().begin(), s.tokens().end(), whole.begin()));
    if (got.reason == cria::finish_reason::cancelled) return;
    CHECK(s.length() == std::max(o.prompt.size(), std::min(whole.size() - 1, context_)));
  }

  template <class Session>
  void go_back(Session& s) {
    const std::size_t n = one_in(2) ? s.length() - std::min(s.length(), below(40)) : below(s.length() + 2), keepable = s.keepable(n);
    const token_list before(s.tokens().begin(), s.tokens().end());
    const bool is_possible = n <= before.size() && keepable == n;
    CHECK(s.truncate(n).has_value() == is_possible);
    CHECK(s.length() == (is_possible ? n : before.size()));
    CHECK(std::equal(s.tokens().begin(), s.tokens().end(), before.begin()));
    check_goes_on(s);
  }

  template <class Session>
  void evaluate(Session& s) {
    const token_list more = random_tokens(1 + below(20));
    token_list wanted(s.tokens().begin(), s.tokens().end());
    const bool fits = wanted.size() + more.size() <= context_;
    if (fits) wanted.insert(wanted.end(), more.begin(), more.end());
    std::vector<float> rows(more.size() * s.logits_stride());
    CHECK((one_in(2) ? s.evaluate(more) : s.evaluate(more, rows)).has_value() == fits);
    CHECK(std::equal(s.tokens().begin(), s.tokens().end(), wanted.begin(), wanted.end()));
  }

  template <class Session>
  void embed(Session& s) {
    const token_list tokens = random_tokens(1 + below(context_));
    s.set_adapters({}).value();
    check_.set_adapters({}).value();
    const auto got = s.embed(tokens), wanted = check_.embed(tokens);
    REQUIRE(got.has_value() == wanted.has_value());
    if (got) CHECK(same_bits(*got, *wanted));
    CHECK(s.length() == 0);
  }

  template <class Session>
  void save_and_restore(Session& from, Session& to) {
    if (from.fingerprint() != to.fingerprint()) return;
    std::vector<std::byte> bytes;
    const auto sink = cria::memory_sink(bytes);
    save_session(from, *sink).value();
    const token_list tokens(from.tokens().begin(), from.tokens().end());
    const std::vector<float> logits(from.logits().begin(), from.logits().end());
    const auto file = cria::session_file::open(*cria::memory_source(bytes), to);
    REQUIRE(file);
    const auto done = file->restore(to);
    CHECK_MESSAGE(done, (done ? "" : done.error().to_string()));
    CHECK(std::equal(to.tokens().begin(), to.tokens().end(), tokens.begin(), tokens.end()));
    CHECK(same_bits(to.logits(), logits));
    check_contents(to);
  }

  /// Keeps a fork of a paged cache for a while: what it holds must stay as it was, whatever the session does.
  template <class Session>
  void fork(Session& s) {
    if constexpr (std::is_same_v<Session, paged_session>) {
      for (const auto& [cache, bytes] : forks_) CHECK(bytes_of(cache) == bytes);
      if (forks_.size() > 2) forks_.erase(forks_.begin());
      paged_cache made = s.cache().fork().value();
      auto bytes = bytes_of(made);
      forks_.emplace_back(std::move(made), std::move(bytes));
    }
  }
  [[nodiscard]] std::vector<std::byte> bytes_of(const paged_cache& c) const {
    const std::size_t n = c.length() * c.position_bytes();
    const cria::kv_shape shape = c.shape();
    std::vector<std::byte> out(shape.n_layers * shape.n_kv_heads * n);
    for (std::size_t i = 0; i < shape.n_layers * shape.n_kv_heads; ++i) {
      c.export_positions({{i / shape.n_kv_heads, i % shape.n_kv_heads}, 0, c.length()}, std::span(out).subspan(i * n, n));
    }
    return out;
  }

  template <class Session>
  void check_contents(Session& s) {
    if (one_in(3)) check_goes_on(s);
  }
  /// What a session holds goes on as in a fresh one with the same tokens.
  template <class Session>
  void check_goes_on(Session& s) {
    if (s.length() == 0 || s.fingerprint() != world_.model.fingerprint()) return;
    check_.set_adapters({}).value();
    check_.reset();
    check_.evaluate(s.tokens()).value();
    if (!s.logits().empty()) CHECK(same_bits(s.logits(), check_.logits()));
    if (s.length() == context_) return;
    const token_list next = random_tokens(1);
    s.evaluate(next).value();
    check_.evaluate(next).value();
    CHECK(same_bits(s.logits(), check_.logits()));
  }

  world world_;
  std::size_t context_;   // where there are windows, long enough for them to move on
  std::mt19937 random_;
  session_type alone_, check_;
  engine_type engine_;
  std::shared_ptr<cria::page_pool<Type>> pool_;
  std::vector<session_type> plain_;
  std::vector<paged_session> paged_;
  std::vector<std::pair<paged_cache, std::vector<std::byte>>> forks_;
  std::map<cria::batch_id, order> orders_;
  std::set<cria::batch_id> cancelled_;
  std::vector<token_list> talks_;
};

}  // namespace cria_test
