// SPDX-License-Identifier: MIT
// generate/batch_schedule.hpp - which of a batch engine's requests run, how many tokens of each are in the next pass, and in whose pages.
//
//   admit     gives places and pages to waiting requests, first come, first served
//   plan      a token for each request that generates, then shares of prompts
//   preempt   the youngest gives its pages back and waits again, in front of the others
//   collect   requests that have ended leave
//
// Ensures   The oldest request always gets on: it can take the pages of all younger ones, and the pool holds at least one full context.
//           Prompts that begin alike are computed once: the later ones wait for the pages of the first.
// Errors    enqueue: context_full, limit_exceeded
// Threads   as its engine
#pragma once

#include <cria/core/result.hpp>
#include <cria/generate/batch_options.hpp>
#include <cria/generate/batch_sequence.hpp>
#include <cria/kv/paged.hpp>
#include <cria/kv/prefix_index.hpp>

#include <algorithm>
#include <cstddef>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0::detail {

template <kv_type Type, sampler Sampler>
class batch_schedule {
 public:
  using sequence = batch_sequence<Type, Sampler>;
  /// A sequence's part of the next pass.
  struct share {
    sequence* one;
    std::size_t n_tokens;
  };

  batch_schedule(const batch_options& options, std::size_t context, std::shared_ptr<page_pool<Type>> pages, prefix_index<Type> prefixes)
      : capacity(context), pool(std::move(pages)), index(std::move(prefixes)), options_(options), found_(pool->pages_for(context)) {
    running.reserve(options.max_sequences);
    planned.reserve(options.max_sequences);
  }

  /// Adds a request behind all others. With when_full::refuse it is refused unless it can start at the next step.
  [[nodiscard]] result<void> enqueue(std::unique_ptr<sequence> one) {
    if (is_closed_) return error{errc::bad_argument, "batch_engine", "is being destroyed"};
    if (options_.when_full == when_full::refuse) {
      if (running.size() + waiting.size() >= options_.max_sequences) {
        return error{errc::context_full, "sequences", std::to_string(options_.max_sequences) + " are running"};
      }
      std::size_t wanted = pages_to_start(*one, 0);
      for (const auto& other : waiting) wanted += pages_to_start(*other, 0);
      for (const auto& other : running) wanted += pages_ahead(*other);
      const bool is_alone = running.empty() && waiting.empty();
      if (!is_alone && !can_have_room(wanted)) return error{errc::context_full, "pages", "the cache is full"};
    } else if (waiting.size() >= options_.max_waiting) {
      return error{errc::limit_exceeded, "max_waiting", std::to_string(waiting.size()) + " requests are waiting"};
    }
    waiting.push_back(std::move(one));
    return {};
  }

  bool cancel(batch_id id) noexcept {
    sequence* const one = find(id);
    if (one != nullptr) one->cancel();
    return one != nullptr;
  }

  /// Ends requests that were cancelled or whose next token has no room, and collects them.
  void end_cancelled() {
    const auto end = [this](sequence& one) {
      if (one.is_done()) return;
      if (one.is_cancelled()) one.end(finish_reason::cancelled);
      else if (one.tokens().size() > capacity) one.end(finish_reason::context_full);
    };
    // By index: a callback may add requests meanwhile.
    for (std::size_t i = 0; i < running.size(); ++i) end(*running[i]);
    for (std::size_t i = 0; i < waiting.size(); ++i) end(*waiting[i]);
    collect();
  }

  /// Gives places and pages to waiting requests, in their order.
  void admit() {
    while (!waiting.empty() && running.size() < options_.max_sequences) {
      if (!give_pages(*waiting.front())) return;
      running.push_back(std::move(waiting.front()));
      waiting.pop_front();
    }
  }

  /// Decides the next pass, and makes sure that there are pages for it.
  void plan() {
    for (;;) {
      share_out();
      std::size_t n_pages = 0;
      for (const share& s : planned) n_pages += s.one->cache().pages_needed(s.n_tokens);
      if (index.make_room(n_pages) && index.make_windowed_room(n_pages)) return;
      if (running.size() > 1) {
        preempt();
      } else if (index.size() > 0) {
        index.clear();   // the only other owner of the sequence's pages: now none of them needs a copy before it is written
      } else {
        running.front()->fail({errc::context_full, "pages"});
        planned.clear();
        return;
      }
    }
  }

