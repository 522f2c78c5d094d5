// SPDX-License-Identifier: MIT
// chat/jinja/parser.hpp - makes the tree of a template of its tokens: text, output, and the statements if, for, set, macro, call, filter, with, print, break,
// continue and generation. Expressions inside are left to expression_parser.hpp.
//
// Requires the source as the lexer wants it (lexer.hpp), and an arena; both outlive the tree
// Ensures  a tree that is no deeper than the limit; or the first error, and no tree
// Errors   syntax, limit_exceeded (nesting), with line and column. Tags of Jinja that need other files or change escaping (block, extends,
//          include, import, from, autoescape) are errors that say so.
// Source   Jinja 3.1 template designer documentation, "List of Control Structures"; `generation` is the tag that Hugging Face's transformers adds
#pragma once

#include <cria/chat/jinja/expression_parser.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0::jinja {

/// What the parser makes of a template.
struct syntax_tree {
  nodes body;
  std::vector<std::string_view> names;   ///< variables, by index
};

class parser : private expression_parser {
 public:
  /// `source` is normalised and outlives the tree, as `memory` does.
  [[nodiscard]] static result<syntax_tree> parse(std::string_view source, std::size_t max_depth, arena& memory) {
    CRIA_TRY(auto tokens, lexer(source, memory).run());
    parser p(source, std::move(tokens), max_depth, memory);
    node root;
    const nodes body = p.parse_body(&root, {});
    if (p.failure_) return std::move(*p.failure_);
    return syntax_tree{body, std::move(p.names_)};
  }

 private:
  using expression_parser::expression_parser;

  /// Parses up to one of the `ends`, whose name stays the current token; without ends up to the end of the template.
  nodes parse_body(node* parent, std::initializer_list<std::string_view> ends) {
    const nesting guard(*this);
    std::vector<node*> body;
    while (!has_failed()) {
      const token& t = advance();
      if (t.type == token_kind::end) {
        if (ends.size() != 0) fail(t.at, "the template ends where '" + std::string(*ends.begin()) + "' is expected");
        break;
      }
      if (t.type == token_kind::data) {
        body.push_back(make_output(t.at, make_constant(t.at, make_text(t.spelling))));
      } else if (t.type == token_kind::print_begin) {
        body.push_back(make_output(t.at, parse_tuple({})));
        expect_end(token_kind::print_end);
      } else {
        if (current().type == token_kind::name && std::find(ends.begin(), ends.end(), current().spelling) != ends.end()) break;
        parse_statement(body);
        expect_end(token_kind::tag_end);
      }
    }
    return keep(parent, body);
  }
  void expect_end(token_kind type) {
    if (current().type == type) advance();
    else fail(current().at, "expected the end of the tag, found " + describe(current()));
  }
  /// The inside of a block, from behind its opening tag up to one of the `ends`.
  nodes parse_inside(node* parent, std::initializer_list<std::string_view> ends) {
    take_op(":");
    expect_end(token_kind::tag_end);
    return parse_body(parent, ends);
  }
  nodes parse_inside_to(node* parent, std::string_view end) {
    const nodes body = parse_inside(parent, {end});
    advance();
    return body;
  }
  [[nodiscard]] node* make_output(std::uint32_t at, node* content) {
    auto* n = make<output_node>(node_kind::output, at);
    deepen(n, n->content = content);
    return n;
  }

