// SPDX-License-Identifier: MIT
// chat/jinja/expression_parser.hpp - makes trees of the tokens of expressions. There is a function for each level of operators, the weakest first:
//
//   x if c else y  <  or  <  and  <  not  <  == != < <= > >= in  <  + -  <  ~  <  * / // %  <  **  <  unary + -  <  . [] () | is
//
// Errors    syntax, limit_exceeded (nesting), with line and column
// Source    Jinja 3.1 template designer documentation, "Expressions"; behaviour compared with jinja2 3.1.6
#pragma once

#include <cria/chat/jinja/ast.hpp>
#include <cria/chat/jinja/library.hpp>
#include <cria/chat/jinja/parser_base.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

namespace cria::inline v0_1_0::jinja {

class expression_parser : protected parser_base {
 protected:
  using parser_base::parser_base;

  node* parse_expression() {
    const nesting guard(*this);
    node* first = parse_or();
    while (take_name("if")) {
      auto* n = make<conditional_node>(node_kind::conditional, first->at);
      deepen(n, n->then = first);
      deepen(n, n->condition = parse_or());
      if (take_name("else")) deepen(n, n->otherwise = parse_expression());
      first = n;
    }
    return first;
  }

  node* parse_or() {
    node* left = parse_and();
    while (take_name("or")) left = make_binary(node_kind::logical, operation::or_, left, parse_and(), left->at);
    return left;
  }
  node* parse_and() {
    node* left = parse_not();
    while (take_name("and")) left = make_binary(node_kind::logical, operation::and_, left, parse_not(), left->at);
    return left;
  }
  node* make_unary(operation op, std::uint32_t at, node* operand) {
    auto* n = make<unary_node>(node_kind::unary, at);
    n->op = op;
    deepen(n, n->operand = operand);
    return n;
  }
  node* parse_not() {
    if (!sees_name("not")) return parse_compare();
    const nesting guard(*this);
    const std::uint32_t at = advance().at;
    return make_unary(operation::not_, at, parse_not());
  }

  [[nodiscard]] std::optional<operation> take_comparison() {
    struct entry {
      std::string_view spelling;
      operation op;
    };
    constexpr entry operators[] = {{"==", operation::equal}, {"!=", operation::not_equal}, {"<", operation::less}, {"<=", operation::less_equal},
                                   {">", operation::greater}, {">=", operation::greater_equal}};
    for (const auto& [spelling, op] : operators) {
      if (take_op(spelling)) return op;
    }
    if (take_name("in")) return operation::in;
    if (sees_name("not") && is_name(following(), "in")) return advance(), advance(), operation::not_in;
    return std::nullopt;
  }
  node* parse_compare() {
    node* left = parse_sum();
    std::vector<comparison> rest;
    while (const auto op = take_comparison()) rest.push_back({*op, parse_sum()});
    if (rest.empty()) return left;
    auto* n = make<compare_node>(node_kind::compare, left->at);
    deepen(n, n->left = left);
    for (const comparison& c : rest) deepen(n, c.right);
    n->rest = memory_.copy(std::span<const comparison>(rest));
    return n;
  }

  node* parse_sum() {
    node* left = parse_concat();
    while (sees_op("+") || sees_op("-")) {
      const token& t = advance();
      left = make_binary(node_kind::binary, t.spelling == "+" ? operation::add : operation::subtract, left, parse_concat(), t.at);
    }
    return left;
  }
  node* parse_concat() {
    std::vector<node*> parts{parse_product()};
    while (take_op("~")) parts.push_back(parse_product());
    if (parts.size() == 1) return parts[0];
    auto* n = make<sequence_node>(node_kind::concat, parts[0]->at);
    n->items = keep(n, parts);
    return n;
  }
  node* parse_product() {
    node* left = parse_power();
    while (sees_op("*") || sees_op("/") || sees_op("//") || sees_op("%")) {
      const token& t = advance();
      const operation op = t.spelling == "*"   ? operation::multiply
                           : t.spelling == "/" ? operation::divide
                           : t.spelling == "%" ? operation::modulo
                                               : operation::floor_divide;
      left = make_binary(node_kind::binary, op, left, parse_power(), t.at);
    }
    return left;
  }
  node* parse_power() {
    node* left = parse_unary(true);
    while (sees_op("**")) {
      const std::uint32_t at = advance().at;
      left = make_binary(node_kind::binary, operation::power, left, parse_unary(true), at);
    }
    return left;
  }

  node* parse_unary(bool with_filter) {
    const nesting guard(*this);
    node* n = nullptr;
    if (sees_op("-") || sees_op("+")) {
      const token& t = advance();
      n = make_unary(t.spelling == "-" ? operation::negate : operation::plus, t.at, parse_unary(false));
    } else {
      n = parse_primary();
    }
    n = parse_postfix(n);
    return with_filter ? parse_filters_and_tests(n) : n;
  }