  /// Notes that n more tokens of a sequence are in its cache.
  void note_evaluated(sequence& one, std::size_t n) noexcept {
    counts.n_evaluated_tokens += n;
    const std::size_t after = one.cache().length(), before = after - n;
    if (after <= one.n_prompt() && after / options_.page_size > before / options_.page_size) remember(one);
  }

  /// Lets a sequence choose its next token.
  void advance(sequence& one, std::span<const float> logits) {
    const std::size_t before = one.summary().tokens.size();
    one.advance(logits);
    const std::size_t n = one.summary().tokens.size();
    counts.n_generated_tokens += n - before;
    if (before == 0 && n == 1) {
      ++counts.n_first_tokens;
      counts.first_token_seconds += one.summary().timings.first_token_seconds;
    }
  }

  /// Moves requests that have ended to `finished`.
  void collect() {
    const auto leave = [this](auto& list) {
      for (std::size_t i = 0; i < list.size();) {
        if (!list[i]->is_done()) {
          ++i;
          continue;
        }
        finished.push_back({list[i]->id(), error{}});   // first, since it may throw: then the request is still as it was
        remember(*list[i]);
        batch_result& ended = finished.back();
        ended.outcome = list[i]->finish();
        if (ended.outcome) ++counts.n_finished[static_cast<std::size_t>(ended.outcome->reason)];
        else ++counts.n_failed;
        const std::unique_ptr<sequence> gone = std::move(list[i]);   // destroyed once the list is consistent: its callback's destructor may call the engine
        list.erase(list.begin() + static_cast<std::ptrdiff_t>(i));
      }
    };
    leave(running);
    leave(waiting);
  }

  /// Destroys all requests and refuses new ones. The destructors of their callbacks may still look for other requests.
  void close() noexcept {
    is_closed_ = true;
    while (!running.empty()) {
      const std::unique_ptr<sequence> gone = std::move(running.back());
      running.pop_back();
    }
    while (!waiting.empty()) {
      const std::unique_ptr<sequence> gone = std::move(waiting.back());
      waiting.pop_back();
    }
  }

  std::size_t capacity;                                // positions of one sequence
  std::shared_ptr<page_pool<Type>> pool;
  prefix_index<Type> index;
  std::vector<std::unique_ptr<sequence>> running;      // in the order of their start
  std::deque<std::unique_ptr<sequence>> waiting;
  std::deque<batch_result> finished;
  std::vector<share> planned;
  batch_statistics counts;
  work_clock clock;                                    // of all sequences
  batch_id next_id = 1;

 private:
  [[nodiscard]] sequence* find(batch_id id) noexcept {
    for (const auto& one : running) if (one->id() == id) return one.get();
    for (const auto& one : waiting) if (one->id() == id) return one.get();
    return nullptr;
  }

  [[nodiscard]] static bool is_prompt(const sequence& one) noexcept { return one.pending().size() > 1; }

  /// Returns how many pages a request needs for its tokens and the next one, apart from `n_shared` positions in pages of others.
  [[nodiscard]] std::size_t pages_to_start(const sequence& one, std::size_t n_shared) const noexcept {
    return pool->pages_for(std::min(one.tokens().size() + 1, capacity)) - n_shared / options_.page_size;
  }

  /// Returns how many more pages a running sequence needs for the rest of its tokens, plus one so that its next tokens need not preempt anyone.
  [[nodiscard]] std::size_t pages_ahead(const sequence& one) const noexcept {
    const std::size_t held = one.cache().pages().size();
    return std::max(pages_to_start(one, 0), std::min(held + 1, pool->pages_for(capacity))) - held;
  }

  /// Returns whether that many pages are free, or kept only for later prompts. Frees none of them.
  [[nodiscard]] bool can_have_room(std::size_t n_pages) const noexcept { return pool->n_free() + index.n_spare() >= n_pages; }

