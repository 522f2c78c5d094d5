// SPDX-License-Identifier: MIT
// sampling/grammar/compiled_grammar.hpp - the tables that matching runs on: places with their byte steps and rule calls, without empty steps.
//
// Ensures   no rule calls itself before it takes a byte, from every place the end of its rule can be reached, and an empty rule is
//           skipped where it is called: so calls before a byte are a tree walk down, ends after a byte a walk up, and nothing matched is a dead end;
//           from every place that end can be reached with `need` frames on the stack, and not with fewer
// Errors    bad_value (left recursion, a root that matches nothing), limit_exceeded; `where` is line and column
// Threads   immutable
// Source    the order in which needs are found: D. Knuth, A Generalization of Dijkstra's Algorithm, 1977
#pragma once

#include <cria/core/random.hpp>
#include <cria/core/result.hpp>
#include <cria/core/utf8.hpp>
#include <cria/sampling/grammar/char_set.hpp>
#include <cria/sampling/grammar/limits.hpp>
#include <cria/sampling/grammar/rule_graph.hpp>
#include <cria/sampling/grammar/rules.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0::detail {

struct compiled_grammar {
  struct byte_step { std::uint32_t set, target; };
  struct rule_call { std::uint32_t rule, target; };
  static constexpr std::uint32_t never = std::numeric_limits<std::uint32_t>::max();
  struct place {
    std::uint32_t steps_begin = 0, steps_end = 0;
    std::uint32_t calls_begin = 0, calls_end = 0;
    bool is_end = false;      // the rule may end here
    bool has_way = false;     // some byte goes on from here
    std::uint32_t need = never;       // the fewest frames that reaching the end of the rule puts on the stack
    std::uint32_t way_need = never;   // the same where at least one byte is taken

    /// Returns whether a call that leads here leaves a frame to return to: one that ends its rule leaves none.
    [[nodiscard]] bool is_returned_to() const noexcept { return !is_end || has_way; }
  };
  struct rule {
    std::uint32_t start = 0;
    std::uint32_t rank = 0;       // above that of every rule that it calls before a byte
    std::uint32_t need = never;   // way_need of its start, as nothing is called for an empty text
    byte_set first = {};      // classes that it may begin with
  };
  static constexpr std::uint32_t accept = 0;   // the place behind the whole text

  std::vector<place> places;
  std::vector<byte_step> steps;
  std::vector<rule_call> calls;
  std::vector<rule> rules;
  std::vector<byte_set> sets;                       // of classes
  std::array<std::uint8_t, 256> class_of = {};      // bytes that no set parts
  std::size_t n_classes = 0;
  std::vector<std::uint32_t> by_rank;               // rules
  std::uint32_t root = 0;
  std::uint64_t fingerprint = 0;                    // of all of it
};

class grammar_compiler {
 public:
  grammar_compiler(const grammar_rules& rules, std::string_view text, const grammar_limits& limits) : rules_(rules), text_(text), limits_(limits) {}

  [[nodiscard]] result<compiled_grammar> compile() {
    CRIA_TRY(const rule_graph graph, rule_graph::build(rules_, limits_));
    graph_ = &graph;
    is_nullable_ = rules_that_end(false);
    CRIA_CHECK(rank_rules());
    is_productive_ = rules_that_end(true);
    if (!is_productive_[rules_.root]) return fail(errc::bad_value, rules_.root, "matches nothing: no text ever completes it");
    find_live_places();
    CRIA_CHECK(close_places());
    make_classes();
    find_first_sets();
    find_needs();
    out_.root = rules_.root;
    out_.fingerprint = fingerprint();
    return std::move(out_);
  }

 private:
  static constexpr std::uint32_t none = rule_graph::none, never = compiled_grammar::never;
  using edge_kind = rule_edge::kind;

  [[nodiscard]] std::string name_of(std::size_t rule) const {
    return rule < rules_.rules.size() && !rules_.rules[rule].name.empty() ? "\"" + printable(rules_.rules[rule].name) + "\"" : std::string();
  }
  [[nodiscard]] error fail(errc code, std::size_t rule, std::string_view what) const {
    const std::size_t at = rule < rules_.rules.size() ? rules_.rules[rule].offset : 0;
    const std::string name = name_of(rule);
    return {code, line_and_column(text_, at), "grammar: " + (name.empty() ? std::string("the group") : "rule " + name) + " " + std::string(what), at};
  }