  node* parse_primary() {
    const token& t = current();
    switch (t.type) {
      case token_kind::name: advance(); return parse_name(t);
      case token_kind::string: return parse_strings();
      case token_kind::integer: advance(); return make_constant(t.at, t.integer);
      case token_kind::real: advance(); return make_constant(t.at, t.real);
      default: break;
    }
    if (take_op("(")) {
      node* n = parse_tuple({.is_in_parentheses = true});
      expect_op(")");
      return n;
    }
    if (sees_op("[")) return parse_list();
    if (sees_op("{")) return parse_dict();
    fail(t.at, "unexpected " + describe(t));
    return make_constant(t.at, value::none());
  }
  node* parse_name(const token& t) {
    if (t.spelling == "true" || t.spelling == "True") return make_constant(t.at, true);
    if (t.spelling == "false" || t.spelling == "False") return make_constant(t.at, false);
    if (t.spelling == "none" || t.spelling == "None") return make_constant(t.at, value::none());
    auto* n = make<name_node>(node_kind::name, t.at);
    n->name = intern(t.spelling);
    return n;
  }
  node* parse_strings() {
    const std::uint32_t at = current().at;
    const std::string_view first = advance().spelling;
    if (current().type != token_kind::string) return make_constant(at, make_text(first));
    std::string whole(first);
    while (current().type == token_kind::string) whole += advance().spelling;
    return make_constant(at, make_text(memory_.copy(std::string_view(whole))));
  }

  struct tuple_rules {
    bool with_condition = true;
    bool is_in_parentheses = false;
    std::string_view end_name = {};   ///< a name that ends the tuple
  };
  [[nodiscard]] bool sees_tuple_end(const tuple_rules& rules) const noexcept {
    const token_kind type = current().type;
    return type == token_kind::print_end || type == token_kind::tag_end || type == token_kind::end || sees_op(")") ||
           (!rules.end_name.empty() && sees_name(rules.end_name));
  }
  /// One expression, or several parted by commas.
  node* parse_tuple(const tuple_rules& rules) {
    const std::uint32_t at = current().at;
    std::vector<node*> items;
    bool is_tuple = false;
    while (!sees_tuple_end(rules)) {
      items.push_back(rules.with_condition ? parse_expression() : parse_or());
      if (!take_op(",")) break;
      is_tuple = true;
    }
    if (!is_tuple && !items.empty()) return items[0];
    if (!is_tuple && !rules.is_in_parentheses) fail(at, "expected an expression, found " + describe(current()));
    auto* n = make<sequence_node>(node_kind::tuple, at);
    n->items = keep(n, items);
    return n;
  }

  node* parse_list() {
    const std::uint32_t at = advance().at;
    std::vector<node*> items;
    while (!sees_op("]") && !has_failed()) {
      if (!items.empty()) expect_op(",");
      if (sees_op("]")) break;
      items.push_back(parse_expression());
    }
    expect_op("]");
    auto* n = make<sequence_node>(node_kind::list, at);
    n->items = keep(n, items);
    return n;
  }
  node* parse_dict() {
    const std::uint32_t at = advance().at;
    std::vector<node*> keys, values;
    while (!sees_op("}") && !has_failed()) {
      if (!keys.empty()) expect_op(",");
      if (sees_op("}")) break;
      keys.push_back(parse_expression());
      expect_op(":");
      values.push_back(parse_expression());
    }
    expect_op("}");
    auto* n = make<dict_node>(node_kind::dict, at);
    n->keys = keep(n, keys);
    n->values = keep(n, values);
    return n;
  }

