// SPDX-License-Identifier: MIT
// generate/session_state.hpp - what a session owns: threads, buffers, cache and the last logits; and the only way by which tokens get into the cache.
//
// Shapes    logits[V], in memory that is rounded up to 16 floats
// Ensures   create() allocates everything, append() nothing. After any failure the cache holds whole tokens, and tokens() names them.
// Errors    create: bad_argument, out_of_memory; append: bad_argument, context_full, cancelled, non_finite, mismatch
// Threads   One at a time; enter() notices a second caller. A caller that computes or changes something owns the session until it returns. During callbacks a
//           generation stays the owner but steps outside, so that the callback may look at the session.
// Lifetime  does not move: streams and passes refer to it
#pragma once

#include <cria/core/aligned_buffer.hpp>
#include <cria/core/bit_cast.hpp>
#include <cria/core/checksum.hpp>
#include <cria/core/executor.hpp>
#include <cria/core/one_user.hpp>
#include <cria/core/result.hpp>
#include <cria/core/stop_token.hpp>
#include <cria/core/thread_pool.hpp>
#include <cria/generate/cached_sequence.hpp>
#include <cria/generate/generation.hpp>
#include <cria/generate/grammar_guard.hpp>
#include <cria/generate/options.hpp>
#include <cria/model/adapter.hpp>
#include <cria/model/model.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0::detail {

template <kv_cache Cache>
class session_state {
 public:
  /// Held by a caller that computes with the session or changes it.
  struct use {
    one_user::use owner;
    one_user::use inside;
  };

  [[nodiscard]] static result<std::unique_ptr<session_state>> create(cria::model model, Cache cache, const session_options& options) {
    return catch_bad_alloc([&]() -> result<std::unique_ptr<session_state>> {
      CRIA_CHECK(detail::check(options));
      std::unique_ptr<thread_pool> pool;
      if (!options.executor) pool = std::make_unique<thread_pool>(options.n_threads);
      const executor_ref executor = options.executor ? *options.executor : executor_ref(*pool);
      const std::size_t capacity = cache.capacity(), n_batch = std::max<std::size_t>(1, std::min({options.max_batch, capacity, max_pass_of(cache)}));
      CRIA_TRY(auto activations, nn::activations::create(model.activation_shape(n_batch), model.precision(), executor.concurrency(), cache.max_segments()));
      CRIA_TRY(auto logits, array_buffer<float>::allocate(round_up(model.vocab_size(), 16)));
      std::unique_ptr<session_state> made(
          new session_state(std::move(model), std::move(pool), executor, std::move(activations), std::move(cache), std::move(logits)));
      CRIA_CHECK(made->sequence_.make_room(std::min(capacity, most_tokens_reserved)));
      return made;
    }, "session");
  }

  /// Begins something new, which ends open streams. Returns the ticket that enter(ticket) checks.
  std::uint64_t begin() noexcept { return ++ticket_; }

  /// Lets a caller in that begins something new; returns nothing if another one is inside or owns the session.
  [[nodiscard]] std::optional<use> try_enter() noexcept {
    auto owner = owner_.try_enter();
    if (!owner) return std::nullopt;
    auto inside = inside_.try_enter();
    if (!inside) return std::nullopt;
    begin();
    return use{*std::move(owner), *std::move(inside)};
  }
  /// As try_enter(), but returns bad_argument instead of nothing.
  [[nodiscard]] result<use> enter() {
    if (auto entered = try_enter()) return *std::move(entered);
    return two_callers();
  }
  /// As enter(), for a caller that steps in and out: while it is outside, in a callback of the host, others may look.
  [[nodiscard]] result<one_user::use> own() {
    CRIA_TRY(use both, enter());
    return std::move(both.owner);
  }
  /// Lets the owner in, as soon as nobody looks.
  [[nodiscard]] one_user::use go_in() noexcept {
    for (;; std::this_thread::yield()) {
      if (auto inside = inside_.try_enter()) return *std::move(inside);
    }
  }
  /// Lets a caller in that changes nothing, so that open streams stay open.
  [[nodiscard]] result<one_user::use> look() {
    if (auto inside = inside_.try_enter()) return *std::move(inside);
    return two_callers();
  }
  /// Lets a caller in that continues: bad_argument if another one is inside, or if something new has begun since `ticket` was returned.
  [[nodiscard]] result<use> enter(std::uint64_t ticket) {
    auto owner = owner_.try_enter();
    if (!owner) return two_callers();
    CRIA_TRY(auto inside, look());
    if (ticket != ticket_) return error{errc::bad_argument, "session", "has been used for something else meanwhile"};
    return use{*std::move(owner), std::move(inside)};
  }

  /// Checks a prompt before anything changes.
  [[nodiscard]] result<void> check_prompt(std::span<const token_id> prompt) const {
    if (prompt.empty()) return error{errc::bad_argument, "prompt", "has no tokens"};
    for (const token_id id : prompt) CRIA_CHECK(check_token("prompt", id));
    const std::size_t capacity = sequence_.cache().capacity();
    if (prompt.size() <= capacity) return {};
    return error{errc::context_full, "prompt", std::to_string(prompt.size()) + " tokens do not fit a context of " + std::to_string(capacity)};
  }

