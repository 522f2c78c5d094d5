// SPDX-License-Identifier: MIT
// sampling/grammar/rule_graph.hpp - the rules as a graph of places: a step to the next place takes a byte, a whole rule, or nothing.
//
//   rule a ::= "x" b* "y"      start -x-> 1 -nothing-> 2 -b-> 2 -y-> 3 (end of the rule)
// Ensures   a place belongs to one rule; characters beyond ASCII are rules of their own, of bytes, shared by all classes that have them
// Errors    limit_exceeded
#pragma once

#include <cria/core/result.hpp>
#include <cria/sampling/grammar/char_set.hpp>
#include <cria/sampling/grammar/limits.hpp>
#include <cria/sampling/grammar/rules.hpp>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0::detail {

struct rule_edge {
  enum class kind : std::uint8_t { nothing, bytes, rule };
  kind what;
  std::uint32_t arg;       // in byte_sets or rules
  std::uint32_t target;    // place
  std::uint32_t next;      // edge of the same place
};

/// The places and edges of all rules.
class rule_graph {
 public:
  static constexpr std::uint32_t none = std::numeric_limits<std::uint32_t>::max();
  struct place {
    std::uint32_t first_edge = none;
    std::uint32_t rule = 0;
    bool is_end = false;
  };

  [[nodiscard]] static result<rule_graph> build(const grammar_rules& in, const grammar_limits& limits) {
    rule_graph g(in, limits);
    for (std::uint32_t r = 0; r < in.rules.size(); ++r) g.starts_.push_back(g.add_place(r));
    for (std::uint32_t r = 0; r < in.rules.size(); ++r) {
      for (const auto& alternative : in.rules[r].alternatives) {
        std::uint32_t at = g.add_place(r);
        g.add_edge(g.starts_[r], rule_edge::kind::nothing, 0, at);
        for (const grammar_item& item : alternative) {
          at = g.add_item(at, item);
          if (!g.fits()) return g.too_large(in.rules[r].name);
        }
        g.places_[at].is_end = true;
      }
      if (!g.fits()) return g.too_large(in.rules[r].name);
    }
    return g;
  }

  [[nodiscard]] std::size_t n_rules() const noexcept { return starts_.size(); }
  [[nodiscard]] std::uint32_t start(std::size_t rule) const noexcept { return starts_[rule]; }
  [[nodiscard]] const std::vector<place>& places() const noexcept { return places_; }
  [[nodiscard]] const std::vector<rule_edge>& edges() const noexcept { return edges_; }
  [[nodiscard]] const std::vector<byte_set>& byte_sets() const noexcept { return byte_sets_; }

  /// Calls f(edge) for each edge of a place.
  template <class F>
  void for_each_edge(std::uint32_t from, F&& f) const {
    for (std::uint32_t e = places_[from].first_edge; e != none; e = edges_[e].next) f(edges_[e]);
  }

 private:
  rule_graph(const grammar_rules& in, const grammar_limits& limits) : in_(&in), limits_(limits), parts_of_set_(in.sets.size()) {}

  [[nodiscard]] bool fits() const noexcept { return places_.size() <= limits_.max_positions && edges_.size() <= limits_.max_edges; }
  [[nodiscard]] error too_large(const std::string& name) const {
    return {errc::limit_exceeded, name.empty() ? "grammar" : "rule " + printable(name),
            "more than " + std::to_string(limits_.max_positions) + " places with all repetitions"};
  }

  std::uint32_t add_place(std::uint32_t rule) {
    places_.push_back({.rule = rule});
    return static_cast<std::uint32_t>(places_.size() - 1);
  }
  void add_edge(std::uint32_t from, rule_edge::kind what, std::uint32_t arg, std::uint32_t target) {
    edges_.push_back({what, arg, target, places_[from].first_edge});
    places_[from].first_edge = static_cast<std::uint32_t>(edges_.size() - 1);
  }

  /// Adds the symbol once, from one place to another.
  void add_symbol(std::uint32_t from, const grammar_item& item, std::uint32_t to) {
    if (item.is_rule) return add_edge(from, rule_edge::kind::rule, item.index, to);
    const set_parts parts = parts_of(item.index);
    if (parts.ascii != none) add_edge(from, rule_edge::kind::bytes, parts.ascii, to);
    if (parts.rest != none) add_edge(from, rule_edge::kind::rule, parts.rest, to);
  }

