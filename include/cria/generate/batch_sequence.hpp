// SPDX-License-Identifier: MIT
// generate/batch_sequence.hpp - one request of a batch engine: its tokens, pages, sampler and text.
//
// Ensures   A sequence is defined by its tokens: those that are not in the cache are computed again, with the same bits.
// Errors    those of callbacks and samplers end this sequence only; what they throw becomes host_exception
// Threads   as its engine
#pragma once

#include <cria/core/result.hpp>
#include <cria/core/stop_token.hpp>
#include <cria/generate/batch_options.hpp>
#include <cria/generate/generation.hpp>
#include <cria/generate/generation_output.hpp>
#include <cria/kv/paged.hpp>
#include <cria/model/adapter.hpp>
#include <cria/sampling/sampler.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <limits>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0::detail {

/// Called with each token of a request; false ends it.
using batch_callback = std::function<bool(const token_event&)>;

/// A clock that stands still during the host's callbacks. (It is corrected when a callback has returned.)
struct work_clock {
  using steady = std::chrono::steady_clock;
  steady::duration in_callbacks{};

  [[nodiscard]] steady::time_point now() const noexcept { return steady::now() - in_callbacks; }
  [[nodiscard]] double seconds_since(steady::time_point start) const noexcept { return std::chrono::duration<double>(now() - start).count(); }
};

/// What add() makes of a request of the host.
template <kv_type Type, sampler Sampler>
struct batch_request {
  std::vector<token_id> prompt;
  paged_kv_cache<Type> cache;
  adapter_set adapters;
  std::uint64_t adapter_key;   ///< sequences with the same key compute the same positions for the same tokens (adapter_keys.hpp)
  Sampler sampler;
  generation_output output;
  stop_token stop;
  batch_callback callback;
};

template <kv_type Type, sampler Sampler>
class batch_sequence {
 public:
  using clock = std::chrono::steady_clock;

  batch_sequence(batch_id id, batch_request<Type, Sampler> request, work_clock& working)
      : id_(id),
        cache_(std::move(request.cache)),
        adapters_(std::move(request.adapters)),
        adapter_key_(request.adapter_key),
        tokens_(std::move(request.prompt)),
        n_prompt_(tokens_.size()),
        sampler_(std::move(request.sampler)),
        output_(std::move(request.output)),
        stop_(std::move(request.stop)),
        callback_(std::move(request.callback)),
        working_(&working),
        added_(clock::now()) {
    output_.summary().n_prompt = n_prompt_;
    tokens_.reserve(std::min(cache_.capacity() + 1, n_prompt_ + output_.summary().tokens.capacity()));
  }

  [[nodiscard]] batch_id id() const noexcept { return id_; }
  [[nodiscard]] paged_kv_cache<Type>& cache() noexcept { return cache_; }
  [[nodiscard]] const paged_kv_cache<Type>& cache() const noexcept { return cache_; }
  /// Returns the tokens of the prompt and of the text; the last one is not in the cache yet.
  [[nodiscard]] std::span<const token_id> tokens() const noexcept { return tokens_; }
  [[nodiscard]] std::span<const token_id> pending() const noexcept { return tokens().subspan(cache_.length()); }
  [[nodiscard]] std::span<const nn::low_rank_use> adapters() const noexcept { return adapters_.uses(); }
  [[nodiscard]] std::uint64_t adapter_key() const noexcept { return adapter_key_; }
  [[nodiscard]] std::size_t n_prompt() const noexcept { return n_prompt_; }
  [[nodiscard]] std::size_t n_generated() const noexcept { return output_.summary().tokens.size(); }
  [[nodiscard]] double first_token_seconds() const noexcept { return output_.summary().timings.first_token_seconds; }
  [[nodiscard]] bool is_done() const noexcept { return failure_.has_value() || output_.is_done(); }
  [[nodiscard]] bool is_cancelled() const noexcept { return is_cancelled_ || stop_.stop_requested(); }
  void cancel() noexcept { is_cancelled_ = true; }

  /// Called when the sequence gets a place; `n_reused` of its tokens are in the cache. Returns whether this is the first time.
  bool start(std::size_t n_reused) {
    if (std::exchange(is_started_, true)) return false;
    started_ = working_->now();
    note_reused(n_reused);
    guarded("sampler", [&] {
      for (const token_id token : tokens_) sampler_.accept(token);
    });
    return true;
  }