  [[nodiscard]] result<void> check_token(std::string_view where, token_id id) const {
    if (id >= 0 && static_cast<std::size_t>(id) < model_.vocab_size()) return {};
    return error{errc::bad_argument, where,
                 "token " + std::to_string(id) + " is not in the vocabulary of " + std::to_string(model_.vocab_size())};
  }

  /// Checks the sizes of contents, and their logits.
  [[nodiscard]] result<void> check_contents(const session_contents& contents) const {
    const auto refuse = [](errc code, std::string_view field) { return error{code, std::string(field), "are not those of a session of this model"}; };
    const kv_shape shape = sequence_.cache().shape();
    const std::size_t rows = shape.n_layers * shape.n_kv_heads * contents.tokens.size();
    if (contents.positions.size() / sequence_.cache().position_bytes() != rows || contents.positions.size() % sequence_.cache().position_bytes() != 0) {
      return refuse(errc::mismatch, "positions");
    }
    if (contents.logits.empty()) return {};
    if (contents.logits.size() != model_.vocab_size() || contents.tokens.empty()) return refuse(errc::mismatch, "logits");
    for (const float x : contents.logits) {
      if (!(x < std::numeric_limits<float>::infinity())) return refuse(errc::non_finite, "logits");
    }
    return {};
  }

  /// Appends tokens to what the cache holds, in passes of at most max_batch(); logits() are then those of the last one. A failure keeps the passes before it.
  /// With `rows`, the logits of every token go there, logits_stride() floats apart.
  [[nodiscard]] result<void> append(std::span<const token_id> tokens, const stop_token& stop, float* rows = nullptr) {
    CRIA_CHECK(sequence_.make_room(sequence_.length() + tokens.size()));
    for (std::size_t done = 0; done < tokens.size();) {
      const auto part = tokens.subspan(done, std::min(max_batch(), tokens.size() - done));
      const bool is_last = done + part.size() == tokens.size();
      nn::sequence_slice<Cache> slice{&sequence_.cache(), part, rows != nullptr ? part.size() : std::size_t{is_last}};
      slice.adapters = adapters_.uses();
      if (rows == nullptr && is_last) has_logits_ = false;   // if the host's executor throws, they are half written
      float* const out = rows != nullptr ? rows + done * logits_stride() : logits_.data();
      CRIA_CHECK(model_.template forward<Cache>(executor_, activations_, std::span(&slice, 1),
                                                {out, logits_stride(), slice.n_logits, model_.vocab_size()}, stop));
      sequence_.commit(part);
      has_logits_ = false;
      n_evaluated_ += part.size();
      done += part.size();
    }
    if (rows != nullptr) std::copy_n(rows + (tokens.size() - 1) * logits_stride(), model_.vocab_size(), logits_.data());
    CRIA_CHECK(check_logits());
    has_logits_ = true;
    return {};
  }

  /// Checks the tokens, and that there is room for them, and appends them.
  [[nodiscard]] result<void> evaluate(std::span<const token_id> tokens, const stop_token& stop, float* rows = nullptr) {
    CRIA_CHECK(check_prompt(tokens));
    const std::size_t length = sequence_.length(), capacity = sequence_.cache().capacity();
    if (tokens.size() > capacity - std::min(length, capacity)) {
      return error{errc::context_full, "context", std::to_string(length) + " of " + std::to_string(capacity) + " positions are taken, " +
                   std::to_string(tokens.size()) + " more do not fit"};
    }
    return append(tokens, stop, rows);
  }

  /// Computes with these adapters from now on, and forgets what was computed with others. Errors: bad_argument, out_of_memory; they change nothing.
  [[nodiscard]] result<void> set_adapters(std::span<const adapter_choice> choices) {
    CRIA_TRY(adapter_set wanted, adapter_set::create(choices, model_));
    if (wanted.is_same(adapters_)) return {};
    adapters_ = std::move(wanted);
    truncate(0);
    return {};
  }

  /// Returns a number that distinguishes the cache's contents from those computed with other models or adapters.
  [[nodiscard]] std::uint64_t fingerprint() const noexcept {
    const bool is_long = model_.weights().rope.is_long(sequence_.cache().capacity());
    if (adapters_.empty() && !is_long) return model_.fingerprint();
    checksum64 sum;
    sum.update(model_.fingerprint());
    if (is_long) sum.update(std::string_view("long"));
    for (const adapter_choice& c : adapters_.choices()) {
      sum.update(c.adapter.fingerprint());
      sum.update(bit_cast<std::uint32_t>(c.scale));
    }
    return sum.value();
  }

