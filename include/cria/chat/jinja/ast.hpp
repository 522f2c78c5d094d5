// SPDX-License-Identifier: MIT
// chat/jinja/ast.hpp - a parsed template: expressions and statements as a tree that is never changed again.
//
// Ensures   nodes live in the arena of their template; `depth` counts the levels below a node, so that evaluation can be bounded beforehand
// Lifetime  the template's
#pragma once

#include <cria/chat/jinja/value.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace cria::inline v0_1_0::jinja {

/// What a node is, and so which of the structs below.
enum class node_kind : std::uint8_t {
  // expressions
  constant, name, list, tuple, dict, attribute, item, slice, call, filter, test, unary, binary, logical, compare, concat, conditional,
  // statements
  output, set, set_block, if_, for_, macro, call_block, filter_block, with, jump,
};

/// The beginning of every part of the tree. `kind` says which of the structs below it is. Nodes own nothing, and live as long as their arena.
struct node {
  node_kind kind = node_kind::constant;
  std::uint16_t depth = 1;   ///< levels of nodes, this one's included
  std::uint32_t at = 0;      ///< byte of the source
};
using nodes = std::span<node* const>;

/// Where a variable is at run time: so many frames out, that slot.
struct place {
  std::uint32_t hops = 0, slot = 0;
};

/// How a slot begins when its frame is entered.
struct slot_start {
  enum class source : std::uint8_t { empty, given, outer, context };
  source from = source::empty;
  place outer;
  std::uint32_t name = 0;   ///< context: index into the template's names
};

/// The variables of a loop body, macro, block or the whole template.
struct scope {
  std::span<const slot_start> slots;
};

// ---- expressions ----

struct constant_node : node { value content; };
struct name_node : node { std::uint32_t name = 0; place where; };
struct sequence_node : node { nodes items; };                                              // list, tuple
struct dict_node : node { nodes keys, values; };
struct attribute_node : node { node* object = nullptr; const text* name = nullptr; };
struct item_node : node { node* object = nullptr; node* index = nullptr; };
struct slice_node : node { node* start = nullptr; node* stop = nullptr; node* step = nullptr; };   // nullptr: left out

/// name=given in a call.
struct named_argument {
  std::string_view name;
  node* given = nullptr;
};
/// What stands in the parentheses of a call.
struct call_arguments {
  nodes positional;
  std::span<const named_argument> named;
  node* spread = nullptr;         // *x
  node* spread_named = nullptr;   // **x
};
struct call_node : node { node* callee = nullptr; call_arguments given; };
/// A filter or a test. Without `native` the name is unknown, which is an error once it is used.
struct filter_node : node {
  node* object = nullptr;   // nullptr: the body of a filter or set block
  std::string_view name;
  const builtin* native = nullptr;
  call_arguments given;
};

/// The operators. negate, plus and not_ have one operand.
enum class operation : std::uint8_t {
  add, subtract, multiply, divide, floor_divide, modulo, power,
  equal, not_equal, less, less_equal, greater, greater_equal, in, not_in,
  negate, plus, not_, and_, or_
};
struct unary_node : node { operation op{}; node* operand = nullptr; };
struct binary_node : node { operation op{}; node* left = nullptr; node* right = nullptr; };   // binary, logical
/// One step of a chain of comparisons: a < b <= c has two.
struct comparison {
  operation op{};
  node* right = nullptr;
};
struct compare_node : node { node* left = nullptr; std::span<const comparison> rest; };
struct conditional_node : node { node* condition = nullptr; node* then = nullptr; node* otherwise = nullptr; };   // otherwise may be absent

/// What is assigned to: a name, a member of a namespace, or several of them.
struct target {
  enum class form : std::uint8_t { name, member, several };
  form kind = form::name;
  std::uint32_t at = 0;
  std::uint32_t name = 0;
  place where;
  const text* member = nullptr;
  std::span<target* const> parts;
};

/// A parameter of a macro: its name, and the slot of the macro's frame that it is in.
struct parameter {
  std::uint32_t name = 0;
  std::uint32_t slot = 0;
  std::string_view spelling;
  node* otherwise = nullptr;   // default; nullptr: none
};

/// A condition of an `if` with what it guards.
struct branch {
  node* condition = nullptr;   // nullptr: else
  nodes body;
};

// ---- statements; `variables` are those of the frame that a statement makes ----

struct output_node : node { node* content = nullptr; };
struct set_node : node { target* to = nullptr; node* from = nullptr; };
struct set_block_node : node { target* to = nullptr; filter_node* filter = nullptr; nodes body; scope* variables = nullptr; };
struct if_node : node { std::span<const branch> branches; };
/// for each in iterable if condition: body, else: otherwise.
struct for_node : node {
  target* each = nullptr;
  node* iterable = nullptr;
  node* condition = nullptr;          // nullptr: none
  nodes body, otherwise;
  bool is_recursive = false, uses_loop = false;
  std::uint32_t loop_slot = 0;        // of `loop`, if the body uses it
  target* condition_each = nullptr;   // the same target in the frame of the condition
  scope *variables = nullptr, *condition_variables = nullptr, *otherwise_variables = nullptr;
};
/// A macro, or the body of a call block or a generation block.
struct macro_node : node {
  std::uint32_t name = 0;
  std::string_view spelling;
  place where;
  std::span<parameter> parameters;
  nodes body;
  bool uses_caller = false, uses_kwargs = false, uses_varargs = false;
  std::uint32_t caller_slot = 0, kwargs_slot = 0, varargs_slot = 0;
  scope* variables = nullptr;
};
struct call_block_node : node { macro_node* body = nullptr; call_node* call = nullptr; };   // without a call: generation
struct filter_block_node : node { filter_node* filter = nullptr; nodes body; scope* variables = nullptr; };
struct with_node : node { std::span<target* const> targets; nodes values; nodes body; scope* variables = nullptr; };
struct jump_node : node { bool is_break = false; };

/// The variables of a frame that is being executed.
struct frame {
  frame* outer = nullptr;
  std::span<value> slots;
};

/// A macro as a value: what it does, and the variables around its definition.
struct macro {
  const macro_node* definition = nullptr;
  frame* outer = nullptr;
};

}  // namespace cria::inline v0_1_0::jinja
