// SPDX-License-Identifier: MIT
// chat/jinja/evaluator.hpp - walks the tree of a template: gives expressions their values, and writes what statements write.
//
// The functions are declared here and defined in expressions.hpp (values, calls) and statements.hpp. A frame holds the variables of one scope; scopes.hpp has
// decided beforehand in which frame and slot each name is.
//
// Requires  a tree that scopes.hpp has been over, and the context in the order of its names
// Ensures   recursion is bounded by limits.max_depth, work by limits.max_steps; a failure ends everything at the next step
// Errors    kept in the runtime, where the caller looks after run(); until then functions return values that nobody uses
// Threads   one rendering each; the tree is only read
#pragma once

#include <cria/chat/jinja/library.hpp>

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace cria::inline v0_1_0::jinja {

/// Evaluates one template once.
class evaluator {
 public:
  /// `context` holds the value of each of the template's `names`, missing where the caller gave none.
  evaluator(runtime& rt, std::span<const std::string_view> names, std::span<const value> context) : rt_(rt), names_(names), context_(context) {}

  void run(nodes body, scope* variables, text_builder& out) {
    frame* f = enter(variables, nullptr);
    run_all(body, *f, out);
  }

 private:
  enum class flow : std::uint8_t { next, stop_loop, next_round };

  // Expressions.
  value evaluate(const node* n, frame& f);
  value evaluate_kind(const node* n, frame& f);
  value evaluate_name(const name_node& n, frame& f);
  value evaluate_sequence(const sequence_node& n, frame& f, kind type);
  value evaluate_dict(const dict_node& n, frame& f);
  value evaluate_item(const item_node& n, frame& f);
  value evaluate_filter(const filter_node& n, frame& f);
  value evaluate_unary(const unary_node& n, frame& f);
  value evaluate_binary(const binary_node& n, frame& f);
  value evaluate_logical(const binary_node& n, frame& f);
  value evaluate_compare(const compare_node& n, frame& f);
  bool holds(operation op, const value& left, const value& right);
  value evaluate_concat(const sequence_node& n, frame& f);
  value evaluate_conditional(const conditional_node& n, frame& f);

  // Calls.
  arguments evaluate_arguments(const call_arguments& given, frame& f, const value& caller);
  void spread_named(const value& from, std::vector<keyword>& named);
  value evaluate_call(const call_node& n, frame& f, const value& caller);
  value call(const value& callee, const arguments& given);
  value call_macro(const macro& m, const arguments& given);
  void bind(const macro_node& m, frame& inside, const arguments& given);
  value call_loop(loop& l, const arguments& given);

  // Statements.
  flow run_all(nodes body, frame& f, text_builder& out);
  flow execute(const node* n, frame& f, text_builder& out);
  flow execute_if(const if_node& n, frame& f, text_builder& out);
  flow execute_for(const for_node& n, frame& f, text_builder& out);
  flow run_loop(loop& l, text_builder& out);
  static bool passes(evaluator& self, loop& l, const value& item);
  flow execute_set_block(const set_block_node& n, frame& f);
  flow execute_filter_block(const filter_block_node& n, frame& f, text_builder& out);
  flow execute_with(const with_node& n, frame& f, text_builder& out);
  void execute_call_block(const call_block_node& n, frame& f, text_builder& out);
  value make_macro(const macro_node* definition, frame& f) { return rt_.make(macro{definition, &f}); }

  // Variables.
  static value& at(frame& f, place where) {
    frame* holder = &f;
    for (std::uint32_t i = 0; i < where.hops; ++i) holder = holder->outer;
    return holder->slots[where.slot];
  }
  frame* enter(scope* variables, frame* outer) {
    frame* f = rt_.make(frame{outer, rt_.make_fixed_array<value>(variables->slots.size())});
    start(*variables, *f);
    return f;
  }
  void start(const scope& variables, frame& f);
  void assign(const target& to, const value& from, frame& f);
  void assign_member(const target& to, const value& from, frame& f);

  runtime& rt_;
  std::span<const std::string_view> names_;
  std::span<const value> context_;
  value body_;   // of the filter or set block whose filter is being applied
};

}  // namespace cria::inline v0_1_0::jinja