  /// Returns for each rule whether its end can be reached from its start: with bytes or without. Linear: a call waits until its rule is known to end.
  [[nodiscard]] std::vector<char> rules_that_end(bool with_bytes) const {
    std::vector<char> ends(graph_->n_rules(), 0), is_reached(graph_->places().size(), 0);
    std::vector<std::vector<std::uint32_t>> waiting(graph_->n_rules());
    std::vector<std::uint32_t> open;
    const auto reach = [&](std::uint32_t place) {
      if (!std::exchange(is_reached[place], char{1})) open.push_back(place);
    };
    for (std::size_t r = 0; r < graph_->n_rules(); ++r) reach(graph_->start(r));
    while (!open.empty()) {
      const std::uint32_t at = open.back();
      open.pop_back();
      const std::uint32_t rule = graph_->places()[at].rule;
      if (graph_->places()[at].is_end && !std::exchange(ends[rule], char{1})) {
        for (const std::uint32_t place : std::exchange(waiting[rule], {})) reach(place);
      }
      graph_->for_each_edge(at, [&](const rule_edge& e) {
        if (e.what == edge_kind::nothing || (e.what == edge_kind::bytes && with_bytes) || (e.what == edge_kind::rule && ends[e.arg] != 0)) {
          reach(e.target);
        } else if (e.what == edge_kind::rule) {
          waiting[e.arg].push_back(e.target);
        }
      });
    }
    return ends;
  }

  /// Calls f(place) for the place and all that are reached from it by nothing but empty steps and empty rules.
  template <class F>
  void for_each_near(std::uint32_t from, F&& f) {
    if (mark_.size() != graph_->places().size()) mark_.assign(graph_->places().size(), 0);
    ++epoch_;
    near_.assign(1, from);
    mark_[from] = epoch_;
    for (std::size_t i = 0; i < near_.size(); ++i) {
      f(near_[i]);
      graph_->for_each_edge(near_[i], [&](const rule_edge& e) {
        const bool is_free = e.what == edge_kind::nothing || (e.what == edge_kind::rule && is_nullable_[e.arg] != 0);
        if (is_free && std::exchange(mark_[e.target], epoch_) != epoch_) near_.push_back(e.target);
      });
    }
  }

  /// Orders the rules by what they call before they take a byte; a rule that so calls itself is refused. Depth first, with a stack of its own.
  [[nodiscard]] result<void> rank_rules() {
    const std::size_t n = graph_->n_rules();
    std::vector<std::vector<std::uint32_t>> callees(n);
    for (std::size_t r = 0; r < n; ++r) {
      for_each_near(graph_->start(r), [&](std::uint32_t place) {
        graph_->for_each_edge(place, [&](const rule_edge& e) {
          if (e.what == edge_kind::rule) callees[r].push_back(e.arg);
        });
      });
      std::sort(callees[r].begin(), callees[r].end());
      callees[r].erase(std::unique(callees[r].begin(), callees[r].end()), callees[r].end());
    }
    enum : char { unseen, open, done };
    std::vector<char> state(n, unseen);
    out_.rules.resize(n);
    std::vector<std::pair<std::uint32_t, std::size_t>> path;   // a rule, and the callee to look at next
    std::uint32_t rank = 0;
    for (std::uint32_t r = 0; r < n; ++r) {
      if (state[r] == unseen) path.push_back({r, 0}), state[r] = open;
      while (!path.empty()) {
        const std::uint32_t at = path.back().first;
        if (path.back().second == callees[at].size()) {
          out_.rules[at].rank = rank++;
          state[at] = done;
          path.pop_back();
          continue;
        }
        const std::uint32_t next = callees[at][path.back().second++];
        if (state[next] == open) return left_recursion(path, next);
        if (state[next] == unseen) path.push_back({next, 0}), state[next] = open;
      }
    }
    return {};
  }

  [[nodiscard]] error left_recursion(const std::vector<std::pair<std::uint32_t, std::size_t>>& path, std::uint32_t again) const {
    constexpr std::size_t longest = 8;
    const auto first = std::find_if(path.begin(), path.end(), [&](const auto& p) { return p.first == again; });
    std::string chain;
    std::size_t named = none, n_shown = 0;
    for (auto p = first; p != path.end(); ++p) {
      if (name_of(p->first).empty()) continue;
      if (named == none) named = p->first;
      if (n_shown++ < longest) chain += (chain.empty() ? "" : " -> ") + name_of(p->first);
    }
    if (n_shown > longest) chain += " -> ...";
    if (named == none) named = again;
    return fail(errc::bad_value, named, "begins with itself (left recursion" + (chain.empty() ? "" : ": " + chain + " -> " + name_of(named)) +
                                            "): put a symbol first, or repeat with *");
  }

  [[nodiscard]] bool is_usable(const rule_edge& e) const noexcept { return e.what != edge_kind::rule || is_productive_[e.arg] != 0; }

