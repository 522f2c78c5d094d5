// SPDX-License-Identifier: MIT
// generate/generation_run.hpp - one generation, step by step: the loop under callbacks and streams.
//
//   prompt: keep what the cache has of it, process the rest in passes
//   step:   sample from the last logits; hand out token and text; (next step) put the token into the cache
//
// So a token's text never waits for the next token's pass, and the last token is never evaluated in vain.
// Ensures   no allocation by advance() after the first one
// Errors    create: those of sampler and stop strings, bad_argument; advance: bad_argument, context_full (the prompt), non_finite, what the sampler returns.
//           After an error, or when a callback, sampler or executor throws, the session holds whole tokens and goes on.
// Threads   as its session
// Lifetime  refers to its session
#pragma once

#include <cria/core/result.hpp>
#include <cria/generate/generation.hpp>
#include <cria/generate/options.hpp>
#include <cria/generate/session_state.hpp>
#include <cria/generate/text_output.hpp>
#include <cria/sampling/sampler.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cria::inline v0::detail {

/// Sampler: a sampler type to own, or a reference to the host's.
template <kv_cache Cache, class Sampler>
  requires sampler<std::remove_reference_t<Sampler>>
class generation_run {
 public:
  [[nodiscard]] static result<generation_run> create(session_state<Cache>& state, std::vector<token_id> prompt, const generation_options& options, Sampler&& sampler) {
    for (const token_id id : options.stop_tokens) CRIA_CHECK(state.check_token("stop_tokens", id));
    CRIA_TRY(auto output, text_output::create(options.stop_strings, state.longest_piece()));
    return catch_bad_alloc([&]() -> result<generation_run> {
      generation_run run(state, std::move(prompt), options, std::forward<Sampler>(sampler), std::move(output));
      const std::size_t capacity = state.sequence().cache().capacity(), n_prompt = run.prompt_.size();
      const std::size_t room = capacity > n_prompt ? capacity - n_prompt + 1 : 1;   // the last token need not fit
      run.result_.tokens.reserve(std::min({options.max_tokens, room, most_tokens_reserved}));
      return run;
    }, "generation");
  }

  /// Takes one step. Returns whether there is an event; if not, all is said and finish() tells the rest.
  [[nodiscard]] result<bool> advance() {
    if (phase_ == phase::done) return false;
    auto stepped = step();
    if (!stepped) phase_ = phase::done;
    return stepped;
  }

  [[nodiscard]] const token_event& event() const noexcept { return event_; }

  /// Ends the generation because the host wants no more, if it has not ended by itself.
  void stop_by_callback() noexcept {
    if (phase_ == phase::done) return;
    result_.reason = finish_reason::stopped_by_callback;
    phase_ = phase::done;
  }

  /// Returns the summary. Call it once, after advance() has said that there is nothing more, or stop_by_callback().
  [[nodiscard]] result<generation> finish() {
    return catch_bad_alloc([&]() -> result<generation> {
      // What was handed out is the beginning of the pieces: stop strings and what was held back are cut off their end.
      const std::size_t n = output_.released_bytes();
      result_.text.reserve(n);
      for (const token_id token : result_.tokens) {
        result_.text.append(piece(token).substr(0, n - result_.text.size()));
      }
      return std::move(result_);
    }, "generation");
  }

 private:
  using clock = std::chrono::steady_clock;
  enum class phase { fresh, running, done };
  static constexpr std::size_t most_tokens_reserved = std::size_t{1} << 20;

  generation_run(session_state<Cache>& state, std::vector<token_id> prompt, const generation_options& options, Sampler&& sampler, text_output output)
      : state_(&state),
        prompt_(std::move(prompt)),
        max_tokens_(options.max_tokens),
        stop_tokens_(options.stop_tokens),
        ignores_eos_(options.ignore_eos),
        stop_(options.stop),
        sampler_(std::forward<Sampler>(sampler)),
        output_(std::move(output)),
        ticket_(state.begin()) {
    result_.n_prompt = prompt_.size();
  }

  [[nodiscard]] static double seconds_since(clock::time_point start) noexcept { return std::chrono::duration<double>(clock::now() - start).count(); }
  [[nodiscard]] std::string_view piece(token_id token) const noexcept { return state_->model().tokenizer().piece(token); }
  [[nodiscard]] bool is_end(token_id token) const noexcept {
    return (!ignores_eos_ && state_->model().tokenizer().is_end_of_generation(token)) ||
           std::find(stop_tokens_.begin(), stop_tokens_.end(), token) != stop_tokens_.end();
  }

  [[nodiscard]] result<bool> step() {
    CRIA_TRY([[maybe_unused]] const auto use, state_->enter(ticket_));
    const clock::time_point start = clock::now();
    const bool is_prompt = phase_ == phase::fresh;
    auto fed = is_prompt ? feed_prompt() : state_->append({&event_.token, 1}, stop_);
    if (is_prompt) result_.timings.prompt_seconds = seconds_since(start);
    if (!fed && fed.error().code == errc::cancelled) return end(finish_reason::cancelled);
    if (!fed && fed.error().code == errc::context_full && !is_prompt) return end(finish_reason::context_full);
    if (!fed) return std::move(fed).error();
    phase_ = phase::running;
    if (max_tokens_ == 0) return end(finish_reason::max_tokens);
    if (stop_.stop_requested()) return end(finish_reason::cancelled);
    CRIA_CHECK(choose());
    (is_prompt ? result_.timings.first_token_seconds : result_.timings.decode_seconds) += seconds_since(start);
    return true;
  }

  [[nodiscard]] result<void> feed_prompt() {
    CRIA_CHECK(state_->check_prompt(prompt_));
    result_.n_reused = state_->reuse(prompt_);
    for (const token_id token : prompt_) sampler_.accept(token);
    return state_->append(std::span<const token_id>(prompt_).subspan(result_.n_reused), stop_);
  }

  /// Samples the next token and makes its event.
  [[nodiscard]] result<void> choose() {
    result<token_id> sampled = sampler_.sample(state_->logits());
    if (!sampled) return std::move(sampled).error();
    const token_id token = *sampled;
    CRIA_CHECK(state_->check_token("sampler", token));
    sampler_.accept(token);
    result_.tokens.push_back(token);
    const bool ends = is_end(token), is_last = ends || result_.tokens.size() == max_tokens_;
    event_ = {token, output_.push(ends ? std::string_view{} : piece(token), is_last), result_.tokens.size() - 1};
    if (is_last || output_.is_stopped()) {
      phase_ = phase::done;
      result_.reason = ends ? finish_reason::end_of_text : output_.is_stopped() ? finish_reason::stop_string : finish_reason::max_tokens;
    }
    return {};
  }

  /// Ends without a token; text that was held back makes one more event.
  [[nodiscard]] bool end(finish_reason reason) {
    phase_ = phase::done;
    result_.reason = reason;
    event_ = {no_token, output_.flush(), result_.tokens.size()};
    return !event_.text.empty();
  }

  session_state<Cache>* state_;
  std::vector<token_id> prompt_;
  std::size_t max_tokens_;
  std::vector<token_id> stop_tokens_;
  bool ignores_eos_;
  std::stop_token stop_;
  Sampler sampler_;
  text_output output_;
  std::uint64_t ticket_;
  token_event event_;
  phase phase_ = phase::fresh;
  generation result_;
};

}  // namespace cria::inline v0::detail
