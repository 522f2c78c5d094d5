// SPDX-License-Identifier: MIT
// generate/batch_engine.hpp - many requests over one model: a pass takes one token of each request that generates, and slices of new prompts beside them.
//
//   auto engine = cria::batch_engine::create(model, {.max_sequences = 16});
//   const auto id = engine->add("Once upon a time", {.max_tokens = 64}, [](std::string_view text) { ... });
//   while (engine->has_work()) {
//     engine->step();
//     while (auto ended = engine->next_finished()) ... ended->id, ended->outcome
//   }
//
// Ensures   The tokens, text and logits of a request have the bits that it would have alone, with its own adapters, whichever other requests come, go, fail
//           or share pages with it. Requests start in the order of arrival. When the pages run out, the youngest request gives its pages back and is computed
//           again later. Memory is taken by create(), add(), and the start and end of a request, never per token. For layers with a window the cache holds
//           the windows of all sequences and of one kept prompt.
// Errors    create: bad_argument, out_of_memory. add: bad_argument (also for an adapter of another model), context_full ("prompt", "sequences", "pages"),
//           limit_exceeded, out_of_memory, those of the tokenizer and the sampler. step: cancelled, out_of_memory, bad_argument (from inside a callback). An
//           error that concerns one request only is in the outcome of that request.
// Threads   One at a time; other threads may end a request by its stop token. A callback, and the destructor of what it holds, may add requests, cancel
//           them, take finished ones, and look at the logits of its own; it may not step.
// Lifetime  keeps its model alive; a callback lives until its request ends
// Source    iteration-level scheduling: G.-I. Yu et al., Orca, OSDI 2022; slices of prompts: A. Agrawal et al., Sarathi-Serve, arXiv 2403.02310
#pragma once

#include <cria/core/stop_token.hpp>
#include <cria/generate/adapter_keys.hpp>
#include <cria/generate/batch_schedule.hpp>
#include <cria/generate/grammar_guard.hpp>
#include <cria/generate/options.hpp>
#include <cria/generate/paged_compute.hpp>
#include <cria/generate/prompt.hpp>
#include <cria/model/model.hpp>
#include <cria/sampling/runtime_sampler.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0 {

/// Type: how keys and values are stored. Sampler: the type of every request's sampler; a host that needs several kinds can wrap them in a variant.
template <kv_type Type = kv_type::f16, sampler Sampler = runtime_sampler>
class basic_batch_engine {
  using cache_type = paged_kv_cache<Type>;
  using sequence = detail::batch_sequence<Type, Sampler>;
  using schedule_type = detail::batch_schedule<Type, Sampler>;

 public:
  [[nodiscard]] static result<basic_batch_engine> create(cria::model model, const batch_options& options = {}) {
    return catch_bad_alloc([&]() -> result<basic_batch_engine> {
      CRIA_CHECK(check(options));
      CRIA_TRY(auto compute, detail::paged_compute<Type>::create(model, {.n_rows = options.max_sequences,
                                                                          .n_caches = options.max_sequences,
                                                                          .n_kept_prefixes = 1,
                                                                          .context_size = options.context_size,
                                                                          .cache_positions = options.cache_positions,
                                                                          .page_size = options.page_size,
                                                                          .max_batch = options.max_batch,
                                                                          .n_threads = options.n_threads,
                                                                          .executor = options.executor}));
      CRIA_TRY(auto index, prefix_index<Type>::create(compute.pool()));
      open_schedule schedule(std::make_unique<schedule_type>(options, compute.capacity(), compute.pool(), std::move(index)));
      return basic_batch_engine(std::move(model), options, std::move(compute), std::move(schedule));
    }, "batch engine");
  }

  /// Adds a request (text or tokens). step() calls the callback with every token or piece of text; it may return false to end the request.
  template <class Prompt, class Callback = no_callback>
    requires((prompt_text<Prompt> || prompt_tokens<Prompt>) && !sampler<Callback> && std::is_same_v<Sampler, runtime_sampler>)
  result<batch_id> add(const Prompt& prompt, const generation_options& options = {}, Callback callback = {}) {
    return counted([&]() -> result<batch_id> {
      CRIA_TRY(auto made, runtime_sampler::create(options.sampling, model_.vocab_size()));
      return add_checked(prompt, options, std::move(made), std::move(callback));
    });
  }

