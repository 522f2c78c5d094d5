// SPDX-License-Identifier: MIT
// generate/session.hpp - a conversation with a model: prompt in, text out.
//
//   auto session = cria::session::create(model);
//   session->generate("Once upon a time", {.max_tokens = 64}, [](std::string_view text) { show(text); });
//
// Ensures   Memory is taken by create() and at the start of a generation, never per token. A prompt that begins as what the cache holds is
//           processed from the first difference on; the result is the same bits as of a fresh session.
// Errors    as values; after any error, cancellation or exception of a callback the session goes on with what the cache holds (tokens())
// Threads   used by one thread at a time. Who computes or changes something while another caller does, or from inside generate(), callbacks included, gets
//           bad_argument, and what is under way goes on. A callback may look: logits(), top_logits(), tokens(), statistics(), save_session().
// Lifetime  keeps its model alive; moves freely, also while a stream of it is open
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

namespace cria::inline v0 {

class byte_sink;
struct session_extras;
template <kv_cache Cache>
class basic_session;

namespace detail {
template <saved_kv_cache Cache>
[[nodiscard]] result<void> write_session(const basic_session<Cache>& source, byte_sink& sink, const session_extras& extras);   // session_file.hpp

/// What cria's own ways to generate compute with.
struct session_access {
  template <kv_cache Cache>
  [[nodiscard]] static session_state<Cache>& state_of(basic_session<Cache>& s) noexcept { return *s.state_; }
};
}

/// Cache: where keys and values are kept (kv/kv_cache.hpp).
template <kv_cache Cache = contiguous_kv_cache<kv_type::f16>>
class basic_session {
 public:
  using cache_type = Cache;
  template <class Sampler>
  using stream_of = token_stream<Cache, Sampler>;

  /// Makes a session with a cache of options.context_for(the model) positions.
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

  /// Makes a session with the host's cache, whose capacity is what counts. Requires a cache of model.cache_shape().
  [[nodiscard]] static result<basic_session> create(cria::model model, Cache cache, const session_options& options = {}) {
    CRIA_TRY(auto state, detail::session_state<Cache>::create(std::move(model), std::move(cache), options));
    return basic_session(std::move(state));
  }

  /// Processes the prompt (text or tokens) and generates; the callback gets every token or piece of text and may return false to stop.
  template <class Prompt, class Callback = no_callback>
    requires((prompt_text<Prompt> || prompt_tokens<Prompt>) && !sampler<std::remove_cvref_t<Callback>>)
  result<generation> generate(const Prompt& prompt, const generation_options& options = {}, Callback&& callback = {}) {
    detail::must_be_callback<Callback>();
    CRIA_TRY(auto sampler, runtime_sampler::create(options.sampling, state_->model().vocab_size()));
    return generate_with<runtime_sampler>(prompt, options, std::move(sampler), callback);
  }

  /// As above, with the host's sampler, which goes on from its state: it is told the prompt and each token, and never reset.
  template <class Prompt, class Sampler, class Callback = no_callback>
    requires((prompt_text<Prompt> || prompt_tokens<Prompt>) && sampler<std::remove_reference_t<Sampler>>)
  result<generation> generate(const Prompt& prompt, const generation_options& options, Sampler&& sampler, Callback&& callback = {}) {
    detail::must_be_callback<Callback>();
    return generate_with<Sampler>(prompt, options, std::forward<Sampler>(sampler), callback);
  }

  /// Returns a range of the tokens to come. Nothing is computed before its begin(); but the session is for this stream from here on: making another one, or
  /// any other use, ends it, begun or not.
  template <class Prompt>
    requires(prompt_text<Prompt> || prompt_tokens<Prompt>)
  [[nodiscard]] token_stream<Cache, runtime_sampler> stream(const Prompt& prompt, const generation_options& options = {}) {
    auto sampler = runtime_sampler::create(options.sampling, state_->model().vocab_size());
    if (!sampler) return stream_of<runtime_sampler>(std::move(sampler).error());
    return stream_of<runtime_sampler>(make_run<runtime_sampler>(prompt, options, *std::move(sampler)));
  }

  /// As above, with the host's sampler: an lvalue must outlive the stream.
  template <class Prompt, class Sampler>
    requires((prompt_text<Prompt> || prompt_tokens<Prompt>) && sampler<std::remove_reference_t<Sampler>>)
  [[nodiscard]] token_stream<Cache, Sampler> stream(const Prompt& prompt, const generation_options& options, Sampler&& sampler) {
    return stream_of<Sampler>(make_run<Sampler>(prompt, options, std::forward<Sampler>(sampler)));
  }

  /// Puts tokens behind what the cache holds; logits() are then the last one's. context_full changes nothing; where it is cancelled, whole passes stay.
  [[nodiscard]] result<void> evaluate(std::span<const token_id> tokens, const stop_token& stop = {}) { return evaluate_into(tokens, {}, stop); }

