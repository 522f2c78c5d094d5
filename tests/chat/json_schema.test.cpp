// SPDX-License-Identifier: MIT
// Schemas: random texts of each grammar are read by the JSON parser and judged by a validator of this test, which shares nothing with the compiler; the same
// schemas' texts were judged by Python's jsonschema 4.26 (Draft 2020-12, with its format checker) when the schemas were written.
#include <cria/chat/json_schema.hpp>
#include <cria/chat/schema/schema_types.hpp>
#include <cria/core/random.hpp>
#include <cria/sampling/grammar/matcher.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <regex>
#include <string>
#include <vector>

using namespace cria;

namespace {

std::size_t n_characters(const std::string& s) {
  return static_cast<std::size_t>(std::count_if(s.begin(), s.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

double number_of(const json& v) {
  if (const auto* i = v.get_if<std::int64_t>()) return static_cast<double>(*i);
  return v.get_if<double>() != nullptr ? *v.get_if<double>() : 1e300;
}

bool is_of_type(const json& v, const std::string& type) {
  if (type == "null") return v.is_null();
  if (type == "boolean") return v.get_if<bool>() != nullptr;
  if (type == "integer") return v.get_if<std::int64_t>() != nullptr;
  if (type == "number") return v.get_if<std::int64_t>() != nullptr || v.get_if<double>() != nullptr;
  if (type == "string") return v.get_if<std::string>() != nullptr;
  return type == "array" ? v.get_if<json::array>() != nullptr : v.get_if<json::object>() != nullptr;
}

/// Judges a value by the keywords of JSON Schema 2020-12 that the tests use.
class validator {
 public:
  explicit validator(const json& root) : root_(root) {}

  bool allows(const json& schema, const json& v) const {
    if (const bool* any = schema.get_if<bool>()) return *any;
    for (const auto& [key, arg] : *schema.get_if<json::object>()) {
      if (!holds(schema, key, arg, v)) return false;
    }
    return true;
  }

 private:
  std::size_t n_allowing(const json& list, const json& v) const {
    return static_cast<std::size_t>(
        std::count_if(list.get_if<json::array>()->begin(), list.get_if<json::array>()->end(), [&](const json& s) { return allows(s, v); }));
  }
  const json& target(const std::string& ref) const {
    if (ref == "#") return root_;
    const std::string start = ref.starts_with("#/$defs/") ? "$defs" : "definitions";
    return *root_.find(start)->find(ref.substr(start.size() + 3));
  }

  bool holds(const json& schema, const std::string& key, const json& arg, const json& v) const {
    if (key == "type") {
      if (const auto* one = arg.get_if<std::string>()) return is_of_type(v, *one);
      const auto& types = *arg.get_if<json::array>();
      return std::any_of(types.begin(), types.end(), [&](const json& t) { return is_of_type(v, *t.get_if<std::string>()); });
    }
    if (key == "const") return v == arg;
    if (key == "enum") return std::find(arg.get_if<json::array>()->begin(), arg.get_if<json::array>()->end(), v) != arg.get_if<json::array>()->end();
    if (key == "$ref") return allows(target(*arg.get_if<std::string>()), v);
    if (key == "anyOf") return n_allowing(arg, v) >= 1;
    if (key == "oneOf") return n_allowing(arg, v) == 1;
    if (key == "allOf") return n_allowing(arg, v) == arg.get_if<json::array>()->size();
    if (const auto* s = v.get_if<std::string>()) return holds_string(key, arg, *s);
    if (const auto* a = v.get_if<json::array>()) return holds_array(schema, key, arg, *a);
    if (const auto* o = v.get_if<json::object>()) return holds_object(schema, key, arg, *o);
    if (v.get_if<bool>() != nullptr || v.is_null()) return true;
    const double n = number_of(v);
    if (key == "minimum") return n >= number_of(arg);
    if (key == "maximum") return n <= number_of(arg);
    if (key == "exclusiveMinimum") return n > number_of(arg);
    return key != "exclusiveMaximum" || n < number_of(arg);
  }

  static bool is_ipv6(const std::string& s) {
    const std::size_t gap = s.find("::");
    if (gap != s.npos && s.find("::", gap + 1) != s.npos) return false;
    std::size_t n_groups = 0;
    for (const std::string& half : {s.substr(0, gap), gap == s.npos ? std::string() : s.substr(gap + 2)}) {
      if (half.empty()) continue;
      if (!std::regex_match(half, std::regex("[0-9a-fA-F]{1,4}(:[0-9a-fA-F]{1,4})*"))) return false;
      n_groups += 1 + static_cast<std::size_t>(std::count(half.begin(), half.end(), ':'));
    }
    return gap == s.npos ? n_groups == 8 : n_groups < 8;
  }

  static bool is_uri(const std::string& s, const std::string& beginning) {
    std::smatch found;
    if (!std::regex_search(s, found, std::regex(beginning), std::regex_constants::match_continuous)) return false;
    const std::string rest = s.substr(static_cast<std::size_t>(found.length()));
    if (!rest.empty() && rest.find_first_of("/?#") != 0) return false;
    for (std::size_t i = 0; i < rest.size(); ++i) {
      const bool is_escape = rest[i] == '%' && rest.find_first_not_of("0123456789ABCDEF", i + 1) >= i + 3 && i + 3 <= rest.size();
      const bool is_plain = std::isalnum(static_cast<unsigned char>(rest[i])) != 0 || std::string("-._~!$&'()*+,;=:@/?#").find(rest[i]) != std::string::npos;
      if (!is_escape && !is_plain) return false;
    }
    return std::count(rest.begin(), rest.end(), '#') <= 1;
  }

  static bool holds_string(const std::string& key, const json& arg, const std::string& s) {
    if (key == "minLength") return static_cast<double>(n_characters(s)) >= number_of(arg);
    if (key == "maxLength") return static_cast<double>(n_characters(s)) <= number_of(arg);
    if (key == "pattern") return std::regex_search(s, std::regex(*arg.get_if<std::string>()));
    if (key != "format") return true;
    const std::string date = "[1-9]\\d{3}-(0[1-9]|1[0-2])-(0[1-9]|[12]\\d|3[01])",
                      time = "([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(\\.\\d+)?(Z|[+-]([01]\\d|2[0-3]):[0-5]\\d)";
    const std::string& name = *arg.get_if<std::string>();
    const std::string clock = "T(?=\\d)(\\d+H)?(\\d+M)?(\\d+S)?", byte = "(0|[1-9]\\d?|1\\d\\d|2[0-4]\\d|25[0-5])";
    const std::string label = "[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?";
    const std::map<std::string, std::string> regexes = {
        {"date", date},
        {"time", time},
        {"date-time", date + "T" + time},
        {"uuid", "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"},
        {"duration", "P(\\d+W|(?=\\d)(\\d+Y)?(\\d+M)?(\\d+D)?(" + clock + ")?|" + clock + ")"},
        {"ipv4", byte + "(\\." + byte + "){3}"},
        {"hostname", "(?=.{1,253}$)" + label + "(\\." + label + ")*"},
        {"email", "(?=.{1,254}$)(?=[^@]{1,64}@)[\\w+-]+(\\.[\\w+-]+)*@" + label + "(\\." + label + ")+"}};
    if (name == "ipv6") return is_ipv6(s);
    if (name == "uri") return is_uri(s, "[a-z][a-z0-9+.-]*://" + label + "(\\." + label + ")*(:\\d+)?");
    const std::string& regex = regexes.at(name);
    const bool has_day = name.starts_with("date") && (s.substr(5, 5) == "02-29" || s.substr(5, 4) == "02-3" || s.substr(8, 2) == "31");
    const bool is_long = !has_day || std::string("01 03 05 07 08 10 12").find(s.substr(5, 2)) != std::string::npos;
    return std::regex_match(s, std::regex(regex)) && is_long;
  }

  bool holds_array(const json& schema, const std::string& key, const json& arg, const json::array& a) const {
    if (key == "minItems") return static_cast<double>(a.size()) >= number_of(arg);
    if (key == "maxItems") return static_cast<double>(a.size()) <= number_of(arg);
    if (const json* old = schema.find("items"); old != nullptr && old->get_if<json::array>() != nullptr) {
      const auto& list = *old->get_if<json::array>();
      for (std::size_t i = 0; i < a.size(); ++i) {
        if (key == "items" && i < list.size() && !allows(list[i], a[i])) return false;
        if (key == "additionalItems" && i >= list.size() && !allows(arg, a[i])) return false;
      }
      return true;
    }
    const json* first = schema.find("prefixItems");
    const std::size_t n_first = first != nullptr ? first->get_if<json::array>()->size() : 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
      if (key == "prefixItems" && i < n_first && !allows((*arg.get_if<json::array>())[i], a[i])) return false;
      if (key == "items" && i >= n_first && !allows(arg, a[i])) return false;
    }
    return true;
  }

  bool holds_object(const json& schema, const std::string& key, const json& arg, const json::object& o) const {
    const json* properties = schema.find("properties");
    if (key == "required") {
      return std::all_of(arg.get_if<json::array>()->begin(), arg.get_if<json::array>()->end(),
                         [&](const json& name) { return json(o).find(*name.get_if<std::string>()) != nullptr; });
    }
    for (const auto& [name, value] : o) {
      const json* known = properties != nullptr ? properties->find(name) : nullptr;
      if (key == "properties" && known != nullptr && !allows(*known, value)) return false;
      if (key == "additionalProperties" && known == nullptr && !allows(arg, value)) return false;
    }
    return true;
  }

  const json& root_;
};

/// A random text of the grammar, which tends to close what it has opened; empty where it found no end.
std::string random_text(grammar_matcher& m, random_generator& random) {
  auto& a = m.automaton();
  std::uint32_t s = m.state();
  std::string out, any, closing;
  while (out.size() < 4000) {
    if (a.accepts(s) && (!a.goes_on(s) || random.next() % 3 == 0)) return out;
    any.clear(), closing.clear();
    a.begin_work();
    for (unsigned b = 0; b < 256; ++b) {
      const auto byte = static_cast<unsigned char>(b);
      const std::uint32_t to = a.step(s, byte);
      REQUIRE(to != detail::grammar_automaton::too_much);
      if (to == detail::grammar_automaton::dead) continue;
      any += static_cast<char>(byte);
      if (std::string_view("\"}],").find(static_cast<char>(byte)) != std::string_view::npos) closing += static_cast<char>(byte);
    }
    REQUIRE_FALSE(any.empty());
    const std::string& from = !closing.empty() && (out.size() > 200 || random.next() % 4 == 0) ? closing : any;
    out += from[random.next() % from.size()];
    s = a.step(s, static_cast<unsigned char>(out.back()));
  }
  return {};
}

const char* const schemas[] = {
    "true",
    "{}",
    R"({"type":"string"})",
    R"({"type":"string","minLength":2,"maxLength":5})",
    R"({"minLength":3})",
    R"({"type":"integer"})",
    R"({"type":"number"})",
    R"({"type":["string","null","integer"],"minimum":5})",
    R"({"type":"integer","minimum":0,"maximum":120})",
    R"({"type":"integer","minimum":-250,"maximum":-7})",
    R"({"type":"integer","minimum":-15,"maximum":1234})",
    R"({"type":"integer","exclusiveMinimum":9,"exclusiveMaximum":12})",
    R"({"type":"integer","minimum":99})",
    R"({"type":"integer","maximum":-99})",
    R"({"type":"integer","minimum":42,"maximum":42})",
    R"({"type":"integer","minimum":1.0,"maximum":3.0})",
    R"({"type":"number","minimum":0})",
    R"({"enum":["a\"b",1,null,true,{"x":[1,2.5]},"\u00e4\n\\"]})",
    R"({"type":"string","enum":["x",1,"y"]})",
    R"({"const":{"a":[1,"b"]}})",
    R"({"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer"},"ok":{"type":"boolean"}},"required":["age"]})",
    R"({"type":"object","properties":{"a":{"type":"null"},"b":{"type":"null"},"c":{"type":"null"}}})",
    R"({"type":"object","properties":{"a":{"type":"null"},"b":{"type":"null"}},"required":["b","a"],"additionalProperties":false})",
    R"({"type":"object","properties":{"ab":{"type":"integer"},"a":{"type":"null"},"b\"c":{"type":"boolean"}},)"
    R"("additionalProperties":{"type":"string"},"required":["a"]})",
    R"({"type":"object","properties":{"k":{"type":"integer"}},"additionalProperties":true})",
    R"({"type":"object"})",
    R"({"type":"object","additionalProperties":{"type":"integer"}})",
    R"({"type":"object","additionalProperties":false})",
    R"({"required":["x","y"]})",
    R"({"type":"object","properties":{"a":{"type":"null"}},"required":["z","a"],"additionalProperties":{"type":"integer"}})",
    R"({"type":"object","properties":{"":{"type":"null"}},"additionalProperties":{"type":"integer"}})",
    R"({"type":"array","items":{"type":"integer"}})",
    R"({"type":"array","items":{"type":"boolean"},"minItems":2,"maxItems":3})",
    R"({"type":"array","maxItems":0})",
    R"({"type":"array","minItems":1,"items":{"type":"null"}})",
    R"({"type":"array","minItems":1})",
    R"({"type":"array","prefixItems":[{"type":"integer"},{"type":"string"}]})",
    R"({"type":"array","prefixItems":[{"type":"integer"},{"type":"string"}],"items":false,"minItems":2})",
    R"({"type":"array","prefixItems":[{"type":"integer"}],"items":{"type":"null"},"minItems":2,"maxItems":4})",
    R"({"prefixItems":[{"type":"integer"}],"minItems":3})",
    R"({"type":"array","items":[{"type":"integer"},{"type":"string"}],"minItems":2,"maxItems":2})",
    R"({"type":"array","items":[{"type":"integer"}],"additionalItems":{"type":"null"},"minItems":2})",
    R"({"items":[{"type":"integer"}],"additionalItems":false})",
    R"({"type":"array","items":false})",
    R"({"$ref":"#/$defs/node","$defs":{"node":{"type":"object",)"
    R"("properties":{"v":{"type":"integer"},"kids":{"type":"array","items":{"$ref":"#/$defs/node"}}},"required":["v","kids"]}}})",
    R"({"type":"object","properties":{"v":{"type":"integer"},"next":{"anyOf":[{"$ref":"#"},{"type":"null"}]}},"required":["v","next"]})",
    R"({"anyOf":[{"type":"integer"},{"type":"string","maxLength":3}]})",
    R"({"oneOf":[{"type":"integer"},{"type":"string"},{"type":"null"}]})",
    R"({"oneOf":[{"type":"object","properties":{"kind":{"const":"a"},"x":{"type":"integer"}},"required":["kind","x"]},)"
    R"({"type":"object","properties":{"kind":{"enum":["b","c"]}},"required":["kind"]}]})",
    R"({"allOf":[{"type":"integer","minimum":3,"maximum":5}]})",
    R"({"type":"string","format":"date"})",
    R"({"type":"string","format":"time"})",
    R"({"type":"string","format":"date-time"})",
    R"({"type":"string","format":"uuid"})",
    R"({"type":"string","format":"duration"})",
    R"({"type":"string","format":"email"})",
    R"({"type":"string","format":"hostname"})",
    R"({"type":"string","format":"ipv4"})",
    R"({"type":"string","format":"ipv6"})",
    R"({"format":"uri","maxLength":2083,"minLength":1,"type":"string"})",
    R"({"format":"email","maxLength":254})",
    R"({"$id":"https://example.com/s","$schema":"http://json-schema.org/draft-07/schema#",)"
    R"("type":"object","additionalProperties":{"type":"integer"},"propertyNames":{"type":"string"}})",
    R"({"pattern":"^[A-Z]{2}-\\d{3,4}$"})",
    R"({"pattern":"^(?:foo|ba[rz]+)?x$"})",
    R"x({"pattern":"^\\w+@\\w+\\.(com|org)$"})x",
    R"({"pattern":"^[^a-z]{2,3}"})",
    R"({"pattern":"^[!-~]\\s\"\\\\/$"})",
    R"({"pattern":"^\\t[\\n\\x41-\\u0043]*?$"})",
    R"({"pattern":"^\\S\\D\\W[^\\w]$"})",
    R"({"pattern":"^a|^b$"})",
    R"({"pattern":"^[\\]\\[^-]+$"})",
    R"({"type":"number","minimum":0.25,"maximum":1})",
    R"({"type":"number","exclusiveMinimum":-90,"exclusiveMaximum":90.5})",
    R"({"type":["number","null"],"exclusiveMinimum":0})",
    R"({"type":"number","maximum":-3.5})",
    R"({"type":"number","minimum":1e-7,"maximum":1e300})",
    R"({"type":"number","minimum":0.1,"maximum":0.30000000000000004})",
    R"({"oneOf":[{"$ref":"#/$defs/a"},{"$ref":"#/$defs/b"}],"discriminator":{"propertyName":"kind","mapping":{"a":"#/$defs/a","b":"#/$defs/b"}},"$defs":{)"
    R"("a":{"type":"object","properties":{"kind":{"const":"a"}},"required":["kind"]},)"
    R"("b":{"type":"object","properties":{"kind":{"const":"b"}},"required":["kind"]}}})",
    R"({"title":"t","description":"d","default":1,"examples":[1],"$comment":"c","type":"integer"})",
    R"({"type":"integer","minLength":3})"};

}  // namespace

