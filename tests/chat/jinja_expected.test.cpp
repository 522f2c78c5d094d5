// SPDX-License-Identifier: MIT
// Renders the templates of templates/expected.json and compares with what jinja2 3.1.6 made of them (make_expected.py).
#include <cria/chat/jinja/template.hpp>

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

using namespace cria;

namespace {

const json& expected() {
  static const json file = [] {
    std::ifstream in(std::filesystem::path(CRIA_CHAT_TEMPLATES) / "expected.json", std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    auto parsed = json::parse(text);
    REQUIRE_MESSAGE(parsed, (parsed ? "" : parsed.error().to_string()));
    return *std::move(parsed);
  }();
  return file;
}

std::vector<jinja::variable> context() {
  std::vector<jinja::variable> variables;
  for (const auto& [name, value] : *expected().find("context")->get_if<json::object>()) variables.push_back({name, &value, true});
  return variables;
}

constexpr jinja::civil_time now{2024, 7, 9, 13, 5, 7};

result<jinja::rendered> render(const std::string& source) {
  auto compiled = jinja::compiled_template::compile(source);
  if (!compiled) return std::move(compiled).error();
  return compiled->render(context(), now);
}

void check_group(const std::string& name) {
  const json* group = expected().find("groups")->find(name);
  REQUIRE(group != nullptr);
  const auto& cases = *group->get_if<json::array>();
  CHECK(cases.size() > 5);
  for (const json& one : cases) {
    const auto& both = *one.get_if<json::array>();
    const std::string& source = *both[0].get_if<std::string>();
    CAPTURE(source);
    const auto r = render(source);
    if (const auto* text = both[1].get_if<std::string>()) {
      CHECK_MESSAGE(r, (r ? "" : r.error().to_string()));
      if (r) CHECK(r->text == *text);
      continue;
    }
    const std::string& python = *both[1].find("error")->get_if<std::string>();
    CAPTURE(python);
    CHECK(!r);
    if (r) continue;
    const bool is_syntax = python == "TemplateSyntaxError" || python == "TemplateAssertionError" || python == "SyntaxError" || python == "AssertionError";
    CAPTURE(r.error().to_string());
    CHECK((r.error().code == errc::syntax) == is_syntax);
    CHECK(r.error().where.starts_with("line "));
    CHECK(!r.error().message.empty());
  }
}

}  // namespace

TEST_CASE("jinja: white space is kept and dropped as jinja2 does it") { check_group("data and white space"); }
TEST_CASE("jinja: what jinja2 cannot parse is a syntax error with line and column") { check_group("syntax errors"); }
TEST_CASE("jinja: literals are jinja2's") { check_group("literals"); }
TEST_CASE("jinja: operators compute what jinja2 computes") { check_group("operators"); }
TEST_CASE("jinja: attributes, items and slices are jinja2's") { check_group("attributes, items and slices"); }
TEST_CASE("jinja: undefined values print nothing and fail where jinja2 fails") { check_group("undefined"); }
TEST_CASE("jinja: tests answer as jinja2's") { check_group("tests"); }
TEST_CASE("jinja: a name means the variable that it means in jinja2") { check_group("set and scopes"); }
TEST_CASE("jinja: if chooses as in jinja2") { check_group("if"); }
TEST_CASE("jinja: loops go round as in jinja2") { check_group("for"); }
TEST_CASE("jinja: macros and functions are called as in jinja2") { check_group("macros and calls"); }
TEST_CASE("jinja: methods of texts are Python's") { check_group("string methods"); }
TEST_CASE("jinja: filters of texts are jinja2's") { check_group("filters of texts"); }
TEST_CASE("jinja: tojson writes what Hugging Face's writes") { check_group("tojson"); }
TEST_CASE("jinja: filters of lists are jinja2's") { check_group("filters of lists"); }
TEST_CASE("jinja: conversations render as with jinja2") { check_group("conversations"); }