  /// Finds the places from which the end of their rule can be reached: walks back from the ends.
  void find_live_places() {
    const auto& places = graph_->places();
    const auto& edges = graph_->edges();
    std::vector<std::uint32_t> first_in(places.size(), none), next_in(edges.size(), none), source(edges.size(), 0), open;
    is_live_.assign(places.size(), 0);
    for (std::uint32_t p = 0; p < places.size(); ++p) {
      for (std::uint32_t e = places[p].first_edge; e != none; e = edges[e].next) {
        source[e] = p;
        if (is_usable(edges[e])) next_in[e] = std::exchange(first_in[edges[e].target], e);
      }
      if (places[p].is_end) is_live_[p] = 1, open.push_back(p);
    }
    while (!open.empty()) {
      const std::uint32_t at = open.back();
      open.pop_back();
      for (std::uint32_t e = first_in[at]; e != none; e = next_in[e]) {
        if (!std::exchange(is_live_[source[e]], char{1})) open.push_back(source[e]);
      }
    }
  }

  /// Makes the final places: those that a byte or a call leads to, and the starts, each with all its ways.
  [[nodiscard]] result<void> close_places() {
    std::vector<std::uint32_t> new_of(graph_->places().size(), none), order;
    const auto number = [&](std::uint32_t place) {
      if (new_of[place] == none) {
        order.push_back(place);
        new_of[place] = static_cast<std::uint32_t>(order.size());   // 0 is accept
      }
      return new_of[place];
    };
    out_.places.emplace_back();
    std::size_t n_seen = 0;
    for (std::size_t r = 0; r < graph_->n_rules(); ++r) out_.rules[r].start = number(graph_->start(r));
    for (std::size_t i = 0; i < order.size(); ++i) {
      compiled_grammar::place p;
      p.steps_begin = static_cast<std::uint32_t>(out_.steps.size());
      p.calls_begin = static_cast<std::uint32_t>(out_.calls.size());
      for_each_near(order[i], [&](std::uint32_t reached) {
        ++n_seen;
        p.is_end |= graph_->places()[reached].is_end;
        graph_->for_each_edge(reached, [&](const rule_edge& e) {
          if (is_live_[e.target] == 0 || !is_usable(e)) return;
          if (e.what == edge_kind::bytes) out_.steps.push_back({e.arg, number(e.target)});
          if (e.what == edge_kind::rule) out_.calls.push_back({e.arg, number(e.target)});
        });
      });
      p.steps_end = static_cast<std::uint32_t>(out_.steps.size());
      p.calls_end = static_cast<std::uint32_t>(out_.calls.size());
      out_.places.push_back(p);
      if (out_.steps.size() + out_.calls.size() > limits_.max_edges || n_seen > 8 * limits_.max_edges) {
        return fail(errc::limit_exceeded, graph_->places()[order[i]].rule, "has too many ways from its places: x{0,n} takes less than n times x?");
      }
    }
    return {};
  }

  /// Parts the bytes into classes that every set has whole or not at all, and turns the sets into sets of classes.
  void make_classes() {
    const auto& byte_sets = graph_->byte_sets();
    std::size_t n = 1;
    for (const byte_set& set : byte_sets) {
      std::array<std::array<int, 2>, 256> fresh;
      for (auto& pair : fresh) pair = {-1, -1};
      int next = 0;
      for (unsigned b = 0; b < 256; ++b) {
        int& id = fresh[out_.class_of[b]][has_byte(set, b) ? 1 : 0];
        if (id < 0) id = next++;
        out_.class_of[b] = static_cast<std::uint8_t>(id);
      }
      n = static_cast<std::size_t>(next);
      if (n == 256) break;
    }
    out_.n_classes = n;
    for (const byte_set& set : byte_sets) {
      byte_set classes{};
      for (unsigned b = 0; b < 256; ++b) {
        if (has_byte(set, b)) insert_bytes(classes, out_.class_of[b], out_.class_of[b]);
      }
      out_.sets.push_back(classes);
    }
  }

  void find_first_sets() {
    out_.by_rank.resize(out_.rules.size());
    for (std::uint32_t r = 0; r < out_.rules.size(); ++r) out_.by_rank[out_.rules[r].rank] = r;
    for (const std::uint32_t r : out_.by_rank) {
      compiled_grammar::rule& rule = out_.rules[r];
      const auto add = [&rule](const byte_set& set) {
        for (std::size_t i = 0; i < set.size(); ++i) rule.first[i] |= set[i];
      };
      const compiled_grammar::place& start = out_.places[rule.start];
      for (std::uint32_t i = start.steps_begin; i < start.steps_end; ++i) add(out_.sets[out_.steps[i].set]);
      for (std::uint32_t i = start.calls_begin; i < start.calls_end; ++i) add(out_.rules[out_.calls[i].rule].first);
    }
    for (compiled_grammar::place& p : out_.places) {
      p.has_way = p.steps_begin != p.steps_end;
      for (std::uint32_t i = p.calls_begin; i < p.calls_end; ++i) p.has_way |= out_.rules[out_.calls[i].rule].first != byte_set{};
    }
  }

