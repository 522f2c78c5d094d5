// SPDX-License-Identifier: MIT
// chat/jinja/scopes.hpp - which variable each name means: decided once, as Jinja's compiler decides it, so that rendering only counts frames.
//
//   {% set x = 1 %}{% for i in list %}{{ x }}{% set x = 2 %}{% endfor %}{{ x }}     a loop's body has variables of its own, which begin as the
//                                                                                     outer ones are: 1 each time round, and 1 behind the loop
//
// A frame belongs to the template, a loop's body, condition and else, a macro, a call, set or filter block and a with; `if` has none. A name that is
// assigned anywhere in a frame is the frame's. It begins as the outer frame's variable of that name; where there is none, empty, or (assigned
// in a branch only) as the value that the caller of the template gave.
//
// Errors   limit_exceeded; syntax: assignments to `loop` inside a loop; filters and tests that do not exist, outside of `if` (inside, using them is the error)
// Source   the scoping of jinja2 3.1.6, as seen from its results and its module idtracking
#pragma once

#include <cria/chat/jinja/ast.hpp>
#include <cria/chat/jinja/tree_walk.hpp>
#include <cria/core/result.hpp>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0::jinja {

class scope_resolver {
 public:
  struct problem {
    std::uint32_t at = 0;
    std::string message;
    errc code = errc::syntax;
  };

  scope_resolver(std::span<const std::string_view> names, arena& memory) : names_(names), memory_(memory) {
    for (std::uint32_t id = 0; id < names.size(); ++id) {
      if (names[id] == "loop") loop_ = id;
      if (names[id] == "caller") caller_ = id;
      if (names[id] == "kwargs") kwargs_ = id;
      if (names[id] == "varargs") varargs_ = id;
    }
  }

  /// Fills in the places of all names below `body`; returns the template's variables.
  [[nodiscard]] scope* resolve_template(nodes body) {
    symbols root(nullptr);
    for (node* n : body) visit(n, root);
    resolve_all(body, root);
    return finish(root);
  }
  [[nodiscard]] const std::optional<problem>& failure() const noexcept { return failure_; }

 private:
  using source = slot_start::source;

  /// The names that one frame has seen. Copies, for the branches of an `if`, share the numbering of the slots.
  struct symbols {
    explicit symbols(symbols* outer) : parent(outer), numbering(std::make_shared<std::map<std::uint32_t, std::uint32_t>>()) {}

    [[nodiscard]] std::optional<place> find(std::uint32_t name) const {
      std::uint32_t hops = 0;
      for (const symbols* s = this; s != nullptr; s = s->parent, ++hops) {
        if (const auto slot = s->slots.find(name); slot != s->slots.end()) return place{hops, slot->second};
      }
      return std::nullopt;
    }
    std::uint32_t define(std::uint32_t name, slot_start start) {
      const auto slot = numbering->emplace(name, static_cast<std::uint32_t>(numbering->size())).first->second;
      slots[name] = slot;
      starts[slot] = start;
      return slot;
    }
    void load(std::uint32_t name) {
      if (!find(name)) define(name, {source::context, {}, name});
    }
    void store(std::uint32_t name) {
      stored.insert(name);
      if (slots.count(name) != 0) return;
      const auto outer = parent == nullptr ? std::nullopt : parent->find(name);
      define(name, outer ? slot_start{source::outer, *outer, name} : slot_start{source::empty, {}, name});
    }
    std::uint32_t declare(std::uint32_t name) {
      stored.insert(name);
      return define(name, {source::given, {}, name});
    }
    /// Takes over what the branches saw; what only branches assigned begins as it is outside.
    void merge(std::span<const symbols> branches) {
      std::set<std::uint32_t> assigned;
      for (const symbols& b : branches) assigned.insert(b.stored.begin(), b.stored.end());
      for (const std::uint32_t name : stored) assigned.erase(name);
      for (const symbols& b : branches) {
        for (const auto& [name, slot] : b.slots) slots[name] = slot;
        for (const auto& [slot, start] : b.starts) starts[slot] = start;
        stored.insert(b.stored.begin(), b.stored.end());
      }
      for (const std::uint32_t name : assigned) {
        const auto outer = parent == nullptr ? std::nullopt : parent->find(name);
        starts[slots[name]] = outer ? slot_start{source::outer, *outer, name} : slot_start{source::context, {}, name};
      }
    }

    symbols* parent;
    std::shared_ptr<std::map<std::uint32_t, std::uint32_t>> numbering;
    std::map<std::uint32_t, std::uint32_t> slots;        // name -> slot
    std::map<std::uint32_t, slot_start> starts;          // by slot
    std::set<std::uint32_t> stored;
  };

  [[nodiscard]] scope* finish(const symbols& s) {
    const auto slots = memory_.make_array<slot_start>(s.numbering->size());
    for (const auto& [slot, start] : s.starts) slots[slot] = start;
    return memory_.make<scope>(scope{slots});
  }
  void fail(std::uint32_t at, std::string message) {
    if (!failure_) failure_ = problem{at, std::move(message), errc::syntax};
  }