  /// As above, with the host's own sampler, which is told the prompt and each token.
  template <class Prompt, class Callback = no_callback>
    requires(prompt_text<Prompt> || prompt_tokens<Prompt>)
  result<batch_id> add(const Prompt& prompt, const generation_options& options, Sampler sampler, Callback callback = {}) {
    return counted([&] { return add_checked(prompt, options, std::move(sampler), std::move(callback)); });
  }

  /// Ends a request at the next step. Returns whether there is such a request.
  bool cancel(batch_id id) noexcept { return schedule_->cancel(id); }

  /// Takes one pass: a token for each request that generates, and slices of prompts. Does nothing if there is no work.
  /// After an error nothing is lost, and another step() continues. `stop` takes effect within one layer (cancelled). A request whose own stop token is
  /// triggered ends at the next step; if that holds for all requests of the pass, the pass ends within one layer.
  [[nodiscard]] result<void> step(const stop_token& stop = {}) {
    if (is_stepping_) return error{errc::bad_argument, "step", "is called from inside a callback"};
    is_stepping_ = true;
    const stepping_guard guard{&is_stepping_};
    return catch_bad_alloc([&] { return step_once(stop); }, "step");
  }

  /// Steps until every request has ended.
  [[nodiscard]] result<void> run(const stop_token& stop = {}) {
    while (has_work()) CRIA_CHECK(step(stop));
    return {};
  }

  /// Returns the next request that has ended, in the order in which they ended, and forgets it; nothing if there is none.
  [[nodiscard]] std::optional<batch_result> next_finished() { return schedule_->next_finished(); }

  /// Returns whether step() has something to do.
  [[nodiscard]] bool has_work() const noexcept { return schedule_->has_work(); }

  /// Inside a request's callback, returns the logits that its token was drawn from; elsewhere an empty span.
  [[nodiscard]] std::span<const float> logits() const noexcept { return shown_; }
  /// Returns the k likeliest tokens by those logits, the likeliest first.
  [[nodiscard]] result<std::vector<token_candidate>> top_logits(std::size_t k) const { return detail::top_logits(model_.tokenizer(), shown_, k); }

  /// Frees the pages that are kept for later prompts.
  void forget_prefixes() noexcept { schedule_->forget_prefixes(); }

  [[nodiscard]] const cria::model& model() const noexcept { return model_; }
  /// Returns how many positions one sequence may have.
  [[nodiscard]] std::size_t capacity() const noexcept { return schedule_->capacity(); }
  [[nodiscard]] batch_statistics statistics() const noexcept { return schedule_->statistics(); }

 private:
  /// Owns the schedule, by pointer, so that moving an engine never throws although its queues might. The schedule is closed while it still works, because the
  /// destructors of what callbacks hold may cancel requests when the engine is destroyed or assigned to.
  class open_schedule {
   public:
    explicit open_schedule(std::unique_ptr<schedule_type> schedule) noexcept : schedule_(std::move(schedule)) {}
    open_schedule(open_schedule&&) noexcept = default;
    open_schedule& operator=(open_schedule&& other) noexcept {
      close();
      schedule_ = std::move(other.schedule_);
      return *this;
    }
    ~open_schedule() { close(); }
    [[nodiscard]] schedule_type* operator->() const noexcept { return schedule_.get(); }

   private:
    void close() noexcept {
      if (schedule_ != nullptr) schedule_->close();
    }
    std::unique_ptr<schedule_type> schedule_;
  };

  struct showing_guard {
    std::span<const float>* shown;
    ~showing_guard() { *shown = {}; }
  };
  struct stepping_guard {
    bool* flag;
    ~stepping_guard() { *flag = false; }
  };

  basic_batch_engine(cria::model m, const batch_options& options, detail::paged_compute<Type> compute, open_schedule schedule)
      : model_(std::move(m)), compute_(std::move(compute)), schedule_(std::move(schedule)) {
    slices_.reserve(options.max_sequences);
  }

  [[nodiscard]] static result<void> check(const batch_options& o) {
    const auto refuse = [](std::string_view field, std::size_t highest) {
      return error{errc::bad_argument, field, "is not in 1 to " + std::to_string(highest)};
    };
    if (o.max_sequences == 0 || o.max_sequences > batch_options::most_sequences) return refuse("max_sequences", batch_options::most_sequences);
    if (o.prompt_share == 0) return refuse("prompt_share", o.max_batch);
    if (o.max_waiting == 0 && o.when_full == when_full::wait) return refuse("max_waiting", batch_options::no_limit);
    return {};
  }