  /// Finds the needs of all places, lowest first. A step needs what its target does; a call what its target does, or its rule and its frame if that is more.
  /// So no need is below those that it comes from, and the first one found for a place is the lowest. Linear: each way is taken once.
  void find_needs() {
    auto& places = out_.places;
    const std::size_t n_steps = out_.steps.size(), n_ways = n_steps + out_.calls.size();   // steps, then calls
    std::vector<std::uint32_t> source(n_ways), first_in(places.size(), none), next_in(n_ways), first_of(places.size(), none), next_of(out_.calls.size());
    for (std::uint32_t p = 0; p < places.size(); ++p) {
      const auto add = [&](std::size_t way, std::uint32_t target) {
        source[way] = p;
        next_in[way] = std::exchange(first_in[target], static_cast<std::uint32_t>(way));
      };
      for (std::uint32_t i = places[p].steps_begin; i < places[p].steps_end; ++i) add(i, out_.steps[i].target);
      for (std::uint32_t i = places[p].calls_begin; i < places[p].calls_end; ++i) {
        add(n_steps + i, out_.calls[i].target);
        next_of[i] = std::exchange(first_of[out_.rules[out_.calls[i].rule].start], i);
      }
    }
    std::vector<std::uint32_t> open, deeper;   // ways that need `level`, and one more
    std::uint32_t level = 0;
    const auto look_at_call = [&](std::uint32_t i) {
      const compiled_grammar::place& back = places[out_.calls[i].target];
      const std::uint32_t inside = places[out_.rules[out_.calls[i].rule].start].way_need;
      if (back.need == never || inside == never) return;   // comes again with the other
      (inside == level && back.is_returned_to() ? deeper : open).push_back(static_cast<std::uint32_t>(n_steps + i));
    };
    const auto set_need = [&](std::uint32_t p) {
      places[p].need = level;
      for (std::uint32_t way = first_in[p]; way != none; way = next_in[way]) {
        if (way < n_steps) open.push_back(way);
        else look_at_call(static_cast<std::uint32_t>(way - n_steps));
      }
    };
    for (std::uint32_t p = 0; p < places.size(); ++p) {
      if (places[p].is_end || p == compiled_grammar::accept) set_need(p);
    }
    for (; !open.empty(); ++level, open.swap(deeper)) {
      while (!open.empty()) {
        const std::uint32_t p = source[open.back()];
        open.pop_back();
        if (places[p].way_need != never) continue;
        places[p].way_need = level;
        for (std::uint32_t i = first_of[p]; i != none; i = next_of[i]) look_at_call(i);
        if (!places[p].is_end) set_need(p);
      }
    }
    for (compiled_grammar::rule& rule : out_.rules) rule.need = places[rule.start].way_need;
  }

  [[nodiscard]] std::uint64_t fingerprint() const noexcept {
    std::uint64_t hash = 0xcbf29ce484222325;
    const auto add = [&hash](std::uint64_t word) {
      hash ^= word;
      static_cast<void>(splitmix64(hash));
      hash = hash * 0x100000001b3 ^ hash >> 29;
    };
    for (const auto& p : out_.places) add(std::uint64_t{p.steps_end} << 32 | p.calls_end << 1 | (p.is_end ? 1 : 0));
    for (const auto& s : out_.steps) add(std::uint64_t{s.set} << 32 | s.target);
    for (const auto& c : out_.calls) add(std::uint64_t{c.rule} << 32 | c.target);
    for (const auto& r : out_.rules) add(r.start);
    for (const auto& set : out_.sets) {
      for (const std::uint64_t word : set) add(word);
    }
    for (const std::uint8_t c : out_.class_of) add(c);
    add(out_.root);
    return hash;
  }

  const grammar_rules& rules_;
  std::string_view text_;
  grammar_limits limits_;
  const rule_graph* graph_ = nullptr;
  std::vector<char> is_nullable_, is_productive_, is_live_;
  std::vector<std::uint32_t> mark_, near_;   // of for_each_near
  std::uint32_t epoch_ = 0;
  compiled_grammar out_;
};

}  // namespace cria::inline v0_1_0::detail