  // First pass over a frame: which names are its own. It stops where other frames begin.

  void visit(node* n, symbols& s) {
    switch (n->kind) {
      case node_kind::name: return s.load(static_cast<name_node*>(n)->name);
      case node_kind::if_: return visit_if(*static_cast<if_node*>(n), s);
      case node_kind::for_: return visit(static_cast<for_node*>(n)->iterable, s);
      case node_kind::macro: return s.store(static_cast<macro_node*>(n)->name);
      case node_kind::set:
        visit(static_cast<set_node*>(n)->from, s);
        return visit(static_cast<set_node*>(n)->to, s);
      case node_kind::set_block: return visit(static_cast<set_block_node*>(n)->to, s);
      case node_kind::call_block:
        if (auto* call = static_cast<call_block_node*>(n)->call) visit(call, s);
        return;
      case node_kind::filter_block: return visit(static_cast<filter_block_node*>(n)->filter, s);
      case node_kind::with:
        for (node* given : static_cast<with_node*>(n)->values) visit(given, s);
        return;
      default: return for_each_child(n, [&](node* child) { visit(child, s); }, [&](target* t) { visit(t, s); });
    }
  }
  void visit(target* t, symbols& s) {
    for_each_target(t, [&](target* part) { part->kind == target::form::member ? s.load(part->name) : s.store(part->name); });
  }
  void visit_if(const if_node& n, symbols& s) {
    visit(n.branches[0].condition, s);
    if (!may_copy(s, 3 + n.branches.size())) return;
    std::vector<symbols> branches(3, s);   // then, all elif, else
    for (node* child : n.branches[0].body) visit(child, branches[0]);
    for (const branch& b : n.branches.subspan(1)) {
      if (b.condition == nullptr) {
        for (node* child : b.body) visit(child, branches[2]);
        continue;
      }
      visit(b.condition, branches[1]);
      if (!may_copy(branches[1], 1)) return;
      symbols inside = branches[1];
      for (node* child : b.body) visit(child, inside);
      branches[1].merge({&inside, 1});
    }
    s.merge(branches);
  }
  /// Copying what is known for every branch must not take forever in a template of nothing but branches and names.
  bool may_copy(const symbols& s, std::size_t n) {
    constexpr std::size_t most = 200'000;
    n_copied_ += (s.slots.size() + 1) * n;
    if (n_copied_ > most && !failure_) failure_ = problem{0, "too many names and branches", errc::limit_exceeded};
    return !failure_;
  }
  void declare(target* t, symbols& s) {
    for_each_target(t, [&](target* part) { s.declare(part->name); });
  }

  // Second pass: every name gets its place, and inner frames are gone through.

  void resolve_all(nodes body, symbols& s) {
    for (node* n : body) resolve(n, s);
  }
  void resolve(node* n, symbols& s) {
    switch (n->kind) {
      case node_kind::name: return place_name(static_cast<name_node*>(n)->name, static_cast<name_node*>(n)->where, s);
      case node_kind::for_: return resolve_for(*static_cast<for_node*>(n), s);
      case node_kind::set: resolve(static_cast<set_node*>(n)->from, s); return resolve(static_cast<set_node*>(n)->to, s);
      case node_kind::set_block: return resolve_set_block(*static_cast<set_block_node*>(n), s);
      case node_kind::macro:
        place_name(static_cast<macro_node*>(n)->name, static_cast<macro_node*>(n)->where, s);
        return resolve_macro(*static_cast<macro_node*>(n), s);
      case node_kind::call_block:
        if (auto* call = static_cast<call_block_node*>(n)->call) resolve(call, s);
        return resolve_macro(*static_cast<call_block_node*>(n)->body, s);
      case node_kind::filter_block: return resolve_filter_block(*static_cast<filter_block_node*>(n), s);
      case node_kind::with: return resolve_with(*static_cast<with_node*>(n), s);
      case node_kind::if_: case node_kind::conditional: {
        const bool was_conditional = std::exchange(is_conditional_, true);
        for_each_child(n, [&](node* child) { resolve(child, s); }, [&](target* t) { resolve(t, s); });
        is_conditional_ = was_conditional;
        return;
      }
      case node_kind::filter: case node_kind::test: check_exists(*static_cast<filter_node*>(n)); break;
      default: break;
    }
    for_each_child(n, [&](node* child) { resolve(child, s); }, [&](target* t) { resolve(t, s); });
  }
  void check_exists(const filter_node& n) {
    if (n.native != nullptr || is_conditional_) return;
    fail(n.at, (n.kind == node_kind::filter ? "there is no filter '" : "there is no test '") + printable(n.name) + "'");
  }
  void place_name(std::uint32_t name, place& where, symbols& s) {
    if (!s.find(name)) s.load(name);
    where = *s.find(name);
  }
  void resolve(target* t, symbols& s) {
    for_each_target(t, [&](target* part) {
      if (n_loops_ > 0 && part->kind == target::form::name && names_[part->name] == "loop") fail(part->at, "cannot assign to 'loop' inside a loop");
      place_name(part->name, part->where, s);
    });
  }
  /// Resolves the body of a frame, to which no outer `if` counts.
  void resolve_inside(nodes body, symbols& s) {
    const bool was_conditional = std::exchange(is_conditional_, false);
    resolve_all(body, s);
    is_conditional_ = was_conditional;
  }