TEST_CASE("json_schema: whatever is chosen, the text parses and validates") {
  random_generator random(1);
  std::size_t n_texts = 0;
  for (const char* text : schemas) {
    CAPTURE(std::string(text));
    const auto schema = json::parse(text);
    REQUIRE(schema);
    const auto g = json_schema_grammar(text);
    if (!g) FAIL(g.error().to_string());
    auto m = grammar_matcher::create(*g);
    REQUIRE(m);
    const validator v(*schema);
    for (int round = 0; round < 25; ++round) {
      const std::string made = random_text(*m, random);
      if (made.empty()) continue;
      CAPTURE(made);
      const auto value = json::parse(made);
      REQUIRE(value);
      REQUIRE(v.allows(*schema, *value));
      ++n_texts;
    }
  }
  CHECK(n_texts > 25 * std::size(schemas) * 9 / 10);
}

TEST_CASE("json_schema: the bounds of integers are exact") {
  constexpr std::int64_t bounds[] = {-1000, -999, -101, -100, -99, -11, -10, -9, -1, 0, 1, 9, 10, 11, 19, 99, 100, 101, 199, 200, 999, 1000};
  for (const std::int64_t low : bounds) {
    for (const std::int64_t high : bounds) {
      if (low > high) continue;
      CAPTURE(low);
      CAPTURE(high);
      auto m = grammar_matcher::create(*json_schema_to_grammar(json(json::object{{"type", "integer"}, {"minimum", low}, {"maximum", high}})));
      REQUIRE(m);
      std::size_t n_wrong = 0;
      for (std::int64_t n = -1010; n <= 1010; ++n) {
        REQUIRE(m->reset());
        n_wrong += (*m->advance(std::to_string(n)) && m->accepts()) != (n >= low && n <= high);
      }
      CHECK(n_wrong == 0);
    }
  }
}

