// SPDX-License-Identifier: MIT
// generate/generation_run.hpp - one generation, step by step: the loop under callbacks and streams.
//
//   prompt: keep what the cache has of it, process the rest in passes
//   step:   process the last token, unless the prompt was just processed; draw a token from the logits; hand it out with its text
//
// So the text of a token never waits for the next pass, and the last token is never processed in vain.
// Ensures   advance() allocates nothing after the first step, except where a grammar meets something new
// Errors    create: those of the sampler and the stop strings, bad_argument; advance: bad_argument, context_full (the prompt), non_finite, those of the sampler
//           and the grammar. After an error, or an exception of a callback, sampler or executor, the session holds whole tokens and can be used.
// Threads   as its session
// Lifetime  refers to its session
#pragma once

#include <cria/core/result.hpp>
#include <cria/generate/generation.hpp>
#include <cria/generate/generation_output.hpp>
#include <cria/generate/options.hpp>
#include <cria/generate/session_state.hpp>
#include <cria/sampling/sampler.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0::detail {

/// Sampler: the type of a sampler to own, or a reference to one of the host's.
template <kv_cache Cache, class Sampler>
  requires sampler<std::remove_reference_t<Sampler>>
class generation_run {
 public:
  /// Requires a caller that is inside the session or owns it (session_state).
  [[nodiscard]] static result<generation_run> create(session_state<Cache>& state, std::vector<token_id> prompt, const generation_options& options,
                                                     Sampler&& sampler) {
    const std::size_t capacity = state.sequence().cache().capacity();
    const std::size_t room = capacity > prompt.size() ? capacity - prompt.size() + 1 : 1;   // the last token needs no position
    CRIA_TRY(auto output, generation_output::create(state.model().tokenizer(), options, room, &state.trees()));
    return generation_run(state, std::move(prompt), options, std::forward<Sampler>(sampler), std::move(output));
  }

  /// Takes one step for a caller outside the session. Returns whether there is an event; if not, the generation is over, and finish() returns its summary.
  [[nodiscard]] result<bool> advance() {
    return attempt([&]() -> result<bool> {
      CRIA_TRY([[maybe_unused]] const auto use, state_->enter(ticket_));
      return step();
    });
  }
  /// As above, for the owner of the session.
  [[nodiscard]] result<bool> advance_owned() {
    return attempt([&]() -> result<bool> {
      [[maybe_unused]] const auto inside = state_->go_in();
      return step();
    });
  }

  [[nodiscard]] const token_event& event() const noexcept { return output_.event(); }

  /// Ends the generation because the host's callback said so, unless it has ended by itself.
  void stop_by_callback() noexcept { output_.stop_by_callback(); }

  /// Returns the summary. To be called once, after advance() has returned false, or after stop_by_callback().
  [[nodiscard]] result<generation> finish() { return output_.finish(); }

 private:
  using clock = std::chrono::steady_clock;

  generation_run(session_state<Cache>& state, std::vector<token_id> prompt, const generation_options& options, Sampler&& sampler, generation_output output)
      : state_(&state),
        prompt_(std::move(prompt)),
        stop_(options.stop),
        adapters_(options.adapters),
        sampler_(std::forward<Sampler>(sampler)),
        output_(std::move(output)),
        ticket_(state.begin()) {
    output_.summary().n_prompt = prompt_.size();
  }

  [[nodiscard]] static double seconds_since(clock::time_point start) noexcept { return std::chrono::duration<double>(clock::now() - start).count(); }

  template <class F>
  [[nodiscard]] result<bool> attempt(F&& f) {
    if (has_failed_ || output_.is_done()) return false;
    has_failed_ = true;   // stays so if a sampler or executor throws: how far the step came is then unknown
    auto stepped = catch_bad_alloc(std::forward<F>(f), "generation");
    has_failed_ = !stepped;
    return stepped;
  }

  [[nodiscard]] result<bool> step() {
    const clock::time_point start = clock::now();
    generation_timings& timings = output_.summary().timings;
    const bool is_prompt = is_fresh_;
    const token_id last = output_.event().token;
    auto fed = is_prompt ? feed_prompt() : state_->append({&last, 1}, stop_);
    if (is_prompt) timings.prompt_seconds = seconds_since(start);
    if (!fed && fed.error().code == errc::cancelled) return output_.end(finish_reason::cancelled);
    if (!fed && fed.error().code == errc::context_full && !is_prompt) return output_.end(finish_reason::context_full);
    if (!fed) return std::move(fed).error();
    is_fresh_ = false;
    if (output_.wants_none()) return output_.end(finish_reason::max_tokens);
    if (stop_.stop_requested()) return output_.end(finish_reason::cancelled);
    if (output_.is_over()) return output_.end(finish_reason::end_of_text);
    CRIA_CHECK(choose());
    (is_prompt ? timings.first_token_seconds : timings.decode_seconds) += seconds_since(start);
    return true;
  }

  [[nodiscard]] result<void> feed_prompt() {
    CRIA_CHECK(state_->check_prompt(prompt_));
    if (adapters_) CRIA_CHECK(state_->set_adapters(*adapters_));
    output_.summary().n_reused = state_->reuse(prompt_);
    for (const token_id token : prompt_) sampler_.accept(token);
    return state_->append(std::span<const token_id>(prompt_).subspan(output_.summary().n_reused), stop_);
  }

  /// Draws the next token and makes its event.
  [[nodiscard]] result<void> choose() {
    result<token_id> sampled = output_.choose(sampler_, state_->logits());
    if (!sampled) return std::move(sampled).error();
    CRIA_CHECK(state_->check_token("sampler", *sampled));
    sampler_.accept(*sampled);
    output_.push(*sampled);
    return {};
  }

  session_state<Cache>* state_;
  std::vector<token_id> prompt_;
  stop_token stop_;
  std::optional<std::vector<adapter_choice>> adapters_;
  Sampler sampler_;
  generation_output output_;
  std::uint64_t ticket_;
  bool is_fresh_ = true, has_failed_ = false;
};

}  // namespace cria::inline v0_1_0::detail