  void parse_statement(std::vector<node*>& body) {
    const token& t = current();
    const std::string_view name = expect_any_name();
    if (name == "if") return body.push_back(parse_if(t.at));
    if (name == "for") return body.push_back(parse_for(t.at));
    if (name == "set") return body.push_back(parse_set(t.at));
    if (name == "macro") return body.push_back(parse_macro(t.at));
    if (name == "call") return body.push_back(parse_call_block(t.at));
    if (name == "filter") return body.push_back(parse_filter_block(t.at));
    if (name == "with") return body.push_back(parse_with(t.at));
    if (name == "generation") return body.push_back(parse_generation(t.at));
    if (name == "break" || name == "continue") return body.push_back(parse_jump(t.at, name == "break"));
    if (name == "print") return parse_print(t.at, body);
    constexpr std::string_view unsupported[] = {"block", "extends", "include", "import", "from", "autoescape"};
    const bool is_known = std::find(std::begin(unsupported), std::end(unsupported), name) != std::end(unsupported);
    fail(t.at, is_known ? "'" + std::string(name) + "' is not supported" : "unexpected tag '" + printable(name) + "'");
  }

  node* parse_if(std::uint32_t at) {
    auto* n = make<if_node>(node_kind::if_, at);
    std::vector<branch> branches;
    for (;;) {
      node* condition = parse_tuple({.with_condition = false});
      branches.push_back({condition, parse_inside(n, {"endif", "elif", "else"})});
      deepen(n, condition);
      if (!take_name("elif")) break;
    }
    if (take_name("else")) branches.push_back({nullptr, parse_inside(n, {"endif"})});
    advance();
    n->branches = memory_.copy(std::span<const branch>(branches));
    return n;
  }

  node* parse_for(std::uint32_t at) {
    auto* n = make<for_node>(node_kind::for_, at);
    n->each = parse_targets(false, "in");
    if (!take_name("in")) fail(current().at, "expected 'in', found " + describe(current()));
    deepen(n, n->iterable = parse_tuple({.with_condition = false, .end_name = "recursive"}));
    if (take_name("if")) deepen(n, n->condition = parse_expression());
    n->is_recursive = take_name("recursive");
    ++n_loops_;
    n->body = parse_inside(n, {"endfor", "else"});
    --n_loops_;
    if (take_name("else")) n->otherwise = parse_inside(n, {"endfor"});
    advance();
    return n;
  }

  node* parse_set(std::uint32_t at) {
    target* to = parse_targets(true, {});
    if (take_op("=")) {
      auto* n = make<set_node>(node_kind::set, at);
      n->to = to;
      deepen(n, n->from = parse_tuple({}));
      return n;
    }
    auto* n = make<set_block_node>(node_kind::set_block, at);
    n->to = to;
    filter_node* filter = nullptr;
    while (take_op("|")) filter = parse_filter(filter);
    deepen(n, n->filter = filter);
    n->body = parse_inside_to(n, "endset");
    return n;
  }

  node* parse_macro(std::uint32_t at) {
    auto* n = make<macro_node>(node_kind::macro, at);
    const token& name = current();
    n->spelling = name.spelling;
    n->name = parse_target_name()->name;
    parse_parameters(n);
    parse_macro_body(n, "endmacro");
    return n;
  }
  void parse_parameters(macro_node* n) {
    std::vector<parameter> parameters;
    std::unordered_set<std::uint32_t> seen;
    expect_op("(");
    while (!sees_op(")") && !has_failed()) {
      if (!parameters.empty()) expect_op(",");
      const token& t = current();
      const std::uint32_t name = parse_target_name()->name;
      if (!seen.insert(name).second) fail(t.at, "the parameter '" + printable(t.spelling) + "' appears twice");
      parameters.push_back({name, 0, t.spelling});
      if (take_op("=")) deepen(n, parameters.back().otherwise = parse_expression());
      else if (parameters.size() > 1 && parameters[parameters.size() - 2].otherwise != nullptr)
        fail(t.at, "a parameter without default behind one with default");
    }
    expect_op(")");
    n->parameters = memory_.copy(std::span<const parameter>(parameters));
  }
  void parse_macro_body(macro_node* n, std::string_view end) {
    const std::size_t n_loops = std::exchange(n_loops_, 0);
    n->body = parse_inside_to(n, end);
    n_loops_ = n_loops;
  }

