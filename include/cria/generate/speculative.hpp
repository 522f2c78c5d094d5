// SPDX-License-Identifier: MIT
// generate/speculative.hpp - generation that guesses several tokens ahead and computes them in one pass: the same text, sooner.
//
//   cria::lookup_drafter drafter;                       or cria::model_drafter::create(small_model, model)
//   auto done = cria::generate_speculatively(session, prompt, {.max_tokens = 200}, drafter, [](std::string_view text) { ... });
//
// A pass computes the last token and the guesses that follow it. The reply's own sampler draws from each row of logits, as it would without guesses. As long
// as it draws what was guessed, the next row is valid as well. So the tokens are those of plain decoding with the same seed, bit for bit, greedy or sampled.
// This is the rejection rule of speculative sampling for guesses that are made before anything is drawn: the proposal puts all probability on the guess g, so
// g is accepted with probability min(1, p(g) / 1), and a rejected draw is one from p without g. Drawing from p and comparing does exactly that.
// Ensures   tokens, text and reason are those of session.generate(). The session then holds what it would hold after that, but has no logits(). In a callback,
//           logits() and top_logits() are those that the token was drawn from; tokens() contains guesses that may be wrong, so a session cannot be saved there.
// Errors    those of session.generate() and of the drafter; the session then holds whole tokens
// Threads   those of the session, which nobody else can use before this returns
// Source    Y. Leviathan, M. Kalman, Y. Matias, Fast Inference from Transformers via Speculative Decoding, arXiv 2211.17192 (the rule: appendix A.1);
//           C. Chen et al., arXiv 2302.01318
#pragma once

#include <cria/core/aligned_buffer.hpp>
#include <cria/core/result.hpp>
#include <cria/generate/generation_output.hpp>
#include <cria/generate/prompt.hpp>
#include <cria/generate/session.hpp>
#include <cria/generate/speculative_length.hpp>
#include <cria/generate/speculative_lookup.hpp>
#include <cria/generate/speculative_model.hpp>

#include <algorithm>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0 {

/// Guesses tokens. draft() writes guesses of the tokens that follow `context`, at most out.size() and never more than max_guesses(), and returns how many (or a
/// result of that). It may also take the reply's sampler, and its stop token: if the drafter returns `cancelled` because of it, the reply ends.
template <class D, class Sampler = runtime_sampler>
concept token_drafter = requires(const D& d) {
  { d.max_guesses() } noexcept -> std::same_as<std::size_t>;
} && (requires(D& d, std::span<const token_id> context, std::span<token_id> out) {
  { d.draft(context, out) } -> std::convertible_to<result<std::size_t>>;
} || requires(D& d, std::span<const token_id> context, std::span<token_id> out, const Sampler& s) {
  { d.draft(context, out, s) } -> std::convertible_to<result<std::size_t>>;
} || requires(D& d, std::span<const token_id> context, std::span<token_id> out, const Sampler& s, const stop_token& stop) {
  { d.draft(context, out, s, stop) } -> std::convertible_to<result<std::size_t>>;
});
static_assert(token_drafter<lookup_drafter> && token_drafter<model_drafter>);

/// What the guesses were worth.
struct speculative_statistics {
  std::size_t n_passes = 0;      ///< after the prompt
  std::size_t n_guessed = 0;
  std::size_t n_accepted = 0;
  double seconds = 0;            ///< for these passes, including drafting and sampling
  double plain_seconds = 0;      ///< estimate for the same tokens one by one, from the passes without guesses; 0: there were none

  [[nodiscard]] double acceptance() const noexcept { return n_guessed > 0 ? static_cast<double>(n_accepted) / static_cast<double>(n_guessed) : 0; }
  /// Returns the estimated speed relative to decoding one by one; 1 if there is no estimate.
  [[nodiscard]] double speed_up() const noexcept { return seconds > 0 && plain_seconds > 0 ? plain_seconds / seconds : 1; }
};

/// A generation that guesses took part in.
struct speculative_generation : generation {
  speculative_statistics speculation;
};

namespace detail {

/// Requires a caller that is inside the session.
template <kv_cache Cache, class Sampler, class Drafter>
class speculative_run {
 public:
  speculative_run(session_state<Cache>& target, std::vector<token_id> prompt, const generation_options& options, Sampler& sampler, Drafter& drafter,
                  generation_output output)
      : state_(target),
        drafter_(drafter),
        sampler_(sampler),
        stop_(options.stop),
        adapters_(options.adapters),
        output_(std::move(output)),
        tokens_(std::move(prompt)),
        n_prompt_(tokens_.size()),
        guesses_(most_guesses(drafter) + 1),
        length_(most_guesses(drafter)) {
    output_.summary().n_prompt = n_prompt_;
  }