  void remember(const sequence& one) noexcept {
    if (options_.shares_prefixes) index.insert(one.tokens().first(one.cache().length()), one.cache().pages(), one.adapter_key());
  }

  /// Shares pages of others that hold the beginning of the sequence's tokens, except the last token, whose logits must be computed. Returns the cache's length.
  std::size_t take_shared(sequence& one) noexcept {
    if (!options_.shares_prefixes) return one.cache().length();
    const std::size_t n = index.find(one.tokens().first(one.tokens().size() - 1), found_, one.adapter_key());
    if (n > one.cache().length()) one.cache().share(std::span(found_).first(pool->pages_for(n)), n);
    return one.cache().length();
  }

  /// Prepares a waiting request for running. Returns whether there are pages for it.
  [[nodiscard]] bool give_pages(sequence& one) {
    const std::size_t n_shared = take_shared(one);
    std::size_t wanted = pages_to_start(one, n_shared);
    for (const auto& other : running) wanted += pages_ahead(*other);
    if (!running.empty() && !(can_have_room(wanted) && index.make_room(wanted))) {
      one.cache().truncate(0);
      return false;
    }
    follow(one);
    if (one.start(n_shared)) {
      counts.n_prompt_tokens += one.n_prompt();
      counts.n_reused_tokens += n_shared;
    }
    return true;
  }

  /// Finds the running sequence that will have the longest common beginning of prompts, to wait for its pages.
  void follow(sequence& one) noexcept {
    one.leader = 0;
    one.n_together = one.cache().length();
    if (!options_.shares_prefixes) return;
    const auto wanted = one.tokens().first(one.tokens().size() - 1);
    for (const auto& other : running) {
      if (!is_prompt(*other) || other->adapter_key() != one.adapter_key()) continue;
      const auto prompt = other->tokens();
      const auto mismatch = std::mismatch(wanted.begin(), wanted.end(), prompt.begin(), prompt.end()).first;
      const std::size_t n = static_cast<std::size_t>(mismatch - wanted.begin()) / options_.page_size * options_.page_size;
      if (n <= one.n_together) continue;
      one.leader = other->id();
      one.n_together = n;
    }
  }

  /// Returns whether a sequence still waits for the pages of its leader. When they are complete, it shares them.
  [[nodiscard]] bool follows(sequence& one) noexcept {
    if (one.leader == 0) return false;
    for (const auto& other : running) {
      if (other->id() == one.leader && other->cache().length() < one.n_together) return true;
    }
    one.leader = 0;
    const std::size_t before = one.cache().length(), after = take_shared(one);
    if (one.summary().tokens.empty()) {
      one.summary().n_reused += after - before;
      counts.n_reused_tokens += after - before;
    }
    return false;
  }

  /// Fills `planned`: a token for each request that generates; prompts share the rest of the pass equally.
  void share_out() {
    planned.clear();
    std::size_t n_prompts = 0;
    for (const auto& one : running) {
      const bool is_waiting = is_prompt(*one) && follows(*one);
      if (!is_waiting && is_prompt(*one)) ++n_prompts;
      if (!is_prompt(*one)) planned.push_back({one.get(), 1});
    }
    const std::size_t room = std::max(options_.max_batch, options_.max_sequences) - planned.size();
    std::size_t left = planned.empty() ? std::min(room, options_.max_batch) : std::min(room, options_.prompt_share);
    for (const auto& one : running) {
      if (left == 0 || n_prompts == 0) break;
      if (!is_prompt(*one) || one->leader != 0) continue;
      const std::size_t n = std::min(one->pending().size(), std::max<std::size_t>(1, left / n_prompts));
      planned.push_back({one.get(), n});
      left -= n;
      --n_prompts;
    }
  }

  /// Takes the pages of the youngest request. It starts over when there is room, and gets the same bits.
  void preempt() {
    waiting.emplace_front();   // first, since it may throw
    waiting.front() = std::move(running.back());
    running.pop_back();
    remember(*waiting.front());
    waiting.front()->cache().truncate(0);
    ++counts.n_preempted;
  }

  batch_options options_;
  std::vector<page_id> found_;
  bool is_closed_ = false;
};

}  // namespace cria::inline v0_1_0::detail