TEST_CASE("json_schema: the bounds of numbers are exact, to the last digit that is written") {
  constexpr double bounds[] = {-100.5, -10, -1, -0.75, -0.1, -1e-9, 0, 1e-9, 0.05, 0.1, 0.25, 0.999, 1, 1.5, 9.99, 100};
  std::vector<std::string> texts = {"0.0", "1.00", "-1.0", "0.0000000005", "-0.0000000005", "0.000000001", "0.0000000015", "0.249999999999", "0.250000000000",
                                    "123456789012345678.5", "-123456789012345678.5", "0.999999999999", "99.999999999999"};
  for (const double bound : bounds) {
    for (const int thousandths : {-1000, -500, -10, -1, 0, 1, 10, 500, 1000}) {
      char text[32];
      std::snprintf(text, sizeof text, "%.3f", bound + thousandths / 1000.0);
      std::string digits = text;
      if (std::strtod(text, nullptr) == 0 && digits.starts_with('-')) continue;   // 0 has no sign
      texts.push_back(digits);
      while (digits.ends_with('0')) digits.pop_back();
      if (digits.ends_with('.')) digits.pop_back();
      texts.push_back(digits);
    }
  }
  for (const double low : bounds) {
    for (const double high : bounds) {
      for (int form = 0; form < 6; ++form) {   // open or closed; one bound only
        json::object schema{{"type", "number"}};
        const bool has_low = form != 5, has_high = form != 4, is_low_open = form % 2 == 1 && form < 4, is_high_open = form >= 2 && form < 4;
        if (has_low) schema.emplace_back(is_low_open ? "exclusiveMinimum" : "minimum", low);
        if (has_high) schema.emplace_back(is_high_open ? "exclusiveMaximum" : "maximum", high);
        CAPTURE(json(schema).dump());
        const auto g = json_schema_to_grammar(json(schema));
        const bool is_none = has_low && has_high && (low > high || (low == high && (is_low_open || is_high_open)));
        REQUIRE(g.has_value() != is_none);
        if (is_none) {
          CHECK(g.error().code == errc::bad_value);
          continue;
        }
        auto m = grammar_matcher::create(*g);
        REQUIRE(m);
        for (const std::string& text : texts) {
          const double n = std::strtod(text.c_str(), nullptr);
          const bool is_inside = (!has_low || n > low || (n == low && !is_low_open)) && (!has_high || n < high || (n == high && !is_high_open));
          REQUIRE(m->reset());
          if ((*m->advance(text) && m->accepts()) != is_inside) FAIL_CHECK(text);
        }
      }
    }
  }
}

