// SPDX-License-Identifier: MIT
// sampling/grammar/automaton.hpp - where a text stands in a grammar: sets of stacks of places, numbered, with the byte steps between them remembered.
//
//   state = list of (place, what returns to it: a state)      "a" inside x of root ::= x x:  (x after a, (root after x, (accept, -)))
// A list is sorted, has a place once, and equal lists have one number: so an ambiguous grammar makes no more states than an unambiguous one of
// its size would, and a step taken before is one load.
// Ensures   a state that is not `dead` can be completed by stacks of at most max_depth places: what needs more is cut off where it begins. Each entry
//           has depth(next) + need(place) <= max_depth + 1, also after uniting, as a union is as deep as the deeper one: so the way of least need is
//           never cut off. But where a shallow stack is united with a deep one, both have the room of the deep one only.
// Errors    none; `too_much` where a step would take more memory or work than allowed
// Threads   one at a time; copies are independent
// Source    the merged stacks: M. Tomita, Efficient Parsing for Natural Language, 1985 (graph-structured stack); states on demand as in RE2
#pragma once

#include <cria/sampling/grammar/compiled_grammar.hpp>
#include <cria/sampling/grammar/grammar.hpp>
#include <cria/sampling/grammar/limits.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0::detail {

class grammar_automaton {
 public:
  using state = std::uint32_t;
  static constexpr state dead = 0;
  static constexpr state too_much = std::numeric_limits<state>::max();

  grammar_automaton(cria::grammar g, const grammar_matcher_limits& limits)
      : grammar_(std::move(g)), limits_(limits), tail_at_(table().places.size()), tail_of_rank_(table().rules.size()) {
    clear();
  }

  [[nodiscard]] const compiled_grammar& table() const noexcept { return grammar_.compiled(); }
  [[nodiscard]] const cria::grammar& grammar() const noexcept { return grammar_; }
  [[nodiscard]] const grammar_matcher_limits& limits() const noexcept { return limits_; }

  /// Forgets all states.
  void clear() {
    entries_.clear();
    nodes_.assign(1, {});
    rows_.clear();
    united_.clear();
    table_.assign(256, 0);
    ++generation_;
  }

  /// Returns how often the states were forgotten: the same number of a state means the same within one generation only.
  [[nodiscard]] std::size_t generation() const noexcept { return generation_; }

  /// Returns the state before the first byte.
  [[nodiscard]] state start() {
    begin_step();
    const entry bottom{compiled_grammar::accept, dead};
    add_target(table().rules[table().root].start, intern({&bottom, 1}));
    return finish_step();
  }

  /// Returns the state after one more byte.
  [[nodiscard]] state step(state from, unsigned char byte) {
    const std::size_t n = table().n_classes, c = table().class_of[byte];
    if (nodes_[from].row == no_row) {
      if (bytes() > limits_.max_memory_bytes) return too_much;
      nodes_[from].row = static_cast<std::uint32_t>(rows_.size() / n);
      rows_.resize(rows_.size() + n, unknown);
    }
    const std::size_t at = nodes_[from].row * n + c;
    if (rows_[at] != unknown) return rows_[at];
    const state to = compute(from, static_cast<unsigned>(c));
    if (to != too_much) rows_[at] = to;
    return to;
  }

  /// Returns whether the text may end here.
  [[nodiscard]] bool accepts(state s) const noexcept { return nodes_[s].count != 0 && entries_[nodes_[s].begin].place == compiled_grammar::accept; }
  /// Returns whether some byte may follow.
  [[nodiscard]] bool goes_on(state s) const noexcept { return nodes_[s].count > (accepts(s) ? 1u : 0u); }

  /// Sets the work that steps may take from here on.
  void begin_work() noexcept {
    work_ = 0;
    is_cut_ = is_over_ = false;
  }
  [[nodiscard]] std::size_t work() const noexcept { return work_; }
  [[nodiscard]] bool is_out_of_work() const noexcept { return work_ > limits_.max_work; }
  /// Returns whether stacks were cut off since begin_work().
  [[nodiscard]] bool is_cut() const noexcept { return is_cut_; }