  node* parse_call_block(std::uint32_t at) {
    auto* n = make<call_block_node>(node_kind::call_block, at);
    n->body = make<macro_node>(node_kind::macro, at);
    if (sees_op("(")) parse_parameters(n->body);
    node* call = parse_expression();
    if (call->kind == node_kind::call) n->call = static_cast<call_node*>(call);
    else fail(at, "a call block needs a call");
    parse_macro_body(n->body, "endcall");
    deepen(n, n->body);
    deepen(n, n->call);
    return n;
  }
  node* parse_generation(std::uint32_t at) {
    auto* n = make<call_block_node>(node_kind::call_block, at);
    n->body = make<macro_node>(node_kind::macro, at);
    parse_macro_body(n->body, "endgeneration");
    deepen(n, n->body);
    return n;
  }
  node* parse_filter_block(std::uint32_t at) {
    auto* n = make<filter_block_node>(node_kind::filter_block, at);
    filter_node* filter = parse_filter(nullptr);
    while (take_op("|")) filter = parse_filter(filter);
    deepen(n, n->filter = filter);
    n->body = parse_inside_to(n, "endfilter");
    return n;
  }
  node* parse_with(std::uint32_t at) {
    auto* n = make<with_node>(node_kind::with, at);
    std::vector<target*> targets;
    std::vector<node*> values;
    while (current().type != token_kind::tag_end && !has_failed()) {
      if (!targets.empty()) expect_op(",");
      targets.push_back(parse_targets(false, {}));
      expect_op("=");
      values.push_back(parse_expression());
    }
    n->targets = memory_.copy(std::span<target* const>(targets));
    n->values = keep(n, values);
    n->body = parse_inside_to(n, "endwith");
    return n;
  }
  node* parse_jump(std::uint32_t at, bool is_break) {
    if (n_loops_ == 0) fail(at, is_break ? "break outside a loop" : "continue outside a loop");
    auto* n = make<jump_node>(node_kind::jump, at);
    n->is_break = is_break;
    return n;
  }
  void parse_print(std::uint32_t at, std::vector<node*>& body) {
    for (bool is_first = true; current().type != token_kind::tag_end && !has_failed(); is_first = false) {
      if (!is_first) expect_op(",");
      body.push_back(make_output(at, parse_expression()));
    }
  }

  [[nodiscard]] target* make_target(target::form form, std::uint32_t at) {
    auto* t = memory_.make<target>();
    t->kind = form;
    t->at = at;
    return t;
  }
  target* parse_target_name() {
    const token& t = current();
    target* out = make_target(target::form::name, t.at);
    const std::string_view name = expect_any_name();
    constexpr std::string_view reserved[] = {"true", "false", "none", "True", "False", "None"};
    if (std::find(std::begin(reserved), std::end(reserved), name) != std::end(reserved)) fail(t.at, "cannot assign to '" + std::string(name) + "'");
    out->name = intern(name);
    return out;
  }
  target* parse_target(bool with_members) {
    const nesting guard(*this);
    if (take_op("(")) {
      target* inside = parse_targets(false, {});
      expect_op(")");
      return inside;
    }
    target* out = parse_target_name();
    if (with_members && take_op(".")) {
      out->kind = target::form::member;
      out->member = make_text(expect_any_name());
    }
    return out;
  }
  /// One target, or several parted by commas, before the name `end`.
  target* parse_targets(bool with_members, std::string_view end) {
    const std::uint32_t at = current().at;
    std::vector<target*> parts;
    bool is_tuple = false;
    do {
      if (is_tuple && (current().type == token_kind::tag_end || sees_op(")") || (!end.empty() && sees_name(end)))) break;
      parts.push_back(parse_target(with_members));
      is_tuple |= sees_op(",");
    } while (take_op(","));
    if (!is_tuple) return parts[0];
    target* out = make_target(target::form::several, at);
    out->parts = memory_.copy(std::span<target* const>(parts));
    return out;
  }

  std::size_t n_loops_ = 0;
};

}  // namespace cria::inline v0_1_0::jinja