  template <class F>
  [[nodiscard]] result<batch_id> counted(F&& f) {
    auto added = catch_bad_alloc(std::forward<F>(f), "request");
    schedule_->note_request(added.has_value());
    return added;
  }

  template <class Prompt, class Callback>
  [[nodiscard]] result<batch_id> add_checked(const Prompt& prompt, const generation_options& options, Sampler sampler, Callback callback) {
    detail::must_be_callback<Callback>();
    static_assert(std::is_copy_constructible_v<Callback>, "cria: a request's callback is copyable; what moves only can be kept in a std::shared_ptr");
    CRIA_TRY(auto tokens, detail::tokens_of(model_.tokenizer(), prompt, options.encode, capacity()));
    if (tokens.empty()) return error{errc::bad_argument, "prompt", "has no tokens"};
    for (const token_id id : tokens) CRIA_CHECK(detail::generation_output::check_token(model_.tokenizer(), "prompt", id));
    if (tokens.size() > capacity()) {
      return error{errc::context_full, "prompt", std::to_string(tokens.size()) + " tokens do not fit a context of " + std::to_string(capacity())};
    }
    CRIA_TRY(auto output, detail::generation_output::create(model_.tokenizer(), options, capacity() - tokens.size() + 1, &trees_));
    CRIA_TRY(auto cache, cache_type::create(schedule_->pool(), capacity()));
    detail::batch_callback call;
    if constexpr (!std::is_same_v<Callback, no_callback>) {
      call = [callback = std::move(callback)](const token_event& event) mutable { return detail::deliver(callback, event); };
    }
    const auto chosen = options.adapters ? std::span<const adapter_choice>(*options.adapters) : std::span<const adapter_choice>{};
    CRIA_TRY(auto adapters, adapter_set::create(chosen, model_));
    const std::uint64_t adapter_key = adapter_keys_.key_of(adapters);
    return schedule_->enqueue({.prompt = std::move(tokens),
                               .cache = std::move(cache),
                               .adapters = std::move(adapters),
                               .adapter_key = adapter_key,
                               .sampler = std::move(sampler),
                               .output = std::move(output),
                               .stop = options.stop,
                               .callback = std::move(call)});
  }

  [[nodiscard]] result<void> step_once(const stop_token& stop) {
    const auto start = schedule_->clock().now();
    schedule_->plan_pass();
    if (!schedule_->planned().empty()) CRIA_CHECK(pass(stop));
    schedule_->collect();
    schedule_->note_busy(schedule_->clock().seconds_since(start));
    return {};
  }

  /// Computes what is planned. Requests whose tokens are then all in the cache choose their next one.
  [[nodiscard]] result<void> pass(const stop_token& stop) {
    slices_.clear();
    std::size_t n_rows = 0;
    for (const auto& [one, n] : schedule_->planned()) {
      const bool is_all = n == one->pending().size();
      slices_.push_back({&one->cache(), one->pending().first(n), std::size_t{is_all}});
      slices_.back().adapters = one->adapters();
      n_rows += is_all;
    }
    const auto is_in_vain = [&]() noexcept {
      const auto planned = schedule_->planned();
      return stop.stop_requested() || std::all_of(planned.begin(), planned.end(), [](const auto& share) { return share.one->is_cancelled(); });
    };
    if (auto computed = compute_.forward(model_, slices_, n_rows, is_in_vain); !computed) {
      if (computed.error().code != errc::cancelled || stop.stop_requested()) return computed;
      schedule_->end_cancelled();
      return {};
    }
    for (std::size_t i = 0, row = 0; i < slices_.size(); ++i) {
      sequence& one = *schedule_->planned()[i].one;
      schedule_->note_evaluated(one, slices_[i].tokens.size());
      if (slices_[i].n_logits == 0) continue;
      const showing_guard guard{&shown_};
      shown_ = compute_.row(row++);
      schedule_->advance(one, shown_);
    }
    schedule_->note_pass();
    return {};
  }

  cria::model model_;
  detail::paged_compute<Type> compute_;
  std::vector<nn::sequence_slice<cache_type>> slices_;
  detail::adapter_keys adapter_keys_;
  detail::vocabulary_trees trees_;   // empty before the first grammar
  std::span<const float> shown_;   // what logits() returns inside a callback
  bool is_stepping_ = false;
  open_schedule schedule_;   // destroyed first: callbacks may still use the members above
};

using batch_engine = basic_batch_engine<>;

}  // namespace cria::inline v0_1_0