  node* parse_postfix(node* n) {
    for (;;) {
      if (sees_op(".")) n = parse_attribute(n);
      else if (sees_op("[")) n = parse_item(n);
      else if (sees_op("(")) n = parse_call(n);
      else return n;
    }
  }
  node* parse_attribute(node* object) {
    const std::uint32_t at = advance().at;
    const token& t = advance();
    if (t.type == token_kind::name) {
      auto* n = make<attribute_node>(node_kind::attribute, at);
      deepen(n, n->object = object);
      n->name = make_text(t.spelling);
      return n;
    }
    if (t.type != token_kind::integer) fail(t.at, "expected a name or number behind '.', found " + describe(t));
    auto* n = make<item_node>(node_kind::item, at);
    deepen(n, n->object = object);
    n->index = make_constant(t.at, t.integer);
    return n;
  }
  node* parse_item(node* object) {
    auto* n = make<item_node>(node_kind::item, advance().at);
    deepen(n, n->object = object);
    std::vector<node*> indices;
    bool has_slice = false;
    while (!sees_op("]") && !has_failed()) {
      if (!indices.empty()) expect_op(",");
      indices.push_back(parse_index());
      has_slice |= indices.back()->kind == node_kind::slice;
    }
    expect_op("]");
    if (has_slice && indices.size() > 1) fail(n->at, "slices of more than one dimension are not supported");
    if (indices.size() == 1) {
      n->index = indices[0];
    } else {
      auto* several = make<sequence_node>(node_kind::tuple, n->at);
      several->items = keep(several, indices);
      n->index = several;
    }
    deepen(n, n->index);
    return n;
  }
  node* parse_index() {
    const std::uint32_t at = current().at;
    node* start = sees_op(":") ? nullptr : parse_expression();
    if (!take_op(":")) return start;
    auto* n = make<slice_node>(node_kind::slice, at);
    deepen(n, n->start = start);
    const auto is_end = [this] { return sees_op(":") || sees_op("]") || sees_op(","); };
    if (!is_end()) deepen(n, n->stop = parse_expression());
    if (take_op(":") && !is_end()) deepen(n, n->step = parse_expression());
    return n;
  }

  call_arguments parse_arguments(node* parent) {
    expect_op("(");
    const std::uint32_t at = current().at;
    call_arguments out;
    std::vector<node*> positional;
    std::vector<named_argument> named;
    std::unordered_set<std::string_view> seen;
    while (!sees_op(")") && !has_failed()) {
      if (sees_op("*") && out.spread == nullptr && out.spread_named == nullptr) {
        advance();
        deepen(parent, out.spread = parse_expression());
      } else if (sees_op("**") && out.spread_named == nullptr) {
        advance();
        deepen(parent, out.spread_named = parse_expression());
      } else if (out.spread_named == nullptr && current().type == token_kind::name && is_op(following(), "=")) {
        const std::string_view name = advance().spelling;
        advance();
        if (!seen.insert(name).second) fail(at, "the argument '" + printable(name) + "' is given twice");
        named.push_back({name, parse_expression()});
        deepen(parent, named.back().given);
      } else if (out.spread == nullptr && out.spread_named == nullptr && named.empty()) {
        positional.push_back(parse_expression());
      } else {
        fail(current().at, "arguments in an order that a call does not allow");
      }
      if (!sees_op(")")) expect_op(",");
    }
    expect_op(")");
    out.positional = keep(parent, positional);
    out.named = memory_.copy(std::span<const named_argument>(named));
    return out;
  }
  call_node* parse_call(node* callee) {
    auto* n = make<call_node>(node_kind::call, current().at);
    deepen(n, n->callee = callee);
    n->given = parse_arguments(n);
    return n;
  }

  node* parse_filters_and_tests(node* n) {
    for (;;) {
      if (take_op("|")) n = parse_filter(n);
      else if (sees_name("is")) n = parse_test(n);
      else if (sees_op("(")) n = parse_call(n);
      else return n;
    }
  }
  std::string_view parse_dotted_name() {
    const std::string_view first = expect_any_name();
    if (!sees_op(".")) return first;
    std::string whole(first);
    while (take_op(".")) whole.append(".").append(expect_any_name());
    return memory_.copy(std::string_view(whole));
  }
  /// A filter behind its |; without an object it filters the body of its block.
  filter_node* parse_filter(node* object) {
    auto* n = make<filter_node>(node_kind::filter, current().at);
    deepen(n, n->object = object);
    n->name = parse_dotted_name();
    n->native = find_filter(n->name);
    if (sees_op("(")) n->given = parse_arguments(n);
    return n;
  }
  node* parse_test(node* object) {
    const std::uint32_t at = advance().at;
    const bool is_negated = take_name("not");
    auto* n = make<filter_node>(node_kind::test, at);
    deepen(n, n->object = object);
    n->name = parse_dotted_name();
    n->native = find_test(n->name);
    const token& t = current();
    const bool has_value = t.type == token_kind::name || t.type == token_kind::string || t.type == token_kind::integer || t.type == token_kind::real ||
                           sees_op("[") || sees_op("{");
    if (sees_op("(")) {
      n->given = parse_arguments(n);
    } else if (has_value && !sees_name("else") && !sees_name("or") && !sees_name("and")) {
      if (sees_name("is")) fail(t.at, "tests cannot be chained");
      n->given.positional = keep(n, {parse_postfix(parse_primary())});
    }
    return is_negated ? make_unary(operation::not_, at, n) : n;
  }
};

}  // namespace cria::inline v0_1_0::jinja