  template <class Callback>
  [[nodiscard]] result<speculative_generation> run(Callback& callback) {
    CRIA_TRY(rows_, array_buffer<float>::allocate(guesses_.size() * state_.logits_stride()));
    CRIA_CHECK(state_.check_prompt(tokens_));
    if (adapters_) CRIA_CHECK(state_.set_adapters(*adapters_));
    CRIA_CHECK(feed_prompt());
    if (!output_.is_done()) CRIA_CHECK(take(state_.logits(), callback));
    while (!output_.is_done()) CRIA_CHECK(pass(callback));
    if (has_held_text_) static_cast<void>(deliver(callback, output_.event()));
    if (n_plain_ > 0) statistics_.plain_seconds = plain_seconds_ / static_cast<double>(n_plain_) * static_cast<double>(output_.summary().tokens.size() - 1);
    CRIA_TRY(auto done, output_.finish());
    return speculative_generation{std::move(done), statistics_};
  }

 private:
  using clock = std::chrono::steady_clock;
  [[nodiscard]] static std::size_t most_guesses(const Drafter& drafter) noexcept { return std::min<std::size_t>(drafter.max_guesses(), 1024); }
  [[nodiscard]] static double seconds_since(clock::time_point start) noexcept { return std::chrono::duration<double>(clock::now() - start).count(); }

  void end(finish_reason reason) { has_held_text_ = output_.end(reason); }

  [[nodiscard]] result<void> feed_prompt() {
    const clock::time_point start = clock::now();
    const std::size_t n_reused = state_.reuse(tokens_);
    output_.summary().n_reused = n_reused;
    for (const token_id token : tokens_) sampler_.accept(token);
    auto fed = state_.append(std::span<const token_id>(tokens_).subspan(n_reused), stop_);
    output_.summary().timings.prompt_seconds = output_.summary().timings.first_token_seconds = seconds_since(start);
    if (!fed && fed.error().code == errc::cancelled) return end(finish_reason::cancelled), result<void>{};
    if (!fed) return fed;
    if (output_.wants_none()) end(finish_reason::max_tokens);
    else if (stop_.stop_requested()) end(finish_reason::cancelled);
    return {};
  }

  /// Draws the next token from its logits, and hands it out.
  template <class Callback>
  [[nodiscard]] result<void> take(std::span<const float> logits, Callback& callback) {
    if (output_.is_over()) return end(finish_reason::end_of_text), result<void>{};
    result<token_id> drawn = output_.choose(sampler_, logits);
    if (!drawn) return std::move(drawn).error();
    CRIA_CHECK(state_.check_token("sampler", *drawn));
    sampler_.accept(*drawn);
    tokens_.push_back(*drawn);
    output_.push(*drawn);
    const clock::time_point start = clock::now();
    if (!deliver(callback, output_.event())) output_.stop_by_callback();
    outside_seconds_ += seconds_since(start);
    return {};
  }

  /// Asks the drafter for guesses. Ignores a guess that is not a token, and those after it.
  [[nodiscard]] result<std::size_t> guess(std::size_t n) {
    if (n == 0) return std::size_t{0};
    const auto out = std::span(guesses_).subspan(1, n);
    CRIA_TRY(const std::size_t n_made, drafts_into(out));
    const auto is_no_token = [&](token_id id) { return id < 0 || static_cast<std::size_t>(id) >= state_.model().vocab_size(); };
    const auto made = out.first(std::min(n, n_made));
    return static_cast<std::size_t>(std::find_if(made.begin(), made.end(), is_no_token) - made.begin());
  }

  [[nodiscard]] result<std::size_t> drafts_into(std::span<token_id> out) {
    if constexpr (requires { drafter_.draft(tokens_, out, sampler_, stop_); }) {
      return drafter_.draft(tokens_, out, sampler_, stop_);
    } else if constexpr (requires { drafter_.draft(tokens_, out, sampler_); }) {
      return drafter_.draft(tokens_, out, sampler_);
    } else {
      return drafter_.draft(tokens_, out);
    }
  }