TEST_CASE("json_schema: a bound beyond all numbers without an exponent is kept, too: there are no exponents beside it") {
  const auto takes = [](const char* schema, std::string_view text) {
    const auto g = json_schema_grammar(schema);
    REQUIRE_MESSAGE(g, (g ? "" : g.error().to_string()));
    auto m = grammar_matcher::create(*g);
    REQUIRE(m);
    return *m->advance(text) && m->accepts();
  };
  for (const char* bound : {R"({"type":"number","maximum":1e19})", R"({"type":"number","minimum":-1e19})", R"({"type":"number","exclusiveMaximum":1e30})",
                            R"({"type":"number","exclusiveMinimum":-1e30,"maximum":2e18})"}) {
    CAPTURE(bound);
    for (const char* text : {"0", "-1.5", "999999999999999999.5", "-999999999999999999", "0.00000000000001"}) CHECK(takes(bound, text));
    for (const char* text : {"5e99", "-5e99", "1e1", "9999999999999999999", "-9999999999999999999"}) CHECK_FALSE(takes(bound, text));
  }
  CHECK(takes(R"({"type":"number"})", "5e99"));
  // Bounds that no 64 bits hold, as languages print theirs.
  for (const std::string& bound : {std::string("18446744073709551615"), std::string("1e20"), "1" + std::string(400, '0')}) {
    CAPTURE(bound);
    for (const char* type : {"integer", "number"}) {
      const std::string up_to = std::string(R"({"type":")") + type + R"(","minimum":0,"maximum":)" + bound + "}";
      const std::string from = std::string(R"({"type":")") + type + R"(","exclusiveMinimum":-)" + bound + R"(,"maximum":0})";
      CHECK(takes(up_to.c_str(), "999999999999999999"));
      CHECK_FALSE(takes(up_to.c_str(), "-1"));
      CHECK(takes(from.c_str(), "-999999999999999999"));
      CHECK_FALSE(takes(from.c_str(), "1"));
      const auto none = json_schema_grammar(std::string(R"({"type":")") + type + R"(","minimum":)" + bound + "}");
      REQUIRE_FALSE(none);
      CHECK(none.error().code == errc::limit_exceeded);
      CHECK(none.error().where == "#/minimum");
    }
  }
  CHECK(json_schema_grammar(R"({"type":"array","maxItems":18446744073709551615})").error().code == errc::limit_exceeded);
  CHECK(json_schema_grammar(R"({"type":"array","minItems":-18446744073709551615})").error().code == errc::syntax);
}

TEST_CASE("json_schema: an empty list of required members is as none") {
  for (const char* schema : {R"({"type":"object","required":[]})", R"({"type":"object"})"}) {
    CAPTURE(schema);
    auto m = grammar_matcher::create(*json_schema_grammar(schema));
    REQUIRE(m);
    const bool takes = *m->advance(R"({"a": 1, "b": {}})") && m->accepts();
    CHECK(takes);
  }
}

TEST_CASE("json_schema: properties come in their order, required ones always, blanks are bounded") {
  auto m = grammar_matcher::create(
      *json_schema_grammar(R"({"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"null"},"c":{"type":"boolean"}},"required":["b"]})"));
  REQUIRE(m);
  const auto is_whole = [&](std::string_view text) {
    REQUIRE(m->reset());
    return *m->advance(text) && m->accepts();
  };
  for (const char* text : {R"({"b":null})", R"({"a": 1, "b": null})", R"({"b":null,"c":true})", "{\n  \"a\": 1,\n  \"b\": null,\n  \"c\": false\n}"}) {
    CHECK(is_whole(text));
  }
  for (const char* text : {"{}", R"({"a":1})", R"({"b":null,"a":1})", R"({"b":null,})", R"({,"b":null})", R"({"b":null,"b":null})", R"({"b":null,"d":1})",
                           "{   \"b\":null}", " {\"b\":null}", "{\"b\":null} "}) {
    CHECK_FALSE(is_whole(text));
  }
}

TEST_CASE("json_schema: formats take what people write, and nothing that only looks like it") {
  struct sample {
    const char* format;
    std::vector<const char*> yes, no;
  };
  const sample samples[] = {
      {"email",
       {"a@b.co", "ada.lovelace@analytical-engine.org", "first.middle.surname+list@mail.example.co.uk"},
       {"a@b", "@b.co", "a..b@c.de", "a@-b.co", "a b@c.de"}},
      {"hostname", {"localhost", "www.3m.com", "a-b.example.co.uk"}, {"", "-a.com", "a-.com", "a..b", "a_b.com"}},
      {"ipv4", {"0.0.0.0", "192.168.1.255"}, {"256.1.1.1", "1.2.3", "01.2.3.4", "1.2.3.4.5"}},
      {"ipv6",
       {"::", "::1", "fe80::1", "2001:db8::8a2e:370:7334", "2001:0db8:85a3:0000:0000:8a2e:0370:7334"},
       {"1::2::3", ":1", "1:2:3", "12345::", "1:2:3:4:5:6:7:8:9"}},
      {"uri",
       {"https://example.com", "http://localhost:8080/a/b.html?q=x+y&z=%20#top", "s3://bucket.name/key"},
       {"example.com", "https:/x", "https://a b.com", "https://a.com/%2", "http://"}},
      {"duration", {"P1Y2M3DT4H5M6S", "PT36H", "P4W", "P1Y"}, {"P", "PT", "P1Y4W", "1D", "P1H", "P1Y3D"}}};
  for (const sample& s : samples) {
    const auto g = json_schema_grammar(std::string(R"({"type":"string","format":")") + s.format + "\"}");
    REQUIRE(g);
    auto m = grammar_matcher::create(*g);
    REQUIRE(m);
    const auto takes = [&](const char* text) {
      REQUIRE(m->reset());
      const auto fits = m->advance("\"" + std::string(text) + "\"");
      REQUIRE(fits);
      return *fits && m->accepts();
    };
    for (const char* text : s.yes) CHECK_MESSAGE(takes(text), text);
    for (const char* text : s.no) CHECK_MESSAGE(!takes(text), text);
  }
}

TEST_CASE("json_schema: schemas that meet themselves often, or nest what else is allowed, take time and room by their size") {
  // Forty ways from a schema to itself, in each of which there are forty.
  std::string ways;
  for (int i = 0; i < 40; ++i) ways += std::string(i == 0 ? "" : ",") + R"({"$ref":"#/$defs/A"})";
  const auto circular = json_schema_grammar(R"({"oneOf":[{"$ref":"#/$defs/A"},{"type":"null"}],"$defs":{"A":{"anyOf":[)" + ways + "]}}}");
  CHECK_FALSE(circular);
  // Expressions of twelve kinds of nodes that hold two expressions each: told apart by their tags.
  std::string nodes;
  for (int i = 0; i < 12; ++i) {
    nodes += std::string(i == 0 ? "" : ",") + R"({"type":"object","properties":{"op":{"const":"o)" + std::to_string(i) +
             R"("},"left":{"$ref":"#/$defs/E"},"right":{"$ref":"#/$defs/E"}},"required":["op"]})";
  }
  CHECK(json_schema_grammar(R"({"$ref":"#/$defs/E","$defs":{"E":{"oneOf":[)" + nodes + "]}}}"));
  // Ten required members each, twenty levels deep: one rule a level for what they may be.
  std::string schema = R"({"type":"string"})";
  for (int i = 0; i < 20; ++i) schema = R"({"type":"object","required":["a","b","c","d","e","f","g","h","i","j"],"additionalProperties":)" + schema + "}";
  const auto nested = json_schema_grammar(schema);
  REQUIRE_MESSAGE(nested, (nested ? "" : nested.error().to_string()));
}

TEST_CASE("json_schema: a schema that holds itself is left in time: what is required behind the child still fits") {
  struct sample {
    std::string schema, open;
  };
  const sample samples[] = {
      {R"({"type":"object","properties":{"child":{"$ref":"#"},"name":{"type":"string"}},"required":["name"]})", R"({"child":)"},
      {R"({"type":"object","properties":{"v":{"type":"integer"},"kids":{"type":"array","items":{"$ref":"#"}}},"required":["v","kids"]})", R"({"v":1,"kids":[)"},
      {R"({"anyOf":[{"type":"integer"},{"type":"object","properties":{"l":{"$ref":"#"},"r":{"$ref":"#"}},"required":["l","r"]}]})", R"({"l":)"},
  };
  for (const sample& s : samples) {
    CAPTURE(s.schema);
    const auto g = json_schema_grammar(s.schema);
    REQUIRE(g);
    auto m = grammar_matcher::create(*g), reader = grammar_matcher::create(*g, {.max_depth = grammar_matcher::most_depth});
    std::string text;
    const auto take = [&](std::string_view bytes) {
      for (const char c : bytes) {
        if (!*m->advance(std::string_view(&c, 1))) return false;
        text += c;
      }
      return true;
    };
    while (text.size() < 100'000 && take(s.open)) {}
    CHECK(text.size() > 100 * s.open.size());
    CHECK(text.size() < 500 * s.open.size());
    // From within what was begun: the first of these that fits, until the text is whole.
    for (std::size_t i = 0; i < 20'000 && !m->accepts(); ++i) {
      bool is_taken = false;
      for (const char* c = "\"]},:7lrvkidsname"; *c != '\0' && !is_taken; ++c) is_taken = take(std::string_view(c, 1));
      REQUIRE(is_taken);
    }
    CHECK(m->accepts());
    REQUIRE(*reader->advance(text));
    CHECK(reader->accepts());
  }
}

TEST_CASE("json_schema: large schemas take time by their size, and end where their rules take too much") {
  // Every reference leads to another place; where each looked through all, ten times the places took a hundred times the time.
  const auto refers = [](std::size_t n) {
    std::string branches, places;
    for (std::size_t i = 0; i < n; ++i) {
      branches += (i == 0 ? "" : ",") + (R"({"$ref":"#/$defs/a-name-)" + std::to_string(i)) + "\"}";
      places += (i == 0 ? "" : ",") + ("\"a-name-" + std::to_string(i)) + R"(":{"const":1})";
    }
    return json::parse(R"({"anyOf":[)" + branches + R"(],"$defs":{)" + places + "}}").value();
  };
  const auto seconds = [](const json& schema) {
    const auto start = std::chrono::steady_clock::now();
    CHECK(json_schema_to_gbnf(schema, {.max_bytes = std::size_t{1} << 26}));
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  const json small = refers(4'000), large = refers(40'000);
  CHECK(seconds(large) < 40 * seconds(small));
  const auto refused = json_schema_to_grammar(large);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == errc::limit_exceeded);
  const auto short_of_room = json_schema_to_gbnf(small, {.max_bytes = 1000});
  REQUIRE_FALSE(short_of_room);
  CHECK(short_of_room.error().code == errc::limit_exceeded);
  CHECK(short_of_room.error().where == "#/$defs/a-name-0");   // the first place behind the rule that was too long
  // A required name is looked for among the properties once, in a text that the file's author chose.
  std::string names, properties;
  for (int i = 0; i < 30'000; ++i) {
    names += std::string(i == 0 ? "" : ",") + "\"p" + std::to_string(i) + "\"";
    properties += std::string(i == 0 ? "" : ",") + "\"p" + std::to_string(i) + R"(":{"const":"x"})";
  }
  const std::string object = R"({"type":"object","properties":{)" + properties + R"(},"required":[)" + names + "]}";
  const auto start = std::chrono::steady_clock::now();
  CHECK(json_schema_grammar(R"({"oneOf":[)" + object + R"(,{"type":"null"}]})").error().code == errc::limit_exceeded);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(20));
}

TEST_CASE("json_schema: what a oneOf refers to is looked at once, however many do, and telling schemas apart has a limit") {
  const auto list_of = [](std::size_t n, const std::string& stem) {
    std::string out;
    for (std::size_t i = 0; i < n; ++i) out += (i == 0 ? "\"" : ",\"") + stem + std::to_string(i) + "\"";
    return "{\"enum\":[" + out + "]}";
  };
  const std::string shared = R"({"$ref":"#/$defs/e"})";
  for (const std::string& use : {shared, R"({"anyOf":[)" + shared + R"(,{"type":"boolean"}]})",
                                 R"({"type":"object","properties":{"k":)" + shared + R"(},"required":["k"]})"}) {
    CAPTURE(use);
    constexpr std::size_t n_values = 3000, n_uses = 1000;
    std::string uses;
    for (std::size_t i = 0; i < n_uses; ++i) {
      uses += std::string(i == 0 ? "" : ",") + "\"p" + std::to_string(i) + R"(":{"oneOf":[)" + use + R"(,{"type":"null"}]})";
    }
    const std::string text = R"({"type":"object","properties":{)" + uses + R"(},"$defs":{"e":)" + list_of(n_values, "v") + "}}";
    CHECK(json_schema_grammar(text));
    const json schema = json::parse(text).value();
    detail::schema_places places(schema);
    detail::schema_summaries summaries(places);
    for (const auto& [key, member] : *schema.find("properties")->get_if<json::object>()) {
      const auto& branches = *member.find("oneOf")->get_if<json::array>();
      CHECK(summaries.are_disjoint(summaries.of(branches[0]), summaries.of(branches[1])));
    }
    CHECK(summaries.n_looks() < n_values + 12 * n_uses);
  }
  // Three hundred lists, which have to be told apart from each other in forty places.
  std::string lists, branches, uses;
  for (int i = 0; i < 300; ++i) {
    lists += std::string(i == 0 ? "" : ",") + "\"e" + std::to_string(i) + "\":" + list_of(10, std::to_string(i) + "-");
    branches += std::string(i == 0 ? "" : ",") + R"({"$ref":"#/$defs/e)" + std::to_string(i) + "\"}";
  }
  for (int i = 0; i < 40; ++i) uses += std::string(i == 0 ? "" : ",") + "\"p" + std::to_string(i) + R"(":{"oneOf":[)" + branches + "]}";
  CHECK(json_schema_grammar(R"({"oneOf":[)" + branches + R"(],"$defs":{)" + lists + "}}"));
  const auto refused = json_schema_to_gbnf(json::parse(R"({"type":"object","properties":{)" + uses + R"(},"$defs":{)" + lists + "}}").value());
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == errc::limit_exceeded);
  CHECK(refused.error().where.ends_with("/oneOf"));
}