  /// Adds the symbol as often as it repeats; returns the place behind. Stops early where the graph grows too large.
  [[nodiscard]] std::uint32_t add_item(std::uint32_t at, const grammar_item& item) {
    const std::uint32_t rule = places_[at].rule;
    const auto step = [&] {
      const std::uint32_t next = add_place(rule);
      add_symbol(at, item, next);
      at = next;
    };
    for (std::uint32_t i = 0; i < item.min && fits(); ++i) step();
    if (item.max == grammar_item::no_end) {
      const std::uint32_t loop = add_place(rule);
      add_edge(at, rule_edge::kind::nothing, 0, loop);
      add_symbol(loop, item, loop);
      return loop;
    }
    if (item.max == item.min) return at;
    const std::uint32_t exit = add_place(rule);
    for (std::uint32_t i = item.min; i < item.max && fits(); ++i) {
      add_edge(at, rule_edge::kind::nothing, 0, exit);
      step();
    }
    add_edge(at, rule_edge::kind::nothing, 0, exit);
    return exit;
  }

  struct set_parts {
    std::uint32_t ascii = none;   // in byte_sets_
    std::uint32_t rest = none;    // a rule
    bool is_known = false;
  };

  [[nodiscard]] set_parts parts_of(std::uint32_t set) {
    set_parts& parts = parts_of_set_[set];
    if (parts.is_known) return parts;
    parts.is_known = true;
    byte_set ascii{};
    const char_set low = in_->sets[set].within(0, 0x7f), high = in_->sets[set].within(0x80, last_char);
    for (const char_range& r : low.ranges()) insert_bytes(ascii, r.first, r.last);
    if (!low.empty()) parts.ascii = byte_set_index(ascii);
    if (!high.empty()) parts.rest = utf8_rule(high);
    return parts;
  }

  [[nodiscard]] std::uint32_t byte_set_index(const byte_set& set) {
    const auto [at, is_new] = byte_set_index_.emplace(set, static_cast<std::uint32_t>(byte_sets_.size()));
    if (is_new) byte_sets_.push_back(set);
    return at->second;
  }

  /// Returns the rule of the byte sequences of characters beyond ASCII. Equal tails are one place.
  [[nodiscard]] std::uint32_t utf8_rule(const char_set& set) {
    const auto [known, is_new] = utf8_rules_.emplace(set, static_cast<std::uint32_t>(starts_.size()));
    if (!is_new) return known->second;
    const std::uint32_t rule = known->second, begin = add_place(rule);
    starts_.push_back(begin);
    std::map<std::vector<byte_range>, std::uint32_t> place_before;   // the place from which these bytes end the character
    const std::uint32_t end = add_place(rule);
    places_[end].is_end = true;
    place_before.emplace(std::vector<byte_range>{}, end);
    for (const char_range& range : set.ranges()) {
      for_each_utf8_sequence(range, [&](const byte_range* bytes, std::size_t length) {
        std::uint32_t next = end;
        const auto byte_edge = [&](std::uint32_t from, std::size_t i) {
          byte_set one{};
          insert_bytes(one, bytes[i].first, bytes[i].last);
          add_edge(from, rule_edge::kind::bytes, byte_set_index(one), next);
        };
        for (std::size_t i = length; i-- > 1;) {
          const auto [at, is_new_tail] = place_before.emplace(std::vector<byte_range>(bytes + i, bytes + length), none);
          if (is_new_tail) byte_edge(at->second = add_place(rule), i);
          next = at->second;
        }
        byte_edge(begin, 0);
      });
    }
    return rule;
  }

  const grammar_rules* in_;
  grammar_limits limits_;
  std::vector<place> places_;
  std::vector<rule_edge> edges_;
  std::vector<std::uint32_t> starts_;   // by rule: those of the text, then those of bytes
  std::vector<byte_set> byte_sets_;
  std::map<byte_set, std::uint32_t> byte_set_index_;
  std::map<char_set, std::uint32_t> utf8_rules_;
  std::vector<set_parts> parts_of_set_;
};

}  // namespace cria::inline v0_1_0::detail