  [[nodiscard]] std::size_t bytes() const noexcept {
    constexpr std::size_t bytes_per_union = 48;
    return entries_.size() * sizeof(entry) + nodes_.size() * sizeof(node) + (rows_.size() + table_.size()) * sizeof(state) + united_.size() * bytes_per_union;
  }

  /// Writes a state as words that mean the same to every automaton of the grammar, and are the same whatever it has seen.
  void save(state s, std::vector<std::uint64_t>& out) const {
    struct visit {
      state at;
      std::uint32_t n_done;   // of its entries
    };
    std::vector<state> order;   // lists after those that they refer to, as the entries have them
    std::unordered_map<state, std::size_t> index;
    std::vector<visit> path{{s, 0}};
    while (!path.empty()) {
      visit& v = path.back();
      const auto entries = list(v.at);
      if (v.n_done == entries.size()) {
        index[v.at] = order.size();
        order.push_back(v.at);
        path.pop_back();
        continue;
      }
      const state next = entries[v.n_done++].next;
      if (!index.contains(next)) path.push_back({next, 0});
    }
    out.push_back(order.size());
    for (const state one : order) {
      out.push_back(nodes_[one].count);
      for (const entry& e : list(one)) out.push_back(std::uint64_t{e.place} << 32 | index[e.next]);
    }
  }

  /// Takes what save() wrote off the front of `in`; returns too_much for anything else.
  [[nodiscard]] state restore(std::span<const std::uint64_t>& in) {
    if (in.empty() || in[0] == 0 || in[0] > in.size()) return too_much;
    std::vector<state> made(static_cast<std::size_t>(in[0]), dead);
    in = in.subspan(1);
    std::vector<entry> entries;
    for (std::size_t i = 0; i < made.size(); ++i) {
      if (in.empty() || in[0] > in.size() - 1) return too_much;
      const auto count = static_cast<std::size_t>(in[0]);
      entries.clear();
      for (const std::uint64_t word : in.subspan(1, count)) {
        const entry e{static_cast<std::uint32_t>(word >> 32), static_cast<std::uint32_t>(word)};
        const bool is_first = entries.empty();
        if (e.place >= table().places.size() || e.next >= i || (!is_first && entries.back().place >= e.place)) return too_much;
        if (nodes_[made[e.next]].depth >= limits_.max_depth + 2 || table().places[e.place].need > room_on(made[e.next])) return too_much;
        if ((e.place == compiled_grammar::accept) != (made[e.next] == dead)) return too_much;
        entries.push_back({e.place, made[e.next]});
      }
      made[i] = intern(entries);
      in = in.subspan(count + 1);
    }
    return made.back() == dead ? too_much : made.back();
  }

 private:
  struct entry {
    std::uint32_t place;
    state next;   // the stacks under the place
    friend bool operator==(const entry&, const entry&) = default;
  };
  static constexpr std::uint32_t no_row = std::numeric_limits<std::uint32_t>::max();
  static constexpr state unknown = too_much;
  struct node {
    std::uint32_t begin = 0, count = 0;   // in entries_
    std::uint32_t depth = 0;
    std::uint32_t row = no_row;           // in rows_
  };
  /// A value of the step under way; others have an older epoch.
  struct marked {
    std::uint64_t epoch = 0;
    state value = dead;
  };

  [[nodiscard]] std::span<const entry> list(state s) const noexcept { return {entries_.data() + nodes_[s].begin, nodes_[s].count}; }

  /// Returns how many more frames fit on a stack: none is deeper than max_depth + 1, `accept` counted.
  [[nodiscard]] std::size_t room_on(state s) const noexcept { return limits_.max_depth + 1 - nodes_[s].depth; }

  [[nodiscard]] bool may_go_on() noexcept {
    if (!is_over_ && (work_ > limits_.max_work || bytes() > limits_.max_memory_bytes + limits_.max_memory_bytes / 4)) is_over_ = true;
    return !is_over_;
  }