  /// As above, and writes every token's logits, vocab_size() floats in each row of logits_stride(). Requires rows.size() >= tokens.size() * logits_stride().
  [[nodiscard]] result<void> evaluate(std::span<const token_id> tokens, std::span<float> rows, const stop_token& stop = {}) {
    return evaluate_into(tokens, rows, stop);
  }

  /// Returns a text, or tokens, as one vector of the model's width (generate/embedding.hpp). The session forgets what it held.
  template <class Prompt>
    requires(prompt_text<Prompt> || prompt_tokens<Prompt>)
  [[nodiscard]] result<std::vector<float>> embed(const Prompt& prompt, const embedding_options& options = {}) {
    return catch_bad_alloc([&]() -> result<std::vector<float>> {
      CRIA_TRY(const auto tokens, detail::tokens_of(model().tokenizer(), prompt, options.encode, capacity()));
      CRIA_TRY([[maybe_unused]] const auto use, state_->enter());
      CRIA_CHECK(state_->check_prompt(tokens));
      CRIA_TRY(const pooling chosen, options.pooling ? result<pooling>(*options.pooling) : chosen_pooling(state_->model().metadata()));
      pooled_rows rows(chosen, state_->model().config().dim);
      CRIA_CHECK(state_->append_hidden(tokens, options.stop, [&rows](std::span<const float> row) { rows.add(row); }));
      return rows.finish(options.is_normalised);
    }, "embed");
  }

  /// Returns the logits that the next token is sampled from; none before the first token and after truncate() and reset(). Valid until the next step.
  [[nodiscard]] std::span<const float> logits() const noexcept { return state_->logits(); }
  [[nodiscard]] std::size_t logits_stride() const noexcept { return state_->logits_stride(); }

  /// Returns the k likeliest next tokens by the model alone, the likeliest first. May be called from a callback.
  [[nodiscard]] result<std::vector<token_candidate>> top_logits(std::size_t k) const {
    return detail::top_logits(state_->model().tokenizer(), state_->logits(), k);
  }

  /// Computes with these adapters of the model from now on, none: the model alone; forgets what was computed with others. Errors: bad_argument (another model's adapter, a
  /// scale that is not finite, two callers at once), out_of_memory; nothing has changed then.
  [[nodiscard]] result<void> set_adapters(std::span<const adapter_choice> adapters) {
    return catch_bad_alloc([&]() -> result<void> {
      CRIA_TRY([[maybe_unused]] const auto use, state_->enter());
      return state_->set_adapters(adapters);
    }, "adapters");
  }

  /// Returns what tells the contents of the cache from those of other models and adapters.
  [[nodiscard]] std::uint64_t fingerprint() const noexcept { return state_->fingerprint(); }

  /// Forgets everything. Does nothing while another caller is inside.
  void reset() noexcept {
    if (const auto use = state_->try_enter()) state_->truncate(0);
  }

  /// Returns the largest length up to n that truncate() can go back to: n, but where a model's windows have moved on and what it needs is gone.
  [[nodiscard]] std::size_t keepable(std::size_t n) const noexcept { return state_->sequence().keepable(std::min(n, length())); }

  /// Forgets all positions from n on. Errors: bad_argument where there are fewer, keepable(n) is less, or another caller is inside.
  [[nodiscard]] result<void> truncate(std::size_t n) {
    return catch_bad_alloc([&]() -> result<void> {
      CRIA_TRY([[maybe_unused]] const auto use, state_->enter());
      return state_->go_back(n);
    }, "truncate");
  }

  /// Holds the contents of another session of the same model, precision and type of cache instead of its own; session_file.hpp checks that they are.
  /// Errors: bad_argument, mismatch (sizes), context_full, non_finite, out_of_memory; nothing has changed then.
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
  [[nodiscard]] result<std::unique_ptr<detail::generation_run<Cache, Sampler>>> make_run(const Prompt& prompt, const generation_options& options, Sampler&& sampler) {
    using run_type = detail::generation_run<Cache, Sampler>;
    return catch_bad_alloc([&]() -> result<std::unique_ptr<run_type>> {
      CRIA_TRY(auto tokens, detail::tokens_of(model().tokenizer(), prompt, options.encode, capacity()));
      CRIA_TRY([[maybe_unused]] const auto use, state_->enter());   // what another caller is inside of goes on, and this one is refused
      CRIA_TRY(run_type run, run_type::create(*state_, std::move(tokens), options, std::forward<Sampler>(sampler)));
      return std::make_unique<run_type>(std::move(run));
    }, "generation");
  }

  template <class Sampler, class Prompt, class Callback>
  [[nodiscard]] result<generation> generate_with(const Prompt& prompt, const generation_options& options, Sampler&& sampler, Callback& callback) {
    using run_type = detail::generation_run<Cache, Sampler>;
    CRIA_TRY(auto tokens, detail::tokens_of(model().tokenizer(), prompt, options.encode, capacity()));
    CRIA_TRY([[maybe_unused]] const auto owner, state_->own());   // until it returns: nobody else's use ends it
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

}  // namespace cria::inline v0
