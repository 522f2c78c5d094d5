// SPDX-License-Identifier: MIT
// tokenizer/merge.hpp - the loop that both tokenizers share: join the best pair of neighbours until no pair joins.
//
// Units    positions and lengths in bytes of the text
// Requires at most merge_list::max_length bytes of text in one list
// Ensures  of all pairs that join, the one with the lowest order goes first, the leftmost of equals; O(n) calls of the rule, O(n log n) time
// Errors   none; std::bad_alloc passes through
// Threads  one list, one thread; keep it for the next text, its memory is used again
#pragma once

#include <cria/core/types.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

namespace cria::inline v0_1_0::detail {

/// A part of the text. A part that was joined to its left neighbour has length 0.
struct merge_part {
  std::uint32_t start, length;
  std::uint32_t previous, next;
  std::int32_t symbol;   ///< what the caller's rule knows it as
};

/// What two neighbours would become: the lower the order, the earlier they join.
struct merge_step {
  std::uint32_t order;
  std::int32_t symbol;
};

class merge_list {
 public:
  static constexpr std::size_t max_length = std::size_t{1} << 30;

  void clear() noexcept { parts_.clear(); }

  /// Adds a part to the right of the others.
  void push(std::size_t start, std::size_t length, std::int32_t symbol) {
    const auto index = static_cast<std::uint32_t>(parts_.size());
    if (index != 0) parts_.back().next = index;
    parts_.push_back({static_cast<std::uint32_t>(start), static_cast<std::uint32_t>(length), index - 1, none, symbol});
  }

  /// Joins parts until `rule` joins none. rule(left, right) returns std::optional<merge_step>. Lists of up to `scan_limit` parts are scanned for the
  /// best pair, longer ones keep their pairs in a heap: the same result, each at its faster size.
  template <class Rule>
  void run(Rule&& rule, std::size_t scan_limit = 24) {
    if (parts_.size() <= scan_limit) {
      run_scan(rule);
    } else {
      run_heap(rule);
    }
  }

  /// Calls `visit` with each part that is left, in order.
  template <class Visit>
  void for_each(Visit&& visit) const {
    for (std::uint32_t i = parts_.empty() ? none : 0; i != none; i = parts_[i].next) visit(parts_[i]);
  }

 private:
  static constexpr std::uint32_t none = ~std::uint32_t{0};

  struct queued {
    std::uint32_t order, left;
    std::uint32_t length;  // of the pair: it changes whenever one of the two does
    std::int32_t symbol;
    friend bool operator>(const queued& a, const queued& b) noexcept { return a.order != b.order ? a.order > b.order : a.left > b.left; }
  };

  /// Keeps the parts side by side, and for each the step with its right neighbour.
  template <class Rule>
  void run_scan(Rule& rule) {
    steps_.assign(parts_.size(), {});
    const auto look = [&](std::size_t i) { steps_[i] = i + 1 < parts_.size() ? rule(parts_[i], parts_[i + 1]) : std::nullopt; };
    for (std::size_t i = 0; i < parts_.size(); ++i) look(i);
    while (true) {
      std::size_t best = parts_.size();
      for (std::size_t i = 0; i < parts_.size(); ++i) {
        if (steps_[i] && (best == parts_.size() || steps_[i]->order < steps_[best]->order)) best = i;
      }
      if (best == parts_.size()) break;
      parts_[best].length += parts_[best + 1].length;
      parts_[best].symbol = steps_[best]->symbol;
      parts_.erase(parts_.begin() + static_cast<std::ptrdiff_t>(best) + 1);
      steps_.erase(steps_.begin() + static_cast<std::ptrdiff_t>(best) + 1);
      look(best);
      if (best != 0) look(best - 1);
    }
    for (std::uint32_t i = 0; i < parts_.size(); ++i) parts_[i].next = i + 1 < parts_.size() ? i + 1 : none;
  }

  template <class Rule>
  void run_heap(Rule& rule) {
    queue_.clear();
    for (std::uint32_t i = 0; i + 1 < parts_.size(); ++i) {
      if (const auto entry = candidate(i, rule)) queue_.push_back(*entry);
    }
    std::make_heap(queue_.begin(), queue_.end(), std::greater<>{});
    while (!queue_.empty()) {
      std::pop_heap(queue_.begin(), queue_.end(), std::greater<>{});
      const queued best = queue_.back();
      queue_.pop_back();
      if (!still_there(best)) continue;
      join(best);
      if (const std::uint32_t previous = parts_[best.left].previous; previous != none) offer(previous, rule);
      offer(best.left, rule);
    }
  }

  template <class Rule>
  [[nodiscard]] std::optional<queued> candidate(std::uint32_t left, Rule& rule) const {
    const merge_part& a = parts_[left];
    if (a.next == none) return std::nullopt;
    const merge_part& b = parts_[a.next];
    const std::optional<merge_step> step = rule(a, b);
    if (!step) return std::nullopt;
    return queued{step->order, left, a.length + b.length, step->symbol};
  }

  template <class Rule>
  void offer(std::uint32_t left, Rule& rule) {
    if (const auto entry = candidate(left, rule)) {
      queue_.push_back(*entry);
      std::push_heap(queue_.begin(), queue_.end(), std::greater<>{});
    }
  }

  [[nodiscard]] bool still_there(const queued& q) const noexcept {
    const merge_part& a = parts_[q.left];
    return a.length != 0 && a.next != none && a.length + parts_[a.next].length == q.length;
  }

  void join(const queued& q) noexcept {
    merge_part& a = parts_[q.left];
    merge_part& b = parts_[a.next];
    a.length = q.length;
    a.symbol = q.symbol;
    a.next = b.next;
    b.length = 0;
    if (a.next != none) parts_[a.next].previous = q.left;
  }

  std::vector<merge_part> parts_;
  std::vector<queued> queue_;
  std::vector<std::optional<merge_step>> steps_;
};

}  // namespace cria::inline v0_1_0::detail