  /// Returns the number of a list. Requires entries that are not in entries_.
  [[nodiscard]] state intern(std::span<const entry> entries) {
    if (entries.empty()) return dead;
    std::uint64_t hash = entries.size();
    for (const entry& e : entries) {
      hash ^= std::uint64_t{e.place} << 32 | e.next;
      hash = splitmix64(hash);
    }
    std::size_t slot = hash & (table_.size() - 1);
    for (; table_[slot] != dead; slot = (slot + 1) & (table_.size() - 1)) {
      const auto known = list(table_[slot]);
      if (std::equal(known.begin(), known.end(), entries.begin(), entries.end())) return table_[slot];
    }
    node made{static_cast<std::uint32_t>(entries_.size()), static_cast<std::uint32_t>(entries.size()), 0, no_row};
    for (const entry& e : entries) made.depth = std::max(made.depth, nodes_[e.next].depth + 1);
    entries_.insert(entries_.end(), entries.begin(), entries.end());
    nodes_.push_back(made);
    const auto number = static_cast<state>(nodes_.size() - 1);
    table_[slot] = number;
    if (nodes_.size() * 2 > table_.size()) grow_table();
    work_ += entries.size() + 1;
    return number;
  }

  void grow_table() {
    std::vector<state> larger(table_.size() * 2, dead);
    for (const state s : table_) {
      if (s == dead) continue;
      std::uint64_t hash = nodes_[s].count;
      for (const entry& e : list(s)) {
        hash ^= std::uint64_t{e.place} << 32 | e.next;
        hash = splitmix64(hash);
      }
      std::size_t slot = hash & (larger.size() - 1);
      while (larger[slot] != dead) slot = (slot + 1) & (larger.size() - 1);
      larger[slot] = s;
    }
    table_ = std::move(larger);
  }

  /// Returns the list of the stacks of both. Recursion is as deep as the stacks: max_depth.
  [[nodiscard]] state unite(state a, state b) {
    if (a == b || b == dead) return a;
    if (a == dead) return b;
    if (a > b) std::swap(a, b);
    ++work_;
    if (!may_go_on()) return a;
    const std::uint64_t key = std::uint64_t{a} << 32 | b;
    if (const auto known = united_.find(key); known != united_.end()) return known->second;
    std::vector<entry> merged;
    merged.reserve(nodes_[a].count + nodes_[b].count);
    for (std::size_t i = 0, j = 0; i < nodes_[a].count || j < nodes_[b].count;) {
      const bool has_a = i < nodes_[a].count, has_b = j < nodes_[b].count;
      const entry ea = has_a ? list(a)[i] : entry{}, eb = has_b ? list(b)[j] : entry{};
      const bool takes_a = has_a && (!has_b || ea.place <= eb.place), takes_b = has_b && (!has_a || eb.place <= ea.place);
      merged.push_back({takes_a ? ea.place : eb.place, takes_a && takes_b ? unite(ea.next, eb.next) : takes_a ? ea.next : eb.next});
      i += takes_a;
      j += takes_b;
    }
    const state both = intern(merged);
    if (!is_over_) united_.emplace(key, both);
    return both;
  }

  void begin_step() noexcept {
    ++epoch_;
    targets_.clear();
    ending_.clear();
    open_ranks_.clear();
  }

  void add_target(std::uint32_t place, state tail) {
    ++work_;
    marked& at = tail_at_[place];
    if (at.epoch != epoch_) {
      at = {epoch_, tail};
      targets_.push_back(place);
    } else {
      const state both = unite(at.value, tail);
      if (both == at.value) return;
      at.value = both;
    }
    if (table().places[place].is_end) ending_.push_back(place);
  }

