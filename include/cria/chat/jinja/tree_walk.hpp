// SPDX-License-Identifier: MIT
// chat/jinja/tree_walk.hpp - goes over what stands right below a node of the tree, for whoever has to see every part of a template (scopes.hpp).
//
// Ensures   each child is met once; every kind of node is in the switch, so that compilers tell whoever adds one
#pragma once

#include <cria/chat/jinja/ast.hpp>

#include <cstddef>
#include <cstdint>

namespace cria::inline v0_1_0::jinja {

/// Calls fn for each name or member that is assigned to.
template <class F>
void for_each_target(target* t, F&& fn) {
  if (t->kind != target::form::several) return void(fn(t));
  for (target* part : t->parts) for_each_target(part, fn);
}

/// Calls on_node for each expression and statement right below `n`, and on_target for what it assigns to.
template <class OnNode, class OnTarget>
void for_each_child(node* n, OnNode&& on_node, OnTarget&& on_target) {
  const auto one = [&](node* child) {
    if (child != nullptr) on_node(child);
  };
  const auto all = [&](nodes children) {
    for (node* child : children) on_node(child);
  };
  const auto given = [&](const call_arguments& a) {
    all(a.positional);
    for (const named_argument& named : a.named) on_node(named.given);
    one(a.spread);
    one(a.spread_named);
  };
  const auto inside_macro = [&](macro_node& m) {
    for (const parameter& p : m.parameters) one(p.otherwise);
    all(m.body);
  };
  switch (n->kind) {
    case node_kind::constant: case node_kind::name: case node_kind::jump: return;
    case node_kind::list: case node_kind::tuple: case node_kind::concat: return all(static_cast<sequence_node*>(n)->items);
    case node_kind::dict: { auto& d = *static_cast<dict_node*>(n); all(d.keys); return all(d.values); }
    case node_kind::attribute: return one(static_cast<attribute_node*>(n)->object);
    case node_kind::item: { auto& i = *static_cast<item_node*>(n); one(i.object); return one(i.index); }
    case node_kind::slice: { auto& s = *static_cast<slice_node*>(n); one(s.start); one(s.stop); return one(s.step); }
    case node_kind::call: { auto& c = *static_cast<call_node*>(n); one(c.callee); return given(c.given); }
    case node_kind::filter: case node_kind::test: { auto& f = *static_cast<filter_node*>(n); one(f.object); return given(f.given); }
    case node_kind::unary: return one(static_cast<unary_node*>(n)->operand);
    case node_kind::binary: case node_kind::logical: { auto& b = *static_cast<binary_node*>(n); one(b.left); return one(b.right); }
    case node_kind::compare: {
      auto& c = *static_cast<compare_node*>(n);
      one(c.left);
      for (const comparison& r : c.rest) one(r.right);
      return;
    }
    case node_kind::conditional: { auto& c = *static_cast<conditional_node*>(n); one(c.condition); one(c.then); return one(c.otherwise); }
    case node_kind::output: return one(static_cast<output_node*>(n)->content);
    case node_kind::set: { auto& s = *static_cast<set_node*>(n); on_target(s.to); return one(s.from); }
    case node_kind::set_block: { auto& s = *static_cast<set_block_node*>(n); on_target(s.to); one(s.filter); return all(s.body); }
    case node_kind::if_:
      for (const branch& b : static_cast<if_node*>(n)->branches) {
        one(b.condition);
        all(b.body);
      }
      return;
    case node_kind::for_: { auto& f = *static_cast<for_node*>(n); on_target(f.each); one(f.iterable); all(f.body); all(f.otherwise); return one(f.condition); }
    case node_kind::macro: return inside_macro(*static_cast<macro_node*>(n));
    case node_kind::call_block: { auto& c = *static_cast<call_block_node*>(n); one(c.call); return inside_macro(*c.body); }
    case node_kind::filter_block: { auto& f = *static_cast<filter_block_node*>(n); all(f.body); return one(f.filter); }
    case node_kind::with: {
      auto& w = *static_cast<with_node*>(n);
      for (target* t : w.targets) on_target(t);
      all(w.values);
      return all(w.body);
    }
  }
}

/// Returns whether a name is read somewhere in `body`, and not assigned to before that in the order of the text.
class first_use {
 public:
  /// `n_left` nodes may be looked at; at 0 the search gives up.
  first_use(std::uint32_t name, std::size_t& n_left) : n_left_(n_left), name_(name) {}

  void look(node* n) {
    if (is_decided_ || n_left_ == 0) return;
    --n_left_;
    if (n->kind == node_kind::name && static_cast<name_node*>(n)->name == name_) return decide(true);
    if (n->kind == node_kind::macro) look_at_parameters(*static_cast<macro_node*>(n));
    if (n->kind == node_kind::call_block) look_at_parameters(*static_cast<call_block_node*>(n)->body);
    for_each_child(n, [&](node* child) { look(child); }, [&](target* t) { for_each_target(t, [&](target* part) { look_at(*part); }); });
  }
  [[nodiscard]] bool is_read() const noexcept { return is_read_; }

 private:
  void decide(bool is_read) {
    if (!is_decided_) is_read_ = is_read;
    is_decided_ = true;
  }
  void look_at(const target& t) {
    if (t.kind == target::form::name && t.name == name_) decide(false);
  }
  void look_at_parameters(const macro_node& m) {
    for (const parameter& p : m.parameters) {
      if (p.name == name_) decide(false);
    }
  }

  std::size_t& n_left_;
  std::uint32_t name_;
  bool is_decided_ = false, is_read_ = false;
};

[[nodiscard]] inline bool loads_before_storing(nodes body, std::uint32_t name, std::size_t& n_left) {
  first_use use(name, n_left);
  for (node* n : body) use.look(n);
  return use.is_read();
}

}  // namespace cria::inline v0_1_0::jinja