TEST_CASE("json_schema: what is not supported or not possible is refused, with the pointer of the keyword") {
  struct sample {
    const char* schema;
    errc code;
    const char* where;
  };
  const sample samples[] = {{R"({"type":"integer","foo":1})", errc::syntax, "#/foo"},
                            {R"({"type":"integer","multipleOf":3})", errc::syntax, "#/multipleOf"},
                            {R"({"not":{}})", errc::syntax, "#/not"},
                            {"false", errc::bad_value, "#"},
                            {"3", errc::syntax, "#"},
                            {R"({"type":"foo"})", errc::syntax, "#/type"},
                            {R"({"type":[]})", errc::syntax, "#/type"},
                            {R"({"type":"number","maximum":"3"})", errc::syntax, "#/maximum"},
                            {R"({"type":"number","minimum":1,"maximum":0.5})", errc::bad_value, "#"},
                            {R"({"type":"number","exclusiveMinimum":0.5,"maximum":0.5})", errc::bad_value, "#"},
                            {R"({"type":"number","minimum":123456789012345})", errc::limit_exceeded, "#/minimum"},
                            {R"({"minLength":-1})", errc::syntax, "#/minLength"},
                            {R"({"maxLength":100000000})", errc::limit_exceeded, "#/maxLength"},
                            {R"({"minLength":3,"maxLength":2})", errc::bad_value, "#/maxLength"},
                            {R"({"type":"integer","minimum":3,"maximum":2})", errc::bad_value, "#"},
                            {R"({"type":"integer","minimum":1.5})", errc::syntax, "#/minimum"},
                            {R"({"pattern":"a","minLength":1})", errc::syntax, "#/pattern"},
                            {R"({"format":"iri"})", errc::syntax, "#/format"},
      {R"({"format":"email","maxLength":100})", errc::syntax, "#/format"},
      {R"({"format":"uuid","minLength":40})", errc::syntax, "#/format"},
      {R"({"propertyNames":{"pattern":"^a"}})", errc::syntax, "#/propertyNames"},
      {R"({"properties":{"a":{"$id":"x","type":"null"}}})", errc::syntax, "#/properties/a/$id"},
      {R"({"items":[{}],"prefixItems":[{}]})", errc::syntax, "#/items"},
      {R"({"items":{},"additionalItems":{}})", errc::syntax, "#/additionalItems"},
      {R"({"items":[]})", errc::syntax, "#/items"},
      {R"({"items":[{"not":{}}]})", errc::syntax, "#/items/0/not"},
      {R"({"items":[{}],"additionalItems":{"not":{}}})", errc::syntax, "#/additionalItems/not"},
                            {R"({"pattern":"^(?=a)$"})", errc::syntax, "#/pattern"},
                            {R"({"pattern":"(a)\\1"})", errc::syntax, "#/pattern"},
                            {R"x({"pattern":"(^a|b$)"})x", errc::syntax, "#/pattern"},
                            {R"({"pattern":"[a"})", errc::syntax, "#/pattern"},
                            {R"({"pattern":"a{"})", errc::syntax, "#/pattern"},
                            {R"({"enum":[]})", errc::syntax, "#/enum"},
                            {R"({"type":"string","enum":[1]})", errc::bad_value, "#/enum"},
                            {R"({"enum":["a"],"minLength":1})", errc::syntax, "#/minLength"},
                            {R"({"$ref":"#/$defs/x"})", errc::syntax, "#/$ref"},
                            {R"({"$ref":"other.json"})", errc::syntax, "#/$ref"},
                            {R"({"$ref":"#"})", errc::bad_value, "#/$ref"},
                            {R"({"anyOf":[{"$ref":"#"},{"type":"null"}]})", errc::bad_value, "#/anyOf/0/$ref"},
                            {R"({"type":"object","properties":{"x":{"$ref":"#"}},"required":["x"]})", errc::bad_value, "#"},
                            {R"({"oneOf":[{"type":"integer"},{"type":"number"}]})", errc::syntax, "#/oneOf/1"},
                            {R"({"oneOf":[{"const":1},{"const":1.0}]})", errc::syntax, "#/oneOf/1"},
                            {R"({"allOf":[{},{}]})", errc::syntax, "#/allOf"},
                            {R"({"properties":{},"required":["a"],"additionalProperties":false})", errc::bad_value, "#/required"},
                            {R"({"required":"a"})", errc::syntax, "#/required"},
                            {R"({"properties":{"a/b":{"type":"array","items":{"uniqueItems":true}}}})", errc::syntax, "#/properties/a~1b/items/uniqueItems"},
                            {R"({"prefixItems":[{}],"items":false,"minItems":3})", errc::bad_value, "#/minItems"},
                            {R"({"type":"object","anyOf":[{}]})", errc::syntax, "#/type"},
                            {R"({"type":)", errc::syntax, "line 1, column 9"}};
  for (const sample& s : samples) {
    CAPTURE(s.schema);
    const auto g = json_schema_grammar(s.schema);
    REQUIRE_FALSE(g);
    CHECK(g.error().code == s.code);
    CHECK(g.error().where == s.where);
  }
}