  /// Computes the last token and the guesses that follow it, and keeps those that are right.
  template <class Callback>
  [[nodiscard]] result<void> pass(Callback& callback) {
    const std::size_t base = state_.sequence().length(), room = state_.sequence().cache().capacity() - base;
    if (room == 0) return end(finish_reason::context_full), result<void>{};
    const clock::time_point start = clock::now();
    outside_seconds_ = 0;
    const std::size_t most_in_pass = state_.max_batch() - 1;   // between two passes windows may move on, so that there is no way back
    const auto guessed = guess(std::min({length_.next(), room - 1, most_in_pass, guesses_.size() - 1, output_.tokens_left() - 1}));
    if (!guessed && guessed.error().code == errc::cancelled && stop_.stop_requested()) return end(finish_reason::cancelled), result<void>{};
    if (!guessed) return guessed.error();
    std::size_t n = *guessed;
    guesses_.front() = tokens_.back();
    const std::size_t stride = state_.logits_stride();
    auto fed = state_.evaluate(std::span<const token_id>(guesses_).first(n + 1), stop_, rows_.data());
    if (!fed) CRIA_CHECK(state_.go_back(base));
    if (!fed && fed.error().code == errc::context_full && n > 0) {   // a pool that is shared has no pages for guesses
      n = 0;
      fed = state_.evaluate(std::span<const token_id>(guesses_).first(1), stop_, rows_.data());
    }
    if (!fed && fed.error().code == errc::context_full) return end(finish_reason::context_full), result<void>{};
    if (!fed && fed.error().code == errc::cancelled) return end(finish_reason::cancelled), result<void>{};
    if (!fed) return fed;
    std::size_t n_right = 0;
    const rewind back{state_, base, n_right};
    for (bool is_right = true; is_right && !output_.is_done();) {
      if (stop_.stop_requested()) {
        n_right -= n_right > 0;   // plain decoding would not have computed the last token
        return end(finish_reason::cancelled), result<void>{};
      }
      const auto row = rows_.span().subspan(n_right * stride, state_.model().vocab_size());
      if (n > 0) state_.show(row);   // logits() of a callback
      CRIA_CHECK(take(row, callback));
      is_right = n_right < n && tokens_.back() == guesses_[n_right + 1];
      if (is_right && !output_.is_done()) ++n_right;
    }
    note(n, n_right, seconds_since(start) - outside_seconds_);
    return {};
  }

  /// Removes wrong guesses from the cache, however the pass ends.
  struct rewind {
    session_state<Cache>& state;
    std::size_t base;
    const std::size_t& n_right;
    ~rewind() {
      const std::size_t n = std::min(state.sequence().length(), base + 1 + n_right);
      if (state.sequence().keepable(n) == n) state.truncate(n);
    }
  };

  void note(std::size_t n, std::size_t n_right, double seconds) noexcept {
    length_.note(n, n_right, seconds);
    ++statistics_.n_passes;
    statistics_.n_guessed += n;
    statistics_.n_accepted += n_right;
    statistics_.seconds += seconds;
    output_.summary().timings.decode_seconds += seconds;
    if (n > 0) return;
    plain_seconds_ += seconds;
    ++n_plain_;
  }

  session_state<Cache>& state_;
  Drafter& drafter_;
  Sampler& sampler_;
  stop_token stop_;
  std::optional<std::vector<adapter_choice>> adapters_;
  generation_output output_;
  std::vector<token_id> tokens_;    // prompt and reply
  std::size_t n_prompt_;
  std::vector<token_id> guesses_;   // the last token, then guesses
  array_buffer<float> rows_;
  speculative_length length_;
  speculative_statistics statistics_;
  double outside_seconds_ = 0, plain_seconds_ = 0;
  std::size_t n_plain_ = 0;
  bool has_held_text_ = false;
};

}  // namespace detail

/// As session.generate(prompt, options, sampler, callback), with guesses of the drafter. If the drafter copies the sampler, it must be copyable.
template <kv_cache Cache, class Prompt, class Sampler, class Drafter, class Callback = no_callback>
  requires((prompt_text<Prompt> || prompt_tokens<Prompt>) && sampler<Sampler> && token_drafter<Drafter, Sampler>)
result<speculative_generation> generate_speculatively(basic_session<Cache>& target, const Prompt& prompt, const generation_options& options, Sampler& sampler,
                                                      Drafter& drafter, Callback&& callback = {}) {
  detail::must_be_callback<Callback>();
  return catch_bad_alloc([&]() -> result<speculative_generation> {
    CRIA_TRY(auto tokens, detail::tokens_of(target.model().tokenizer(), prompt, options.encode, target.capacity()));
    const std::size_t room = target.capacity() > tokens.size() ? target.capacity() - tokens.size() + 1 : 1;
    tokens.reserve(tokens.size() + std::min({room, options.max_tokens, detail::generation_output::most_tokens_reserved}));
    auto& state = detail::session_access::state_of(target);
    CRIA_TRY([[maybe_unused]] const auto use, state.enter());
    CRIA_TRY(auto output, detail::generation_output::create(target.model().tokenizer(), options, room, &state.trees()));
    detail::speculative_run<Cache, Sampler, Drafter> run(state, std::move(tokens), options, sampler, drafter, std::move(output));
    return run.run(callback);
  }, "generation");
}

/// As session.generate(prompt, options, callback), with guesses of the drafter.
template <kv_cache Cache, class Prompt, class Drafter, class Callback = no_callback>
  requires((prompt_text<Prompt> || prompt_tokens<Prompt>) && token_drafter<Drafter> && !sampler<std::remove_cvref_t<Drafter>>)
result<speculative_generation> generate_speculatively(basic_session<Cache>& target, const Prompt& prompt, const generation_options& options, Drafter& drafter,
                                                      Callback&& callback = {}) {
  CRIA_TRY(auto sampler, runtime_sampler::create(options.sampling, target.model().vocab_size()));
  return generate_speculatively(target, prompt, options, sampler, drafter, std::forward<Callback>(callback));
}

}  // namespace cria::inline v0_1_0
