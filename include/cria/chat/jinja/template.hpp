// SPDX-License-Identifier: MIT
// chat/jinja/template.hpp - a compiled Jinja template: text in, rendered text with the origin of every byte out.
//
// The language is that of Jinja 3.1 as Hugging Face sets it up for chat templates: an immutable sandbox, trim_blocks, lstrip_blocks, loop controls,
// tojson without HTML escapes, raise_exception, strftime_now, the generation tag.
//
// How it works   compile:  lexer.hpp cuts the text into tokens; parser.hpp (statements) and expression_parser.hpp make the tree of ast.hpp of them;
//                          scopes.hpp decides which variable each name means
//                render:   evaluator.hpp walks the tree. Its functions are in expressions.hpp and statements.hpp; what filters, tests, functions and methods
//                          do is in library.hpp, filters.hpp, sequence_filters.hpp, tests.hpp, string_methods.hpp and methods.hpp; what operators do, in
//                          operators.hpp and arithmetic.hpp
//                values:   value.hpp has their types, text.hpp the strings that remember their origin, runtime.hpp the memory and the limits of a rendering
//
// Ensures   rendering reads the template only; each byte of the result is known to come from the template or from what the caller marked as content
// Errors    compile: syntax (also constructs that cria does not have), limit_exceeded, out_of_memory. render: bad_value (what Jinja raises an
//           exception for, and raise_exception with its message), limit_exceeded, out_of_memory. `where` is "line L, column C"
// Threads   immutable after compile, shared freely
#pragma once

#include <cria/chat/json.hpp>
#include <cria/chat/jinja/parser.hpp>
#include <cria/chat/jinja/rendering.hpp>
#include <cria/chat/jinja/scopes.hpp>
#include <cria/chat/jinja/statements.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0::jinja {

/// What is given to a template under a name. Texts inside are content or, where the host vouches for them, as good as the template's own.
struct variable {
  std::string_view name;
  const json* content = nullptr;
  bool is_content = true;
};

/// Makes values of a rendering from JSON.
class value_maker {
 public:
  explicit value_maker(runtime& rt) : rt_(rt) {}

  [[nodiscard]] value make(const json& j, bool is_content) {
    const runtime::level guard(rt_);
    rt_.allow(rt_.most().steps_per_input);
    if (rt_.has_failed()) return value::none();
    if (const auto* b = j.get_if<bool>()) return *b;
    if (const auto* n = j.get_if<std::int64_t>()) return *n;
    if (const auto* x = j.get_if<double>()) return *x;
    if (const auto* big = j.get_if<json::big_integer>()) {
      value v = rt_.string(big->digits);
      v.type = kind::big_integer;
      return v;
    }
    if (const auto* s = j.get_if<std::string>()) return make_text(*s, is_content);
    if (const auto* elements = j.get_if<json::array>()) {
      const auto kept = rt_.make_array<value>(elements->size());
      for (std::size_t i = 0; i < kept.size(); ++i) kept[i] = make((*elements)[i], is_content);
      return rt_.sequence_of(kind::list, kept);
    }
    const auto* members = j.get_if<json::object>();
    if (members == nullptr) return value::none();
    std::vector<pair> pairs;
    for (const auto& [key, mapped] : *members) pairs.push_back({make_text(key, is_content), make(mapped, is_content)});
    return rt_.make_dict(pairs);
  }
  /// What a text costs is what the caller gave.
  [[nodiscard]] value make_text(std::string_view s, bool is_content) {
    rt_.allow(1 + s.size() / 2);
    return rt_.string(s, is_content);
  }

 private:
  runtime& rt_;
};

/// A template that was parsed, with the memory that its tree lives in.
class compiled_template {
 public:
  /// Parses `source`, at most lexer::max_source bytes.
  [[nodiscard]] static result<compiled_template> compile(std::string_view source, const limits& most = {}) {
    return catch_bad_alloc([&] { return parse(source, most); }, "template");
  }

  /// Renders with values that make_context(runtime&) -> std::vector<std::pair<std::string_view, value>> gives.
  template <class MakeContext>
  [[nodiscard]] result<rendered> render_with(MakeContext&& make_context, const civil_time& now = {}, const limits& most = {}) const {
    return catch_bad_alloc([&] { return run(make_context, now, most); }, "rendering");
  }
  [[nodiscard]] result<rendered> render(std::span<const variable> variables, const civil_time& now = {}, const limits& most = {}) const {
    return render_with([&](runtime& rt) {
      std::vector<std::pair<std::string_view, value>> context;
      for (const variable& v : variables) context.emplace_back(v.name, value_maker(rt).make(*v.content, v.is_content));
      return context;
    }, now, most);
  }

  /// Returns whether the template reads a variable of that name anywhere.
  [[nodiscard]] bool mentions(std::string_view name) const noexcept {
    return std::find(state_->names.begin(), state_->names.end(), name) != state_->names.end();
  }

 private:
  struct state {
    std::string source;   // normalised
    arena memory;
    nodes body;
    std::vector<std::string_view> names;
    scope* variables = nullptr;
  };

  explicit compiled_template(std::unique_ptr<const state> s) : state_(std::move(s)) {}

  [[nodiscard]] static result<compiled_template> parse(std::string_view source, const limits& most) {
    auto s = std::make_unique<state>();
    if (source.size() > lexer::max_source) return error{errc::limit_exceeded, "template", std::to_string(source.size()) + " bytes"};
    s->source = normalised_source(source);
    constexpr std::size_t deepest = 60'000;   // what a node can count
    CRIA_TRY(auto tree, parser::parse(s->source, std::min(most.max_depth, deepest), s->memory));
    s->body = tree.body;
    s->names = std::move(tree.names);
    scope_resolver resolver(s->names, s->memory);
    s->variables = resolver.resolve_template(s->body);
    if (const auto& problem = resolver.failure()) return error{problem->code, cria::detail::line_and_column(s->source, problem->at), problem->message};
    return compiled_template(std::move(s));
  }

  template <class MakeContext>
  [[nodiscard]] result<rendered> run(MakeContext&& make_context, const civil_time& now, const limits& most) const {
    runtime rt(most, now);
    std::vector<value> context(state_->names.size());
    const auto given = make_context(rt);
    for (std::size_t i = 0; i < context.size(); ++i) {
      if (const builtin* known = find_global(state_->names[i])) context[i] = known;
      for (const auto& [name, v] : given) {
        if (name == state_->names[i]) context[i] = v;
      }
    }
    text_builder out;
    evaluator(rt, state_->names, context).run(state_->body, state_->variables, out);
    if (!rt.has_failed() && out.size() > most.max_output) rt.fail("the text has more than " + std::to_string(most.max_output) + " bytes", errc::limit_exceeded);
    if (rt.has_failed()) {
      error e = rt.failure();
      e.where = cria::detail::line_and_column(state_->source, rt.failed_at());
      return e;
    }
    rendered r;
    for_each_run(out.view(), [&](std::string_view bytes, bool is_content) {
      r.spans.push_back({static_cast<std::size_t>(bytes.data() - out.view().bytes.data()), bytes.size(), is_content});
    });
    r.text = out.take_bytes();
    return r;
  }

  std::unique_ptr<const state> state_;
};

}  // namespace cria::inline v0_1_0::jinja