  /// Calls a rule, to return to `target` with `tail` under it, unless there is no room to end the rule and what is behind it.
  void enter(std::uint32_t rule, std::uint32_t target, state tail) {
    const compiled_grammar::place& back = table().places[target];
    const std::size_t room = room_on(tail), n_frames = back.is_returned_to() ? 1 : 0;
    if (table().rules[rule].need + n_frames > room || back.need > room) {
      is_cut_ = true;
      return;
    }
    if (n_frames != 0) {
      const entry frame{target, tail};
      tail = intern({&frame, 1});
    }
    const std::uint32_t rank = table().rules[rule].rank;
    marked& at = tail_of_rank_[rank];
    ++work_;
    if (at.epoch == epoch_) {
      at.value = unite(at.value, tail);
      return;
    }
    at = {epoch_, tail};
    open_ranks_.push_back(rank);
    std::push_heap(open_ranks_.begin(), open_ranks_.end());
  }

  void expand(std::uint32_t place, state tail, unsigned c) {
    const compiled_grammar& t = table();
    const compiled_grammar::place& p = t.places[place];
    const std::size_t room = room_on(tail);
    work_ += p.steps_end - p.steps_begin + p.calls_end - p.calls_begin + 1;
    for (std::uint32_t i = p.steps_begin; i < p.steps_end; ++i) {
      if (!has_byte(t.sets[t.steps[i].set], c)) continue;
      if (t.places[t.steps[i].target].need <= room) add_target(t.steps[i].target, tail);
      else is_cut_ = true;
    }
    for (std::uint32_t i = p.calls_begin; i < p.calls_end; ++i) {
      if (has_byte(t.rules[t.calls[i].rule].first, c)) enter(t.calls[i].rule, t.calls[i].target, tail);
    }
  }

  [[nodiscard]] state compute(state from, unsigned c) {
    begin_step();
    for (std::size_t i = 0; i < nodes_[from].count && may_go_on(); ++i) {
      const entry e = list(from)[i];
      expand(e.place, e.next, c);
    }
    // Callers have higher ranks: when a rule's turn comes, all that called it have been seen.
    while (!open_ranks_.empty() && may_go_on()) {
      std::pop_heap(open_ranks_.begin(), open_ranks_.end());
      const std::uint32_t rank = open_ranks_.back();
      open_ranks_.pop_back();
      expand(table().rules[table().by_rank[rank]].start, tail_of_rank_[rank].value, c);
    }
    return finish_step();
  }

  /// Returns from the rules that may end; then the targets are the new state.
  [[nodiscard]] state finish_step() {
    while (!ending_.empty() && may_go_on()) {
      const std::uint32_t place = ending_.back();
      ending_.pop_back();
      const state tail = tail_at_[place].value;
      for (std::size_t i = 0; i < nodes_[tail].count && may_go_on(); ++i) {
        const entry e = list(tail)[i];
        add_target(e.place, e.next);
      }
    }
    if (!may_go_on()) return too_much;
    std::sort(targets_.begin(), targets_.end());
    std::vector<entry>& entries = found_;
    entries.clear();
    for (const std::uint32_t place : targets_) {
      const state tail = tail_at_[place].value;
      if (place == compiled_grammar::accept || table().places[place].way_need <= room_on(tail)) entries.push_back({place, tail});
      else is_cut_ |= table().places[place].has_way;
    }
    return intern(entries);
  }

  cria::grammar grammar_;
  grammar_matcher_limits limits_;
  std::vector<entry> entries_;
  std::vector<node> nodes_;                          // [0] is dead, the empty list
  std::vector<state> table_;                         // of nodes by hash
  std::vector<state> rows_;                          // by class, for the nodes that are states
  std::unordered_map<std::uint64_t, state> united_;
  std::vector<marked> tail_at_, tail_of_rank_;       // of the step under way
  std::vector<std::uint32_t> targets_, ending_, open_ranks_;
  std::vector<entry> found_;
  std::uint64_t epoch_ = 0;
  std::size_t generation_ = 0, work_ = 0;
  bool is_cut_ = false, is_over_ = false;
};

}  // namespace cria::inline v0_1_0::detail
