// SPDX-License-Identifier: MIT
// chat/jinja/expressions.hpp - the part of the evaluator that gives expressions their values, and calls macros, methods and functions.
//
// Ensures  operands are evaluated from left to right; the second of `and` and `or`, and the sides of `if`, only where their value is the result
// Errors   kept in the runtime: bad_value where jinja2 raises; limit_exceeded
// Source   Jinja 3.1 template designer documentation, "Expressions", "Macros"; behaviour compared with jinja2 3.1.6
#pragma once

#include <cria/chat/jinja/evaluator.hpp>

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cria::inline v0_1_0::jinja {

inline value evaluator::evaluate(const node* n, frame& f) {
  const runtime::level guard(rt_);
  rt_.go_to(n->at);
  if (rt_.has_failed() || !rt_.charge(1)) return value::none();
  return evaluate_kind(n, f);
}

inline value evaluator::evaluate_kind(const node* n, frame& f) {
  switch (n->kind) {
    case node_kind::constant: return static_cast<const constant_node*>(n)->content;
    case node_kind::name: return evaluate_name(*static_cast<const name_node*>(n), f);
    case node_kind::list: return evaluate_sequence(*static_cast<const sequence_node*>(n), f, kind::list);
    case node_kind::tuple: return evaluate_sequence(*static_cast<const sequence_node*>(n), f, kind::tuple);
    case node_kind::dict: return evaluate_dict(*static_cast<const dict_node*>(n), f);
    case node_kind::attribute: {
      const auto& a = *static_cast<const attribute_node*>(n);
      const value object = evaluate(a.object, f);
      rt_.go_to(n->at);
      return get_attribute(rt_, object, *a.name);
    }
    case node_kind::item: return evaluate_item(*static_cast<const item_node*>(n), f);
    case node_kind::call: return evaluate_call(*static_cast<const call_node*>(n), f, {});
    case node_kind::filter: case node_kind::test: return evaluate_filter(*static_cast<const filter_node*>(n), f);
    case node_kind::unary: return evaluate_unary(*static_cast<const unary_node*>(n), f);
    case node_kind::binary: return evaluate_binary(*static_cast<const binary_node*>(n), f);
    case node_kind::logical: return evaluate_logical(*static_cast<const binary_node*>(n), f);
    case node_kind::compare: return evaluate_compare(*static_cast<const compare_node*>(n), f);
    case node_kind::concat: return evaluate_concat(*static_cast<const sequence_node*>(n), f);
    case node_kind::conditional: return evaluate_conditional(*static_cast<const conditional_node*>(n), f);
    default: return rt_.fail("slices are only possible inside []", errc::syntax);
  }
}

inline value evaluator::evaluate_name(const name_node& n, frame& f) {
  const value& v = at(f, n.where);
  if (!v.is_missing()) return v;
  return rt_.make_undefined(value(), rt_.keep(text{names_[n.name], {}}));
}

inline value evaluator::evaluate_sequence(const sequence_node& n, frame& f, kind type) {
  const auto kept = rt_.make_fixed_array<value>(n.items.size());
  for (std::size_t i = 0; i < kept.size(); ++i) kept[i] = evaluate(n.items[i], f);
  return rt_.has_failed() ? value::none() : rt_.sequence_of(type, kept);
}

inline value evaluator::evaluate_dict(const dict_node& n, frame& f) {
  std::vector<pair> pairs;
  for (std::size_t i = 0; i < n.keys.size() && !rt_.has_failed(); ++i) {
    const value key = evaluate(n.keys[i], f), mapped = evaluate(n.values[i], f);
    if (!is_hashable(rt_, key)) return rt_.has_failed() ? value::none() : rt_.fail_type("no key can be a", key);
    if (!rt_.charge(1 + pairs.size() / 8)) break;
    pair* known = nullptr;
    for (pair& p : pairs) {
      if (equals(rt_, p.key, key)) known = &p;
    }
    if (known != nullptr) known->mapped = mapped;
    else pairs.push_back({key, mapped});
  }
  return rt_.has_failed() ? value::none() : rt_.make_dict(pairs);
}

inline value evaluator::evaluate_item(const item_node& n, frame& f) {
  const value object = evaluate(n.object, f);
  if (n.index->kind == node_kind::slice) {
    const auto& s = *static_cast<const slice_node*>(n.index);
    const auto bound = [&](const node* b) { return b == nullptr ? value::none() : evaluate(b, f); };
    const value start = bound(s.start), stop = bound(s.stop), step = bound(s.step);
    rt_.go_to(n.at);
    return get_slice(rt_, object, start, stop, step);
  }
  const value index = evaluate(n.index, f);
  rt_.go_to(n.at);
  return get_item(rt_, object, index);
}

inline value evaluator::evaluate_filter(const filter_node& n, frame& f) {
  const value object = n.object == nullptr ? body_ : evaluate(n.object, f);
  const arguments given = evaluate_arguments(n.given, f, {});
  rt_.go_to(n.at);
  if (n.native == nullptr) return rt_.fail(std::string(n.kind == node_kind::filter ? "there is no filter '" : "there is no test '") + printable(n.name) + "'");
  return call_builtin(rt_, *n.native, object, given);
}

inline value evaluator::evaluate_unary(const unary_node& n, frame& f) {
  const value v = evaluate(n.operand, f);
  rt_.go_to(n.at);
  return n.op == operation::not_ ? value(!is_true(v)) : rt_.has_failed() ? value::none() : negate(rt_, v, n.op);
}

inline value evaluator::evaluate_binary(const binary_node& n, frame& f) {
  const value left = evaluate(n.left, f), right = evaluate(n.right, f);
  rt_.go_to(n.at);
  return rt_.has_failed() ? value::none() : compute(rt_, n.op, left, right);
}

inline value evaluator::evaluate_logical(const binary_node& n, frame& f) {
  const value left = evaluate(n.left, f);
  return is_true(left) == (n.op == operation::or_) ? left : evaluate(n.right, f);
}

inline bool evaluator::holds(operation op, const value& left, const value& right) {
  switch (op) {
    case operation::equal: return equals(rt_, left, right);
    case operation::not_equal: return !equals(rt_, left, right);
    case operation::in: return contains(rt_, left, right);
    case operation::not_in: return !contains(rt_, left, right);
    default: return is_ordered(rt_, op, left, right);
  }
}
inline value evaluator::evaluate_compare(const compare_node& n, frame& f) {
  value left = evaluate(n.left, f);
  for (const comparison& c : n.rest) {
    const value right = evaluate(c.right, f);
    rt_.go_to(n.at);
    if (rt_.has_failed() || !holds(c.op, left, right)) return false;
    left = right;
  }
  return true;
}

inline value evaluator::evaluate_concat(const sequence_node& n, frame& f) {
  text_builder out;
  for (const node* part : n.items) append_str(rt_, out, evaluate(part, f));
  return rt_.has_failed() ? value::none() : rt_.string(out);
}

inline value evaluator::evaluate_conditional(const conditional_node& n, frame& f) {
  if (is_true(evaluate(n.condition, f))) return evaluate(n.then, f);
  if (n.otherwise != nullptr) return evaluate(n.otherwise, f);
  return rt_.make_undefined("the condition of an expression is false and there is no else");
}

// Calls.

inline void evaluator::spread_named(const value& from, std::vector<keyword>& named) {
  if (!from.is(kind::dict)) return void(from.is_undefined() ? rt_.fail_undefined(from) : rt_.fail_type("** needs a dict, not a", from));
  if (!rt_.charge(from.members->pairs.size() * (1 + named.size() / 8))) return;
  const std::size_t n = named.size();
  for (const pair& p : from.members->pairs) {
    if (!p.key.is_string()) return void(rt_.fail_type("** needs names, not a", p.key));
    for (std::size_t i = 0; i < n; ++i) {
      if (named[i].name == p.key.bytes()) rt_.fail("the argument '" + printable(named[i].name) + "' is given twice");
    }
    named.push_back({p.key.bytes(), p.mapped});
  }
}

inline arguments evaluator::evaluate_arguments(const call_arguments& given, frame& f, const value& caller) {
  std::span<value> positional = rt_.make_fixed_array<value>(given.positional.size());
  for (std::size_t i = 0; i < positional.size(); ++i) positional[i] = evaluate(given.positional[i], f);
  if (given.named.empty() && given.spread == nullptr && given.spread_named == nullptr && caller.is_missing()) return {positional, {}};
  std::vector<keyword> named;
  for (const named_argument& a : given.named) named.push_back({a.name, evaluate(a.given, f)});
  if (!caller.is_missing()) named.push_back({"caller", caller});
  if (given.spread != nullptr) {
    const value more = evaluate(given.spread, f);
    const auto values = iterate(rt_, more);
    std::vector<value> all(positional.begin(), positional.end());
    all.insert(all.end(), values.begin(), values.end());
    if (!rt_.charge(all.size())) return {};
    positional = rt_.copy(std::span<const value>(all));
  }
  if (given.spread_named != nullptr) spread_named(evaluate(given.spread_named, f), named);
  return {positional, rt_.copy(std::span<const keyword>(named))};
}

inline value evaluator::evaluate_call(const call_node& n, frame& f, const value& caller) {
  const value callee = evaluate(n.callee, f);
  const arguments given = evaluate_arguments(n.given, f, caller);
  rt_.go_to(n.at);
  return rt_.has_failed() ? value::none() : call(callee, given);
}

inline value evaluator::call(const value& callee, const arguments& given) {
  switch (callee.type) {
    case kind::undefined: return rt_.fail_undefined(callee);
    case kind::builtin: return call_builtin(rt_, *callee.native, value::none(), given);
    case kind::method: return call_builtin(rt_, *callee.bound->native, callee.bound->self, given);
    case kind::macro: return call_macro(*callee.function, given);
    case kind::loop: return call_loop(*callee.iteration, given);
    case kind::joiner:
      if (!given.positional.empty() || !given.named.empty()) return rt_.fail("a joiner takes no arguments");
      return std::exchange(callee.join->is_used, true) ? value(callee.join->separator) : rt_.string("");
    default: return rt_.fail_type("there is no calling of a", callee);
  }
}

inline value evaluator::call_macro(const macro& m, const arguments& given) {
  const macro_node& definition = *m.definition;
  frame* inside = enter(definition.variables, m.outer);
  bind(definition, *inside, given);
  for (const parameter& p : definition.parameters) {
    value& slot = inside->slots[p.slot];
    if (!slot.is_missing()) continue;
    if (p.otherwise != nullptr) slot = evaluate(p.otherwise, *inside);
    else slot = rt_.make_undefined("the parameter '" + printable(p.spelling) + "' was not provided");
  }
  text_builder out;
  run_all(definition.body, *inside, out);
  return rt_.has_failed() ? value::none() : rt_.string(out);
}

inline void evaluator::bind(const macro_node& m, frame& inside, const arguments& given) {
  const std::size_t n = m.parameters.size();
  if (!rt_.charge((n + 1) * (given.named.size() + 1) / 4)) return;
  std::vector<keyword> rest(given.named.begin(), given.named.end());
  const auto take = [&](std::string_view name) {
    for (auto k = rest.begin(); k != rest.end(); ++k) {
      if (k->name != name) continue;
      const value v = k->given;
      rest.erase(k);
      return v;
    }
    return value();
  };
  for (std::size_t i = 0; i < n; ++i) inside.slots[m.parameters[i].slot] = i < given.positional.size() ? given.positional[i] : take(m.parameters[i].spelling);
  const std::string name = m.spelling.empty() ? "the body of a call block" : "the macro '" + printable(m.spelling) + "'";
  if (m.uses_caller) {
    const value caller = take("caller");
    inside.slots[m.caller_slot] = caller.is_missing() ? rt_.make_undefined("there is no caller") : caller;
  }
  if (m.uses_kwargs) {
    std::vector<pair> pairs;
    for (const keyword& k : rest) pairs.push_back({rt_.string(k.name), k.given});
    inside.slots[m.kwargs_slot] = rt_.make_dict(pairs);
  } else if (!rest.empty()) {
    rt_.fail(name + " has no parameter '" + printable(rest.front().name) + "' to be given by name");
  }
  const auto more = given.positional.subspan(std::min(n, given.positional.size()));
  if (m.uses_varargs) inside.slots[m.varargs_slot] = rt_.make_sequence(kind::tuple, more);
  else if (!more.empty()) rt_.fail(name + " takes at most " + std::to_string(n) + " arguments");
}

inline value evaluator::call_loop(loop& l, const arguments& given) {
  if (!l.node->is_recursive) return rt_.fail("only a loop marked 'recursive' can be called");
  if (given.positional.size() != 1 || !given.named.empty()) return rt_.fail("a loop is called with what it shall go over");
  const runtime::level guard(rt_);
  loop inner;
  inner.node = l.node;
  inner.outer = l.outer;
  inner.owner = this;
  inner.depth0 = l.depth0 + 1;
  inner.items = iterate(rt_, given.positional[0]);
  if (rt_.has_failed()) return value::none();
  text_builder out;
  run_loop(*rt_.make(inner), out);
  return rt_.has_failed() ? value::none() : rt_.string(out);
}

}  // namespace cria::inline v0_1_0::jinja