  /// Counts tokens of the prompt that were found in pages of others.
  void note_reused(std::size_t n) noexcept { output_.summary().n_reused += n; }

  /// Leaves the first `n` positions of the prompt to another sequence, whose pages this one shares when they are computed. leader() is 0 if there is none.
  void follow(batch_id leader, std::size_t n) noexcept {
    leader_ = leader;
    n_left_to_leader_ = n;
  }
  void follow_none() noexcept { follow(0, 0); }
  [[nodiscard]] bool is_following() const noexcept { return leader_ != 0; }
  [[nodiscard]] batch_id leader() const noexcept { return leader_; }
  [[nodiscard]] std::size_t n_left_to_leader() const noexcept { return n_left_to_leader_; }

  /// Draws the next token from the logits of the last one, and calls the host's callback.
  void advance(std::span<const float> logits) {
    if (n_generated() == 0) output_.summary().timings.prompt_seconds = working_->seconds_since(started_);
    if (output_.wants_none()) return end(finish_reason::max_tokens);
    if (output_.is_over()) return end(finish_reason::end_of_text);
    guarded("sampler", [&] {
      auto chosen = choose(logits);
      if (!chosen) failure_ = std::move(chosen).error();
    });
    if (failure_) return;
    note_time();
    deliver();
  }

  /// Ends without a token.
  void end(finish_reason reason) {
    if (output_.end(reason)) deliver();
  }
  void fail(error e) { failure_ = std::move(e); }

  /// Returns the outcome for the host. To be called once.
  [[nodiscard]] result<generation> finish() {
    if (failure_) return *std::move(failure_);
    return output_.finish();
  }

 private:
  [[nodiscard]] result<void> choose(std::span<const float> logits) {
    bool is_bad = false;
    for (const float x : logits) is_bad |= !(x < std::numeric_limits<float>::infinity());
    if (is_bad) return error{errc::non_finite, "logits", "the model gave inf or NaN"};
    result<token_id> sampled = output_.choose(sampler_, logits);
    if (!sampled) return std::move(sampled).error();
    if (*sampled < 0 || static_cast<std::size_t>(*sampled) >= logits.size()) {
      return error{errc::bad_argument, "sampler", "chose a token that is not in the vocabulary"};
    }
    sampler_.accept(*sampled);
    output_.push(*sampled);
    tokens_.push_back(*sampled);
    return {};
  }

  void note_time() noexcept {
    generation_timings& t = output_.summary().timings;
    if (n_generated() == 1) {
      t.first_token_seconds = std::chrono::duration<double>(clock::now() - added_).count();   // all waiting counts, even for callbacks of others
      first_token_ = working_->now();
    } else {
      t.decode_seconds = working_->seconds_since(first_token_);
    }
  }

  void deliver() {
    if (!callback_) return;
    const clock::time_point start = clock::now();
    guarded("callback", [&] {
      if (!callback_(output_.event())) output_.stop_by_callback();
    });
    working_->in_callbacks += clock::now() - start;
  }

  /// Runs code of the host; an exception ends this sequence.
  template <class F>
  void guarded(const char* where, F&& f) {
#if CRIA_HAS_EXCEPTIONS
    try {
      f();
    } catch (const std::bad_alloc&) {
      failure_ = error{errc::out_of_memory, where};
    } catch (const std::exception& e) {
      auto message = catch_bad_alloc([&]() -> result<std::string> { return printable(e.what()); }, where);
      failure_ = error{errc::host_exception, where, message ? *std::move(message) : std::string{}};
    } catch (...) {
      failure_ = error{errc::host_exception, where, "threw something that is no std::exception"};
    }
#else
    static_cast<void>(where);
    f();
#endif
  }

  batch_id id_;
  paged_kv_cache<Type> cache_;
  adapter_set adapters_;
  std::uint64_t adapter_key_;
  std::vector<token_id> tokens_;
  std::size_t n_prompt_;
  Sampler sampler_;
  generation_output output_;
  stop_token stop_;
  batch_callback callback_;
  work_clock* working_;
  clock::time_point added_;                   // by the steady clock
  clock::time_point started_, first_token_;   // by working_
  std::optional<error> failure_;
  batch_id leader_ = 0;
  std::size_t n_left_to_leader_ = 0;
  bool is_started_ = false, is_cancelled_ = false;
};

}  // namespace cria::inline v0_1_0::detail