  void resolve_for(for_node& n, symbols& s) {
    resolve(n.iterable, s);
    ++n_loops_;
    symbols inside(&s), beside(&s), behind(&s);
    n.uses_loop = n.is_recursive || (loop_ && is_read(n.body, *loop_));
    if (n.uses_loop && loop_) n.loop_slot = inside.declare(*loop_);
    declare(n.each, inside);
    for (node* child : n.body) visit(child, inside);
    for (node* child : n.otherwise) visit(child, behind);
    if (n.condition != nullptr) {
      n.condition_each = copy(n.each);
      declare(n.condition_each, beside);
      visit(n.condition, beside);
      resolve(n.condition_each, beside);
      resolve_inside({&n.condition, 1}, beside);
      n.condition_variables = finish(beside);
    }
    resolve(n.each, inside);
    resolve_inside(n.body, inside);
    resolve_inside(n.otherwise, behind);
    n.variables = finish(inside);
    n.otherwise_variables = finish(behind);
    --n_loops_;
  }
  [[nodiscard]] bool is_read(nodes body, std::uint32_t name) {
    const bool is = loads_before_storing(body, name, n_looks_left_);
    if (n_looks_left_ == 0 && !failure_) failure_ = problem{0, "too many names in blocks inside each other", errc::limit_exceeded};
    return is;
  }
  [[nodiscard]] target* copy(const target* t) {
    target* out = memory_.make<target>(*t);
    const auto parts = memory_.make_array<target*>(t->parts.size());
    for (std::size_t i = 0; i < parts.size(); ++i) parts[i] = copy(t->parts[i]);
    out->parts = parts;
    return out;
  }

  void resolve_macro(macro_node& n, symbols& s) {
    symbols inside(&s);
    for (const parameter& p : n.parameters) inside.declare(p.name);
    for (const parameter& p : n.parameters) {
      if (p.otherwise != nullptr) visit(p.otherwise, inside);
    }
    for (node* child : n.body) visit(child, inside);
    const auto uses = [&](std::optional<std::uint32_t> name, std::uint32_t& slot) {
      if (!name || !is_read(n.body, *name)) return false;
      for (const parameter& p : n.parameters) {
        if (p.name != *name) continue;
        if (name == caller_ && p.otherwise == nullptr) fail(n.at, "the parameter 'caller' needs a default");
        return false;
      }
      slot = inside.declare(*name);
      return true;
    };
    n.uses_caller = uses(caller_, n.caller_slot);
    n.uses_kwargs = uses(kwargs_, n.kwargs_slot);
    n.uses_varargs = uses(varargs_, n.varargs_slot);
    const bool was_conditional = std::exchange(is_conditional_, false);
    for (parameter& p : n.parameters) {
      p.slot = inside.slots[p.name];
      if (p.otherwise != nullptr) resolve(p.otherwise, inside);
    }
    resolve_all(n.body, inside);
    is_conditional_ = was_conditional;
    n.variables = finish(inside);
  }

  void resolve_set_block(set_block_node& n, symbols& s) {
    symbols inside(&s);
    for (node* child : n.body) visit(child, inside);
    resolve_inside(n.body, inside);
    if (n.filter != nullptr) {
      node* filter = n.filter;
      resolve_inside({&filter, 1}, inside);
    }
    n.variables = finish(inside);
    resolve(n.to, s);
  }
  void resolve_filter_block(filter_block_node& n, symbols& s) {
    symbols inside(&s);
    for (node* child : n.body) visit(child, inside);
    visit(n.filter, inside);
    node* filter = n.filter;
    resolve_inside(n.body, inside);
    resolve_inside({&filter, 1}, inside);
    n.variables = finish(inside);
  }
  void resolve_with(with_node& n, symbols& s) {
    symbols inside(&s);
    for (node* given : n.values) resolve(given, s);
    for (target* t : n.targets) declare(t, inside);
    for (node* child : n.body) visit(child, inside);
    for (target* t : n.targets) for_each_target(t, [&](target* part) { place_name(part->name, part->where, inside); });
    resolve_inside(n.body, inside);
    n.variables = finish(inside);
  }

  std::span<const std::string_view> names_;
  arena& memory_;
  std::optional<problem> failure_;
  std::optional<std::uint32_t> loop_, caller_, kwargs_, varargs_;   // names that mean something
  std::size_t n_loops_ = 0, n_copied_ = 0, n_looks_left_ = 2'000'000;
  bool is_conditional_ = false;   // inside an if or a conditional expression of the same frame
};

}  // namespace cria::inline v0_1_0::jinja
