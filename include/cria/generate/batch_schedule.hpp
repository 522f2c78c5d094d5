// SPDX-License-Identifier: MIT
// generate/batch_schedule.hpp - which of a batch engine's requests run, how many tokens of each are in the next pass, and in whose pages.
//
//   enqueue     a request waits, or is refused
//   plan_pass   what was cancelled ends; waiting requests get places and pages, first come, first served; the pass is a token for each request that
//               generates, and shares of prompts. If there are too few pages, the youngest request gives its own back and waits again, in front of the others
//   collect     requests that have ended leave the queues for next_finished
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
#include <optional>
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
      : capacity_(context), pool_(std::move(pages)), index_(std::move(prefixes)), options_(options), found_(pool_->pages_for(context)) {
    running_.reserve(options.max_sequences);
    planned_.reserve(options.max_sequences);
  }

  /// Returns how many positions a sequence may have.
  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
  [[nodiscard]] const std::shared_ptr<page_pool<Type>>& pool() const noexcept { return pool_; }
  /// Returns the clock of all sequences.
  [[nodiscard]] const work_clock& clock() const noexcept { return clock_; }
  [[nodiscard]] bool has_work() const noexcept { return !running_.empty() || !waiting_.empty(); }
  [[nodiscard]] std::span<const share> planned() const noexcept { return planned_; }

  [[nodiscard]] batch_statistics statistics() const noexcept {
    batch_statistics s = counts_;
    s.n_running = running_.size();
    s.n_waiting = waiting_.size();
    s.pages = pool_->statistics();
    s.n_indexed_pages = index_.size();
    return s;
  }

  /// Adds a request behind all others and returns its number. With when_full::refuse it is refused unless it can start at the next step.
  [[nodiscard]] result<batch_id> enqueue(batch_request<Type, Sampler> request) {
    auto one = std::make_unique<sequence>(next_id_, std::move(request), clock_);
    if (is_closed_) return error{errc::bad_argument, "batch_engine", "is being destroyed"};
    if (options_.when_full == when_full::refuse) {
      if (running_.size() + waiting_.size() >= options_.max_sequences) {
        return error{errc::context_full, "sequences", std::to_string(options_.max_sequences) + " are running"};
      }
      std::size_t wanted = pages_to_start(*one, 0);
      for (const auto& other : waiting_) wanted += pages_to_start(*other, 0);
      for (const auto& other : running_) wanted += pages_ahead(*other);
      const bool is_alone = running_.empty() && waiting_.empty();
      if (!is_alone && !can_have_room(wanted)) return error{errc::context_full, "pages", "the cache is full"};
    } else if (n_without_place() >= options_.max_waiting) {
      return error{errc::limit_exceeded, "max_waiting", std::to_string(n_without_place()) + " requests are waiting"};
    }
    waiting_.push_back(std::move(one));
    return next_id_++;
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
      else if (one.tokens().size() > capacity_) one.end(finish_reason::context_full);
    };
    // By index: a callback may add requests meanwhile.
    for (std::size_t i = 0; i < running_.size(); ++i) end(*running_[i]);
    for (std::size_t i = 0; i < waiting_.size(); ++i) end(*waiting_[i]);
    collect();
  }

  /// Decides the next pass, planned(), and makes sure that there are pages for it.
  void plan_pass() {
    end_cancelled();
    admit();
    collect();   // requests whose sampler threw when it was told the prompt
    plan();
  }

  /// Counts a call of add().
  void note_request(bool is_added) noexcept { ++(is_added ? counts_.n_added : counts_.n_refused); }
  void note_pass() noexcept { ++counts_.n_passes; }
  void note_busy(double seconds) noexcept { counts_.busy_seconds += seconds; }

  /// Notes that n more tokens of a sequence are in its cache.
  void note_evaluated(sequence& one, std::size_t n) noexcept {
    counts_.n_evaluated_tokens += n;
    const std::size_t after = one.cache().length(), before = after - n;
    if (after <= one.n_prompt() && after / options_.page_size > before / options_.page_size) remember(one);
  }

  /// Lets a sequence choose its next token.
  void advance(sequence& one, std::span<const float> logits) {
    const std::size_t before = one.n_generated();
    one.advance(logits);
    const std::size_t n = one.n_generated();
    counts_.n_generated_tokens += n - before;
    if (before == 0 && n == 1) {
      ++counts_.n_first_tokens;
      counts_.first_token_seconds += one.first_token_seconds();
    }
  }

  /// Moves requests that have ended to where next_finished takes them from.
  void collect() {
    const auto leave = [this](auto& list) {
      for (std::size_t i = 0; i < list.size();) {
        if (!list[i]->is_done()) {
          ++i;
          continue;
        }
        finished_.push_back({list[i]->id(), error{}});   // first, since it may throw: then the request is still as it was
        remember(*list[i]);
        batch_result& ended = finished_.back();
        ended.outcome = list[i]->finish();
        if (ended.outcome) ++counts_.n_finished[static_cast<std::size_t>(ended.outcome->reason)];
        else ++counts_.n_failed;
        const std::unique_ptr<sequence> gone = std::move(list[i]);   // destroyed once the list is consistent: its callback's destructor may call the engine
        list.erase(list.begin() + static_cast<std::ptrdiff_t>(i));
      }
    };
    leave(running_);
    leave(waiting_);
  }

  /// Returns the next request that has ended, in the order in which they ended, and forgets it; nothing if there is none.
  [[nodiscard]] std::optional<batch_result> next_finished() {
    if (finished_.empty()) return std::nullopt;
    std::optional<batch_result> out(std::move(finished_.front()));
    finished_.pop_front();
    return out;
  }

  /// Frees the pages that are kept for later prompts.
  void forget_prefixes() noexcept { index_.clear(); }

  /// Destroys all requests and refuses new ones. The destructors of their callbacks may still look for other requests.
  void close() noexcept {
    is_closed_ = true;
    while (!running_.empty()) {
      const std::unique_ptr<sequence> gone = std::move(running_.back());
      running_.pop_back();
    }
    while (!waiting_.empty()) {
      const std::unique_ptr<sequence> gone = std::move(waiting_.back());
      waiting_.pop_back();
    }
  }

 private:
  /// Gives places and pages to waiting requests, in their order.
  void admit() {
    while (!waiting_.empty() && running_.size() < options_.max_sequences) {
      if (!give_pages(*waiting_.front())) return;
      running_.push_back(std::move(waiting_.front()));
      waiting_.pop_front();
    }
  }

  /// Shares out the next pass until there are pages for it.
  void plan() {
    for (;;) {
      share_out();
      std::size_t n_pages = 0;
      for (const share& s : planned_) n_pages += s.one->cache().pages_needed(s.n_tokens);
      if (index_.make_room(n_pages) && index_.make_windowed_room(n_pages)) return;
      if (running_.size() > 1) {
        preempt();
      } else if (index_.size() > 0) {
        index_.clear();   // the only other owner of the sequence's pages: now none of them needs a copy before it is written
      } else {
        running_.front()->fail({errc::context_full, "pages"});
        planned_.clear();
        return;
      }
    }
  }

  [[nodiscard]] sequence* find(batch_id id) noexcept {
    for (const auto& one : running_) if (one->id() == id) return one.get();
    for (const auto& one : waiting_) if (one->id() == id) return one.get();
    return nullptr;
  }

  /// Returns how many wait for a place that is not free; all wait for the next step.
  [[nodiscard]] std::size_t n_without_place() const noexcept {
    const std::size_t n_free = options_.max_sequences - running_.size();
    return waiting_.size() - std::min(waiting_.size(), n_free);
  }

  [[nodiscard]] static bool is_prompt(const sequence& one) noexcept { return one.pending().size() > 1; }

  /// Returns how many pages a request needs for its tokens and the next one, apart from `n_shared` positions in pages of others.
  [[nodiscard]] std::size_t pages_to_start(const sequence& one, std::size_t n_shared) const noexcept {
    return pool_->pages_for(std::min(one.tokens().size() + 1, capacity_)) - n_shared / options_.page_size;
  }

  /// Returns how many more pages a running sequence needs for the rest of its tokens, plus one so that its next tokens need not preempt anyone.
  [[nodiscard]] std::size_t pages_ahead(const sequence& one) const noexcept {
    const std::size_t held = one.cache().pages().size();
    return std::max(pages_to_start(one, 0), std::min(held + 1, pool_->pages_for(capacity_))) - held;
  }

  /// Returns whether that many pages are free, or kept only for later prompts. Frees none of them.
  [[nodiscard]] bool can_have_room(std::size_t n_pages) const noexcept { return pool_->n_free() + index_.n_spare() >= n_pages; }

  void remember(const sequence& one) noexcept {
    if (options_.shares_prefixes) index_.insert(one.tokens().first(one.cache().length()), one.cache().pages(), one.adapter_key());
  }

  /// Shares pages of others that hold the beginning of the sequence's tokens, except the last token, whose logits must be computed. Returns the cache's length.
  std::size_t take_shared(sequence& one) noexcept {
    if (!options_.shares_prefixes) return one.cache().length();
    const std::size_t n = index_.find(one.tokens().first(one.tokens().size() - 1), found_, one.adapter_key());
    if (n > one.cache().length()) one.cache().share(std::span(found_).first(pool_->pages_for(n)), n);
    return one.cache().length();
  }

  /// Prepares a waiting request for running. Returns whether there are pages for it.
  [[nodiscard]] bool give_pages(sequence& one) {
    const std::size_t n_shared = take_shared(one);
    std::size_t wanted = pages_to_start(one, n_shared);
    for (const auto& other : running_) wanted += pages_ahead(*other);
    if (!running_.empty() && !(can_have_room(wanted) && index_.make_room(wanted))) {
      one.cache().truncate(0);
      return false;
    }
    follow(one);
    if (one.start(n_shared)) {
      counts_.n_prompt_tokens += one.n_prompt();
      counts_.n_reused_tokens += n_shared;
    }
    return true;
  }

  /// Finds the running sequence that will have the longest common beginning of prompts, to wait for its pages.
  void follow(sequence& one) noexcept {
    one.follow_none();
    std::size_t longest = one.cache().length();
    if (!options_.shares_prefixes) return;
    const auto wanted = one.tokens().first(one.tokens().size() - 1);
    for (const auto& other : running_) {
      if (!is_prompt(*other) || other->adapter_key() != one.adapter_key()) continue;
      const auto prompt = other->tokens();
      const auto mismatch = std::mismatch(wanted.begin(), wanted.end(), prompt.begin(), prompt.end()).first;
      const std::size_t n = static_cast<std::size_t>(mismatch - wanted.begin()) / options_.page_size * options_.page_size;
      if (n <= longest) continue;
      longest = n;
      one.follow(other->id(), n);
    }
  }

  /// Returns whether a sequence still waits for the pages of its leader. When they are complete, it shares them.
  [[nodiscard]] bool follows(sequence& one) noexcept {
    if (!one.is_following()) return false;
    for (const auto& other : running_) {
      if (other->id() == one.leader() && other->cache().length() < one.n_left_to_leader()) return true;
    }
    one.follow_none();
    const std::size_t before = one.cache().length(), after = take_shared(one);
    if (one.n_generated() == 0) {
      one.note_reused(after - before);
      counts_.n_reused_tokens += after - before;
    }
    return false;
  }

  /// Fills planned_: a token for each request that generates; prompts share the rest of the pass equally.
  void share_out() {
    planned_.clear();
    std::size_t n_prompts = 0;
    for (const auto& one : running_) {
      const bool is_waiting = is_prompt(*one) && follows(*one);
      if (!is_waiting && is_prompt(*one)) ++n_prompts;
      if (!is_prompt(*one)) planned_.push_back({one.get(), 1});
    }
    const std::size_t room = std::max(options_.max_batch, options_.max_sequences) - planned_.size();
    std::size_t left = planned_.empty() ? std::min(room, options_.max_batch) : std::min(room, options_.prompt_share);
    for (const auto& one : running_) {
      if (left == 0 || n_prompts == 0) break;
      if (!is_prompt(*one) || one->is_following()) continue;
      const std::size_t n = std::min(one->pending().size(), std::max<std::size_t>(1, left / n_prompts));
      planned_.push_back({one.get(), n});
      left -= n;
      --n_prompts;
    }
  }

  /// Takes the pages of the youngest request. It starts over when there is room, and gets the same bits.
  void preempt() {
    waiting_.emplace_front();   // first, since it may throw
    waiting_.front() = std::move(running_.back());
    running_.pop_back();
    remember(*waiting_.front());
    waiting_.front()->cache().truncate(0);
    ++counts_.n_preempted;
  }

  std::size_t capacity_;
  std::shared_ptr<page_pool<Type>> pool_;
  prefix_index<Type> index_;
  batch_options options_;
  std::vector<std::unique_ptr<sequence>> running_;     // in the order of their start
  std::deque<std::unique_ptr<sequence>> waiting_;
  std::deque<batch_result> finished_;
  std::vector<share> planned_;
  std::vector<page_id> found_;
  batch_statistics counts_;
  work_clock clock_;
  batch_id next_id_ = 1;
  bool is_closed_ = false;
};

}  // namespace cria::inline v0_1_0::detail