  /// Processes the tokens from an empty cache, and gives the last hidden state of each one, after the output norm, to `take`, in order. Leaves the cache empty.
  template <class Take>
  [[nodiscard]] result<void> append_hidden(std::span<const token_id> tokens, const stop_token& stop, Take&& take) {
    truncate(0);
    result<void> done = sequence_.make_room(tokens.size());
    for (std::size_t at = 0; at < tokens.size() && done; at += max_batch()) {
      const auto part = tokens.subspan(at, std::min(max_batch(), tokens.size() - at));
      nn::sequence_slice<Cache> slice{&sequence_.cache(), part, part.size()};
      slice.adapters = adapters_.uses();
      done = model_.template forward<Cache>(executor_, activations_, std::span(&slice, 1), {nullptr, logits_stride(), part.size(), model_.vocab_size()}, stop);
      if (!done) break;
      sequence_.commit(part);
      n_evaluated_ += part.size();
      for (std::size_t t = 0; t < part.size(); ++t) take(std::span<const float>(activations_.normed.row(t), activations_.normed.width));
    }
    truncate(0);
    return done;
  }

  /// Makes logits() return this row of the last evaluation, until the next step.
  void show(std::span<const float> row) noexcept {
    std::copy_n(row.data(), model_.vocab_size(), logits_.data());
    has_logits_ = true;
  }

  /// As truncate(), but checks that it is possible. Errors: bad_argument.
  [[nodiscard]] result<void> go_back(std::size_t n) {
    const std::size_t length = sequence_.length();
    const auto refuse = [](std::string_view why) { return error{errc::bad_argument, "truncate", why}; };
    if (n > length) return refuse(std::to_string(n) + " of " + std::to_string(length) + " positions");
    if (sequence_.keepable(n) != n) return refuse("what the windows need at " + std::to_string(n) + " is gone");
    truncate(n);
    return {};
  }

  /// Forgets positions from n on, and the logits.
  void truncate(std::size_t n) noexcept {
    sequence_.truncate(n);
    has_logits_ = false;
  }

  /// Replaces tokens, positions and logits. Requires contents that check_contents() has accepted. If there is no room, nothing changes.
  [[nodiscard]] result<void> replace(const session_contents& contents) {
    CRIA_CHECK(sequence_.replace(contents.tokens, contents.positions));
    std::copy(contents.logits.begin(), contents.logits.end(), logits_.data());
    has_logits_ = !contents.logits.empty();
    return {};
  }

  /// Truncates the cache to the beginning that it shares with the prompt, and returns the length of that.
  std::size_t reuse(std::span<const token_id> prompt) noexcept {
    const std::size_t n = sequence_.keep_common(prompt);
    has_logits_ = false;
    n_reused_ += n;
    return n;
  }

  /// Returns the trees of the model's vocabulary, for grammars.
  [[nodiscard]] vocabulary_trees& trees() noexcept { return trees_; }

  [[nodiscard]] const cria::model& model() const noexcept { return model_; }
  [[nodiscard]] const cached_sequence<Cache>& sequence() const noexcept { return sequence_; }
  [[nodiscard]] std::size_t max_batch() const noexcept { return activations_.shape.max_tokens; }
  [[nodiscard]] std::size_t n_threads() const noexcept { return executor_.concurrency(); }
  [[nodiscard]] std::size_t logits_stride() const noexcept { return round_up(model_.vocab_size(), 16); }
  [[nodiscard]] std::size_t n_evaluated() const noexcept { return n_evaluated_; }
  [[nodiscard]] std::size_t n_reused() const noexcept { return n_reused_; }
  /// Returns the logits of the last token; empty if something other than an evaluation has happened since.
  [[nodiscard]] std::span<const float> logits() const noexcept { return logits_.span().first(has_logits_ ? model_.vocab_size() : 0); }

 private:
  [[nodiscard]] static std::size_t max_pass_of(const Cache& cache) noexcept {
    if constexpr (requires { { cache.max_pass() } noexcept; }) {
      return cache.max_pass();
    } else {
      return session_options::most_batch;
    }
  }

  static constexpr std::size_t most_tokens_reserved = std::size_t{1} << 20;   // a cache may call itself unlimited

  [[nodiscard]] static error two_callers() { return {errc::bad_argument, "session", "is used by two callers at once"}; }

  session_state(cria::model m, std::unique_ptr<thread_pool> pool, executor_ref executor, nn::activations activations, Cache cache, array_buffer<float> logits)
      : model_(std::move(m)),
        pool_(std::move(pool)),
        executor_(executor),
        activations_(std::move(activations)),
        sequence_(std::move(cache)),
        logits_(std::move(logits)) {}

  [[nodiscard]] result<void> check_logits() const {
    for (const float x : logits_.span().first(model_.vocab_size())) {
      if (!(x < std::numeric_limits<float>::infinity())) return error{errc::non_finite, "logits", "the model gave inf or NaN"};
    }
    return {};
  }

  cria::model model_;
  std::unique_ptr<thread_pool> pool_;   // none with the host's executor
  executor_ref executor_;
  nn::activations activations_;
  cached_sequence<Cache> sequence_;
  array_buffer<float> logits_;
  vocabulary_trees trees_;   // none before the first grammar
  adapter_set adapters_;
  one_user owner_, inside_;
  std::atomic<std::uint64_t> ticket_{0};
  std::size_t n_evaluated_ = 0, n_reused_ = 0;
  bool has_logits_ = false;
};

}  // namespace cria::inline v0_1_0::detail
