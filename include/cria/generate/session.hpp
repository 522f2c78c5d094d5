// SPDX-License-Identifier: MIT
// generate/session.hpp - a sequence of tokens with its model and cache: prompt in, text out.
//
//   auto session = cria::session::create(model);
//   session->generate("Once upon a time", {.max_tokens = 64}, [](std::string_view text) { show(text); });
//
// Ensures   Memory is taken by create() and at the start of a generation, never per token. If a prompt begins like what the cache holds, only the rest of it is
//           processed; the result has the same bits as that of a new session.
// Errors    are values. After an error, a cancellation or an exception of a callback, the session continues with what its cache holds (tokens()).
// Threads   One thread at a time. A call that computes or changes something while another one runs, be it from another thread or from a callback, returns
//           bad_argument, and the running one goes on. A callback may look at the session: logits(), top_logits(), tokens(), statistics(), save_session().
// Lifetime  keeps its model alive; can be moved, even while one of its streams is open
#pragma once

#include <cria/core/result.hpp>
#include <cria/core/stop_token.hpp>
#include <cria/generate/embedding.hpp>
#include <cria/generate/generation.hpp>
#include <cria/generate/generation_output.hpp>
#include <cria/generate/generation_run.hpp>
#include <cria/generate/options.hpp>
#include <cria/generate/prompt.hpp>
#include <cria/generate/session_state.hpp>
#include <cria/generate/token_stream.hpp>
#include <cria/kv/contiguous.hpp>
#include <cria/model/adapter.hpp>
#include <cria/model/model.hpp>
#include <cria/sampling/runtime_sampler.hpp>

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0 {

class byte_sink;
struct session_extras;
template <kv_cache Cache>
class basic_session;

namespace detail {
template <saved_kv_cache Cache>
[[nodiscard]] result<void> write_session(const basic_session<Cache>& source, byte_sink& sink, const session_extras& extras);   // session_file.hpp

/// Gives the state of a session to cria's other ways to generate.
struct session_access {
  template <kv_cache Cache>
  [[nodiscard]] static session_state<Cache>& state_of(basic_session<Cache>& s) noexcept { return *s.state_; }
};
}

/// A session whose keys and values are in a Cache (kv/kv_cache.hpp).
template <kv_cache Cache = contiguous_kv_cache<kv_type::f16>>
class basic_session {
 public:
  using cache_type = Cache;
  template <class Sampler>
  using stream_of = token_stream<Cache, Sampler>;

  /// Makes a session whose cache has options.context_for(model.config()) positions.
  [[nodiscard]] static result<basic_session> create(cria::model model, const session_options& options = {})
    requires requires(const kv_shape& shape, std::size_t n) { { Cache::create(shape, n) } -> std::same_as<result<Cache>>; }
  {
    return catch_bad_alloc([&]() -> result<basic_session> {
      CRIA_CHECK(detail::check(options));
      const std::size_t context = options.context_for(model.config());
      auto cache = Cache::create(model.cache_shape(), context);
      if (!cache && cache.error().code == errc::out_of_memory) {
        return error{errc::out_of_memory, "context_size", "no memory for a context of " + std::to_string(context) + " positions"};
      }
      if (!cache) return std::move(cache).error();
      return create(std::move(model), *std::move(cache), options);
    }, "session");
  }

  /// Makes a session with a cache of the host's, whose capacity replaces options.context_size. Requires a cache of model.cache_shape().
  [[nodiscard]] static result<basic_session> create(cria::model model, Cache cache, const session_options& options = {}) {
    CRIA_TRY(auto state, detail::session_state<Cache>::create(std::move(model), std::move(cache), options));
    return basic_session(std::move(state));
  }

  /// Processes the prompt (text or tokens) and generates. The callback gets every token or piece of text and may return false to stop.
  template <class Prompt, class Callback = no_callback>
    requires((prompt_text<Prompt> || prompt_tokens<Prompt>) && !sampler<std::remove_cvref_t<Callback>>)
  result<generation> generate(const Prompt& prompt, const generation_options& options = {}, Callback&& callback = {}) {
    detail::must_be_callback<Callback>();
    CRIA_TRY(auto sampler, runtime_sampler::create(options.sampling, state_->model().vocab_size()));
    return generate_with<runtime_sampler>(prompt, options, std::move(sampler), callback);
  }

  /// As above, with the host's sampler, which continues from its state: it is told the prompt and each token, and is never reset.
  template <class Prompt, class Sampler, class Callback = no_callback>
    requires((prompt_text<Prompt> || prompt_tokens<Prompt>) && sampler<std::remove_reference_t<Sampler>>)
  result<generation> generate(const Prompt& prompt, const generation_options& options, Sampler&& sampler, Callback&& callback = {}) {
    detail::must_be_callback<Callback>();
    return generate_with<Sampler>(prompt, options, std::forward<Sampler>(sampler), callback);
  }

  /// Returns a range of the tokens to come. Nothing is computed before its begin(), but the session belongs to this stream from now on: any other use of the
  /// session, such as making another stream, ends this one, whether it has begun or not.
  template <class Prompt>
    requires(prompt_text<Prompt> || prompt_tokens<Prompt>)
  [[nodiscard]] token_stream<Cache, runtime_sampler> stream(const Prompt& prompt, const generation_options& options = {}) {
    auto sampler = runtime_sampler::create(options.sampling, state_->model().vocab_size());
    if (!sampler) return stream_of<runtime_sampler>(std::move(sampler).error());
    return stream_of<runtime_sampler>(make_run<runtime_sampler>(prompt, options, *std::move(sampler)));
  }

  /// As above, with the host's sampler. A sampler that is passed as an lvalue must outlive the stream.
  template <class Prompt, class Sampler>
    requires((prompt_text<Prompt> || prompt_tokens<Prompt>) && sampler<std::remove_reference_t<Sampler>>)
  [[nodiscard]] token_stream<Cache, Sampler> stream(const Prompt& prompt, const generation_options& options, Sampler&& sampler) {
    return stream_of<Sampler>(make_run<Sampler>(prompt, options, std::forward<Sampler>(sampler)));
  }

  /// Appends tokens to what the cache holds; logits() are then those of the last one. context_full changes nothing; a cancelled call keeps its complete passes.
  [[nodiscard]] result<void> evaluate(std::span<const token_id> tokens, const stop_token& stop = {}) { return evaluate_into(tokens, {}, stop); }

  /// As above, and also writes the logits of every token: vocab_size() floats in rows that are logits_stride() apart.
  /// Errors: bad_argument if rows.size() < tokens.size() * logits_stride().
  [[nodiscard]] result<void> evaluate(std::span<const token_id> tokens, std::span<float> rows, const stop_token& stop = {}) {
    return evaluate_into(tokens, rows, stop);
  }

  /// Returns the embedding of a text or tokens: one vector of the model's width (generate/embedding.hpp). The session forgets what it held.
  template <class Prompt>
    requires(prompt_text<Prompt> || prompt_tokens<Prompt>)
  [[nodiscard]] result<std::vector<float>> embed(const Prompt& prompt, const embedding_options& options = {}) {
    return catch_bad_alloc([&]() -> result<std::vector<float>> {
      CRIA_TRY(const auto tokens, detail::tokens_of(model().tokenizer(), prompt, options.encode, capacity()));
      CRIA_TRY([[maybe_unused]] const auto use, state_->enter());
      CRIA_CHECK(state_->check_prompt(tokens));
      CRIA_TRY(const pooling chosen, options.pooling ? result<pooling>(*options.pooling) : chosen_pooling(state_->model().metadata()));
      detail::pooled_rows rows(chosen, state_->model().config().dim);
      CRIA_CHECK(state_->append_hidden(tokens, options.stop, [&rows](std::span<const float> row) { rows.add(row); }));
      return rows.finish(options.is_normalised);
    }, "embed");
  }

  /// Returns the logits that the next token is sampled from. They are empty before the first token and after truncate() and reset(). Valid until the next step.
  [[nodiscard]] std::span<const float> logits() const noexcept { return state_->logits(); }
  [[nodiscard]] std::size_t logits_stride() const noexcept { return state_->logits_stride(); }

  /// Returns the k likeliest next tokens, the likeliest first, by the model's logits alone. May be called from a callback.
  [[nodiscard]] result<std::vector<token_candidate>> top_logits(std::size_t k) const {
    return detail::top_logits(state_->model().tokenizer(), state_->logits(), k);
  }

  /// Computes with these adapters from now on (with none, the model alone), and forgets what was computed with others. Errors: bad_argument (an adapter of
  /// another model, a scale that is not finite, two callers at once), out_of_memory; they change nothing.
  [[nodiscard]] result<void> set_adapters(std::span<const adapter_choice> adapters) {
    return catch_bad_alloc([&]() -> result<void> {
      CRIA_TRY([[maybe_unused]] const auto use, state_->enter());
      return state_->set_adapters(adapters);
    }, "adapters");
  }

  /// Returns a number that distinguishes the cache's contents from those computed with other models or adapters.
  [[nodiscard]] std::uint64_t fingerprint() const noexcept { return state_->fingerprint(); }

  /// Forgets everything. Does nothing while another call runs.
  void reset() noexcept {
    if (const auto use = state_->try_enter()) state_->truncate(0);
  }

  /// Returns the largest length up to n that truncate() accepts. That is n, unless the model has windowed layers that no longer hold what length n needs.
  [[nodiscard]] std::size_t keepable(std::size_t n) const noexcept { return state_->sequence().keepable(std::min(n, length())); }

  /// Forgets all positions from n on. Errors: bad_argument if there are fewer, if keepable(n) < n, or while another call runs.
  [[nodiscard]] result<void> truncate(std::size_t n) {
    return catch_bad_alloc([&]() -> result<void> {
      CRIA_TRY([[maybe_unused]] const auto use, state_->enter());
      return state_->go_back(n);
    }, "truncate");
  }

  /// Replaces the contents by those of another session. That they are of the same model, precision and type of cache is checked by session_file.hpp, not here.
  /// Errors: bad_argument, mismatch (sizes), context_full, non_finite, out_of_memory; they change nothing.
  [[nodiscard]] result<void> restore(const session_contents& contents)
    requires saved_kv_cache<Cache>
  {
    return catch_bad_alloc([&]() -> result<void> {
      CRIA_TRY([[maybe_unused]] const auto use, state_->enter());
      if (!contents.tokens.empty()) CRIA_CHECK(state_->check_prompt(contents.tokens));
      CRIA_CHECK(state_->check_contents(contents));
      return state_->replace(contents);
    }, "restore");
  }

  /// Returns the tokens that the cache holds.
  [[nodiscard]] std::span<const token_id> tokens() const noexcept { return state_->sequence().tokens(); }
  [[nodiscard]] std::size_t length() const noexcept { return state_->sequence().length(); }
  [[nodiscard]] std::size_t capacity() const noexcept { return cache().capacity(); }
  [[nodiscard]] const Cache& cache() const noexcept { return state_->sequence().cache(); }
  [[nodiscard]] const cria::model& model() const noexcept { return state_->model(); }
  [[nodiscard]] std::size_t max_batch() const noexcept { return state_->max_batch(); }
  [[nodiscard]] std::size_t n_threads() const noexcept { return state_->n_threads(); }
  [[nodiscard]] session_statistics statistics() const noexcept {
    return {length(), capacity(), cache().bytes(), state_->n_evaluated(), state_->n_reused()};
  }

 private:
  template <saved_kv_cache Saved>
  friend result<void> detail::write_session(const basic_session<Saved>&, byte_sink&, const session_extras&);
  friend struct detail::session_access;

  explicit basic_session(std::unique_ptr<detail::session_state<Cache>> state) noexcept : state_(std::move(state)) {}

  /// rows: room for every token's logits, or none.
  [[nodiscard]] result<void> evaluate_into(std::span<const token_id> tokens, std::optional<std::span<float>> rows, const stop_token& stop) {
    return catch_bad_alloc([&]() -> result<void> {
      if (rows && rows->size() / state_->logits_stride() < tokens.size()) {
        return error{errc::bad_argument, "rows", "are too few for the tokens"};
      }
      CRIA_TRY([[maybe_unused]] const auto use, state_->enter());
      return state_->evaluate(tokens, stop, rows ? rows->data() : nullptr);
    }, "evaluate");
  }

  template <class Sampler, class Prompt>
  [[nodiscard]] result<std::unique_ptr<detail::generation_run<Cache, Sampler>>> make_run(const Prompt& prompt, const generation_options& options,
                                                                                         Sampler&& sampler) {
    using run_type = detail::generation_run<Cache, Sampler>;
    return catch_bad_alloc([&]() -> result<std::unique_ptr<run_type>> {
      CRIA_TRY(auto tokens, detail::tokens_of(model().tokenizer(), prompt, options.encode, capacity()));
      CRIA_TRY([[maybe_unused]] const auto use, state_->enter());   // refused while another call runs
      CRIA_TRY(run_type run, run_type::create(*state_, std::move(tokens), options, std::forward<Sampler>(sampler)));
      return std::make_unique<run_type>(std::move(run));
    }, "generation");
  }

  template <class Sampler, class Prompt, class Callback>
  [[nodiscard]] result<generation> generate_with(const Prompt& prompt, const generation_options& options, Sampler&& sampler, Callback& callback) {
    using run_type = detail::generation_run<Cache, Sampler>;
    CRIA_TRY(auto tokens, detail::tokens_of(model().tokenizer(), prompt, options.encode, capacity()));
    CRIA_TRY([[maybe_unused]] const auto owner, state_->own());   // until this returns, nobody else can end the run
    CRIA_TRY(run_type run, catch_bad_alloc([&]() -> result<run_type> {
      return run_type::create(*state_, std::move(tokens), options, std::forward<Sampler>(sampler));
    }, "generation"));
    while (true) {
      CRIA_TRY(const bool has_event, run.advance_owned());
      if (!has_event) break;
      if (!detail::deliver(callback, run.event())) run.stop_by_callback();
    }
    return run.finish();
  }

  std::unique_ptr<detail::session_state<Cache>> state_;
};

using session = basic_session<>;

}  // namespace cria::inline v0_1_0
