// SPDX-License-Identifier: MIT
// chat/jinja/parser_base.hpp - what both parts of the parser need: the current token, the first failure, the depth of nesting, and new nodes.
//
// Ensures   after a failure the parser sees only the end of the template, so that every loop ends, and gives placeholders instead of nodes
// Errors    syntax, limit_exceeded (nesting), with line and column
#pragma once

#include <cria/chat/jinja/ast.hpp>
#include <cria/chat/jinja/lexer.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0::jinja {

class parser_base {
 protected:
  parser_base(std::string_view source, std::vector<token> tokens, std::size_t max_depth, arena& memory)
      : memory_(memory), source_(source), tokens_(std::move(tokens)), max_depth_(max_depth) {}

  // Tokens.

  [[nodiscard]] const token& current() const noexcept { return tokens_[position_]; }
  [[nodiscard]] const token& following() const noexcept { return tokens_[std::min(position_ + 1, tokens_.size() - 1)]; }
  const token& advance() noexcept { return position_ + 1 < tokens_.size() ? tokens_[position_++] : tokens_[position_]; }
  [[nodiscard]] static bool is_op(const token& t, std::string_view op) noexcept { return t.type == token_kind::op && t.spelling == op; }
  [[nodiscard]] static bool is_name(const token& t, std::string_view name) noexcept { return t.type == token_kind::name && t.spelling == name; }
  [[nodiscard]] bool sees_op(std::string_view op) const noexcept { return is_op(current(), op); }
  [[nodiscard]] bool sees_name(std::string_view name) const noexcept { return is_name(current(), name); }
  bool take_op(std::string_view op) noexcept { return sees_op(op) && (advance(), true); }
  bool take_name(std::string_view name) noexcept { return sees_name(name) && (advance(), true); }

  [[nodiscard]] std::string describe(const token& t) const {
    switch (t.type) {
      case token_kind::end: return "the end of the template";
      case token_kind::print_end: case token_kind::tag_end: return "the end of the tag";
      case token_kind::data: case token_kind::print_begin: case token_kind::tag_begin: return "text";
      case token_kind::integer: case token_kind::real: return "a number";
      case token_kind::string: return "a string";
      case token_kind::name: case token_kind::op: break;
    }
    return "'" + printable(t.spelling) + "'";
  }
  void fail(std::uint32_t at, std::string_view message, errc code = errc::syntax) {
    if (!failure_) failure_ = error{code, cria::detail::line_and_column(source_, at), message};
    position_ = tokens_.size() - 1;
  }
  [[nodiscard]] bool has_failed() const noexcept { return failure_.has_value(); }
  void expect_op(std::string_view op) {
    if (!take_op(op)) fail(current().at, "expected '" + std::string(op) + "', found " + describe(current()));
  }
  std::string_view expect_any_name() {
    if (current().type == token_kind::name) return advance().spelling;
    fail(current().at, "expected a name, found " + describe(current()));
    return {};
  }

  /// Counts how deep the parser is; too deep is a failure.
  class nesting {
   public:
    explicit nesting(parser_base& parser) : parser_(parser) {
      if (++parser_.nesting_ > parser_.max_depth_ / 4) parser_.fail(parser_.current().at, "nested too deeply", errc::limit_exceeded);
    }
    ~nesting() { --parser_.nesting_; }
    nesting(const nesting&) = delete;
    nesting& operator=(const nesting&) = delete;

   private:
    parser_base& parser_;
  };

  // Nodes.

  template <class T>
  [[nodiscard]] T* make(node_kind kind, std::uint32_t at) {
    T* n = memory_.make<T>();
    n->kind = kind;
    n->at = at;
    return n;
  }
  void deepen(node* parent, node* child) {
    if (child == nullptr || child->depth < parent->depth) return;
    if (child->depth >= max_depth_) return fail(parent->at, "nested too deeply", errc::limit_exceeded);
    parent->depth = static_cast<std::uint16_t>(child->depth + 1);
  }
  [[nodiscard]] nodes keep(node* parent, const std::vector<node*>& children) {
    for (node* child : children) deepen(parent, child);
    return memory_.copy(std::span<node* const>(children));
  }
  [[nodiscard]] node* make_constant(std::uint32_t at, value content) {
    auto* n = make<constant_node>(node_kind::constant, at);
    n->content = content;
    return n;
  }
  [[nodiscard]] const text* make_text(std::string_view bytes) { return memory_.make<text>(text{bytes, {}}); }
  [[nodiscard]] std::uint32_t intern(std::string_view name) {
    const auto [entry, is_new] = name_ids_.emplace(name, static_cast<std::uint32_t>(names_.size()));
    if (is_new) names_.push_back(name);
    return entry->second;
  }
  [[nodiscard]] node* make_binary(node_kind kind, operation op, node* left, node* right, std::uint32_t at) {
    auto* n = make<binary_node>(kind, at);
    n->op = op;
    deepen(n, n->left = left);
    deepen(n, n->right = right);
    return n;
  }

  arena& memory_;
  std::vector<std::string_view> names_;
  std::optional<error> failure_;

 private:
  std::string_view source_;
  std::vector<token> tokens_;
  std::size_t position_ = 0, nesting_ = 0, max_depth_;
  std::map<std::string_view, std::uint32_t> name_ids_;
};

}  // namespace cria::inline v0_1_0::jinja
