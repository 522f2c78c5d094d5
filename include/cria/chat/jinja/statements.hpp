// SPDX-License-Identifier: MIT
// chat/jinja/statements.hpp - the part of the evaluator that executes statements: output, if, for, set, with, filter and call blocks.
//
// Ensures  behind a statement that failed none is executed
// Errors   kept in the runtime: bad_value where jinja2 raises; limit_exceeded
// Source   Jinja 3.1 template designer documentation, "List of Control Structures"; behaviour compared with jinja2 3.1.6
#pragma once

#include <cria/chat/jinja/expressions.hpp>

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>

namespace cria::inline v0_1_0::jinja {

inline void evaluator::start(const scope& variables, frame& f) {
  for (std::size_t i = 0; i < variables.slots.size(); ++i) {
    const slot_start& s = variables.slots[i];
    switch (s.from) {
      case slot_start::source::given: break;
      case slot_start::source::empty: f.slots[i] = value(); break;
      case slot_start::source::outer: f.slots[i] = at(*f.outer, s.outer); break;
      case slot_start::source::context: f.slots[i] = context_[s.name]; break;
    }
  }
}

inline void evaluator::assign_member(const target& to, const value& from, frame& f) {
  const value& holder = at(f, to.where);
  if (!holder.is(kind::name_space)) return void(rt_.fail("only a namespace has members that can be assigned to"));
  name_space& space = *holder.space;
  const std::span<pair> used = space.pairs.first(space.n);
  const pair* known = find_key(rt_, {used}, value(to.member));
  if (rt_.has_failed()) return;
  if (known != nullptr) return void(used[static_cast<std::size_t>(known - used.data())].mapped = from);
  if (space.n == space.pairs.size()) {
    const auto room = rt_.make_array<pair>(std::max<std::size_t>(4, 2 * space.n));
    if (rt_.has_failed()) return;
    std::copy(space.pairs.begin(), space.pairs.end(), room.begin());
    space.pairs = room;
  }
  space.pairs[space.n++] = {value(to.member), from};
}

inline void evaluator::assign(const target& to, const value& from, frame& f) {
  if (rt_.has_failed()) return;
  rt_.go_to(to.at);
  if (to.kind == target::form::name) return void(at(f, to.where) = from);
  if (to.kind == target::form::member) return assign_member(to, from, f);
  const auto values = iterate(rt_, from);
  if (rt_.has_failed()) return;
  if (values.size() != to.parts.size()) {
    return void(rt_.fail(std::to_string(values.size()) + " values cannot be assigned to " + std::to_string(to.parts.size()) + " names"));
  }
  for (std::size_t i = 0; i < values.size(); ++i) assign(*to.parts[i], values[i], f);
}

inline evaluator::flow evaluator::run_all(nodes body, frame& f, text_builder& out) {
  for (const node* n : body) {
    if (rt_.has_failed()) break;
    if (const flow next = execute(n, f, out); next != flow::next) return next;
  }
  return flow::next;
}

inline evaluator::flow evaluator::execute(const node* n, frame& f, text_builder& out) {
  const runtime::level guard(rt_);
  rt_.go_to(n->at);
  if (rt_.has_failed() || !rt_.charge(1)) return flow::next;
  switch (n->kind) {
    case node_kind::output: {
      const node* content = static_cast<const output_node*>(n)->content;
      append_str(rt_, out, evaluate(content, f));
      return flow::next;
    }
    case node_kind::set: {
      const auto& s = *static_cast<const set_node*>(n);
      assign(*s.to, evaluate(s.from, f), f);
      return flow::next;
    }
    case node_kind::macro: {
      const auto& m = *static_cast<const macro_node*>(n);
      at(f, m.where) = make_macro(&m, f);
      return flow::next;
    }
    case node_kind::call_block: execute_call_block(*static_cast<const call_block_node*>(n), f, out); return flow::next;
    case node_kind::set_block: return execute_set_block(*static_cast<const set_block_node*>(n), f);
    case node_kind::if_: return execute_if(*static_cast<const if_node*>(n), f, out);
    case node_kind::for_: return execute_for(*static_cast<const for_node*>(n), f, out);
    case node_kind::filter_block: return execute_filter_block(*static_cast<const filter_block_node*>(n), f, out);
    case node_kind::with: return execute_with(*static_cast<const with_node*>(n), f, out);
    case node_kind::jump: return static_cast<const jump_node*>(n)->is_break ? flow::stop_loop : flow::next_round;
    default: rt_.fail("an expression is no statement", errc::syntax); return flow::next;
  }
}

inline evaluator::flow evaluator::execute_if(const if_node& n, frame& f, text_builder& out) {
  for (const branch& b : n.branches) {
    if (b.condition == nullptr || is_true(evaluate(b.condition, f))) return run_all(b.body, f, out);
  }
  return flow::next;
}

inline bool evaluator::passes(evaluator& self, loop& l, const value& item) {
  self.assign(*l.node->condition_each, item, *l.condition_frame);
  return !self.rt_.has_failed() && is_true(self.evaluate(l.node->condition, *l.condition_frame));
}

inline evaluator::flow evaluator::execute_for(const for_node& n, frame& f, text_builder& out) {
  loop* l = rt_.make(loop{});
  l->node = &n;
  l->outer = &f;
  l->owner = this;
  const value over = evaluate(n.iterable, f);
  rt_.go_to(n.iterable->at);
  if (rt_.has_failed()) return flow::next;
  l->items = iterate(rt_, over);
  if (!n.is_recursive) return run_loop(*l, out);
  text_builder own;
  run_loop(*l, own);
  if (rt_.charge_bytes(own.size())) out.add(own.view());
  return flow::next;
}

inline evaluator::flow evaluator::run_loop(loop& l, text_builder& out) {
  const for_node& n = *l.node;
  if (n.condition != nullptr) {
    l.condition_frame = enter(n.condition_variables, l.outer);
    l.passes = &passes;
  }
  frame* inside = enter(n.variables, l.outer);
  bool was_finished = false;   // a round that break or continue ends does not count for else
  while (!rt_.has_failed() && advance(rt_, l)) {
    if (!rt_.charge(1 + n.variables->slots.size() / 4)) break;
    assign(*n.each, l.current, *inside);
    start(*n.variables, *inside);
    if (n.uses_loop) inside->slots[n.loop_slot] = value(&l);
    const flow next = run_all(n.body, *inside, out);
    if (next == flow::stop_loop) break;
    was_finished |= next == flow::next;
  }
  if (was_finished || n.otherwise.empty() || rt_.has_failed()) return flow::next;
  return run_all(n.otherwise, *enter(n.otherwise_variables, l.outer), out);
}

inline evaluator::flow evaluator::execute_set_block(const set_block_node& n, frame& f) {
  frame* inside = enter(n.variables, &f);
  text_builder own;
  if (const flow next = run_all(n.body, *inside, own); next != flow::next) return next;
  body_ = rt_.string(own);
  const value content = n.filter == nullptr ? body_ : evaluate(n.filter, *inside);
  assign(*n.to, content, f);
  return flow::next;
}

inline evaluator::flow evaluator::execute_filter_block(const filter_block_node& n, frame& f, text_builder& out) {
  frame* inside = enter(n.variables, &f);
  text_builder own;
  if (const flow next = run_all(n.body, *inside, own); next != flow::next) return next;
  body_ = rt_.string(own);
  append_str(rt_, out, evaluate(n.filter, *inside));
  return flow::next;
}

inline evaluator::flow evaluator::execute_with(const with_node& n, frame& f, text_builder& out) {
  frame* inside = enter(n.variables, &f);
  for (std::size_t i = 0; i < n.targets.size(); ++i) assign(*n.targets[i], evaluate(n.values[i], f), *inside);
  return run_all(n.body, *inside, out);
}

inline void evaluator::execute_call_block(const call_block_node& n, frame& f, text_builder& out) {
  const value body = make_macro(n.body, f);
  append_str(rt_, out, n.call != nullptr ? evaluate_call(*n.call, f, body) : call_macro(*body.function, {}));
}

}  // namespace cria::inline v0_1_0::jinja
