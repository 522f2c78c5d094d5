// SPDX-License-Identifier: MIT
// chat/jinja/library.hpp - the tables of names that every template may use: filters, tests and functions. Also map, select and reject, since these look up
// the filters and tests that they are told to apply.
//
// Ensures   a name that is not in a table does not exist: using it is an error
// Errors    bad_value where jinja2 raises; limit_exceeded (range)
// Source    Jinja 3.1 template designer documentation, "List of Global Functions"; raise_exception, strftime_now: transformers' chat templates
#pragma once

#include <cria/chat/jinja/filters.hpp>
#include <cria/chat/jinja/sequence_filters.hpp>
#include <cria/chat/jinja/strftime.hpp>
#include <cria/chat/jinja/tests.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cria::inline v0_1_0::jinja {

[[nodiscard]] inline const builtin* find_filter(std::string_view name) noexcept;
[[nodiscard]] inline const builtin* find_test(std::string_view name) noexcept;

struct higher_filters {
  /// Returns the builtin that the first of the values names, or nothing and a failure.
  [[nodiscard]] static const builtin* need_builtin(runtime& rt, const value& name, bool is_filter) {
    const builtin* found = !name.is_string() ? nullptr : is_filter ? find_filter(name.bytes()) : find_test(name.bytes());
    if (found == nullptr) {
      rt.fail(std::string(is_filter ? "there is no filter " : "there is no test ") +
              (name.is_string() ? "'" + printable(name.bytes()) + "'" : "without a name"));
    }
    return found;
  }
  static value map(runtime& rt, const value& self, const arguments& given) {
    if (!is_true(self)) return rt.make_iterator({});
    std::vector<value> out;
    if (given.positional.empty()) {
      value attribute, otherwise;
      for (const keyword& k : given.named) {
        if (k.name == "attribute") attribute = k.given;
        else if (k.name == "default") otherwise = k.given;
        else rt.fail("map has no argument '" + printable(k.name) + "'");
      }
      if (attribute.is_missing()) return rt.fail("map needs a filter or attribute=");
      const attribute_path path(rt, attribute);
      for (const value& v : iterate(rt, self)) {
        if (rt.has_failed()) break;
        out.push_back(path.find(v, otherwise));
      }
    } else {
      const builtin* filter = need_builtin(rt, given.positional[0], true);
      const arguments rest{given.positional.subspan(1), given.named};
      for (const value& v : iterate(rt, self)) {
        if (rt.has_failed()) break;
        out.push_back(call_builtin(rt, *filter, v, rest));
      }
    }
    return rt.has_failed() ? value::none() : rt.make_iterator(out);
  }
  template <bool Wanted, bool ByAttribute>
  static value select(runtime& rt, const value& self, const arguments& given) {
    if (!is_true(self)) return rt.make_iterator({});
    std::span<const value> rest = given.positional;
    if (ByAttribute && rest.empty()) return rt.fail("the name of an attribute is missing");
    const attribute_path path(rt, ByAttribute ? rest[0] : value());
    if (ByAttribute) rest = rest.subspan(1);
    const builtin* test = rest.empty() ? nullptr : need_builtin(rt, rest[0], false);
    const arguments test_arguments{rest.empty() ? rest : rest.subspan(1), given.named};
    std::vector<value> out;
    for (const value& v : iterate(rt, self)) {
      if (rt.has_failed()) break;
      const value found = path.find(v);
      if (is_true(test == nullptr ? found : call_builtin(rt, *test, found, test_arguments)) == Wanted) out.push_back(v);
    }
    return rt.has_failed() ? value::none() : rt.make_iterator(out);
  }
  template <bool IsFilter>
  static value exists(runtime&, const value& self, given_values) {
    return self.is_string() && (IsFilter ? find_filter(self.bytes()) : find_test(self.bytes())) != nullptr;
  }
};

struct global_functions {
  static value make_range(runtime& rt, const value&, given_values given) {
    range r;
    const bool has_start = !given[1].is_missing();
    r.start = has_start ? string_methods::need_integer(rt, given[0], 0) : 0;
    r.stop = string_methods::need_integer(rt, given[has_start ? 1 : 0], 0);
    r.step = string_methods::need_integer(rt, given[2], 1);
    if (rt.has_failed() || r.step == 0) return rt.fail("the step of a range is 0");
    const bool goes_up = r.step > 0;
    if (goes_up ? r.start >= r.stop : r.start <= r.stop) return rt.make(r);
    const std::uint64_t distance = goes_up ? static_cast<std::uint64_t>(r.stop) - static_cast<std::uint64_t>(r.start)
                                           : static_cast<std::uint64_t>(r.start) - static_cast<std::uint64_t>(r.stop);
    const std::uint64_t stride = goes_up ? static_cast<std::uint64_t>(r.step) : ~static_cast<std::uint64_t>(r.step) + 1;
    constexpr std::uint64_t most = 100'000;   // as in Jinja's sandbox
    const std::uint64_t length = (distance - 1) / stride + 1;
    if (length > most) return rt.fail("a range of more than " + std::to_string(most) + " numbers", errc::limit_exceeded);
    r.length = static_cast<std::int64_t>(length);
    return rt.make(r);
  }
  /// Collects the pairs of dict(mapping or pairs, name=value, ...).
  [[nodiscard]] static std::vector<pair> collect_pairs(runtime& rt, const arguments& given) {
    std::vector<pair> pairs;
    const auto put = [&](const value& key, const value& mapped) {
      if (!is_hashable(rt, key)) return void(rt.has_failed() ? value::none() : rt.fail_type("no key can be a", key));
      if (!rt.charge(1 + pairs.size() / 8)) return;
      for (pair& p : pairs) {
        if (equals(rt, p.key, key)) return void(p.mapped = mapped);
      }
      pairs.push_back({key, mapped});
    };
    if (given.positional.size() > 1) return rt.fail("expected one mapping at most"), pairs;
    if (!given.positional.empty()) {
      const value& from = given.positional[0];
      if (from.is(kind::dict)) {
        pairs.assign(from.members->pairs.begin(), from.members->pairs.end());
      } else {
        for (const value& entry : iterate(rt, from)) {
          const auto both = iterate(rt, entry);
          if (both.size() != 2) return rt.fail("a dict is made of pairs"), pairs;
          put(both[0], both[1]);
        }
      }
    }
    for (const keyword& k : given.named) put(rt.string(k.name), k.given);
    return pairs;
  }
  static value make_dict(runtime& rt, const value&, const arguments& given) {
    const auto pairs = collect_pairs(rt, given);
    return rt.has_failed() ? value::none() : rt.make_dict(pairs);
  }
  static value make_namespace(runtime& rt, const value&, const arguments& given) {
    const auto pairs = collect_pairs(rt, given);
    if (rt.has_failed() || !rt.charge(pairs.size() + 1)) return value::none();
    name_space* space = rt.make(name_space{});
    space->pairs = rt.copy(std::span<const pair>(pairs));
    space->n = space->pairs.size();
    return space;
  }
  static value make_cycler(runtime& rt, const value&, const arguments& given) {
    if (given.positional.empty() || !given.named.empty()) return rt.fail("cycler needs values");
    return rt.make(cycler{rt.copy(given.positional), 0});
  }
  static value make_joiner(runtime& rt, const value&, given_values given) {
    return rt.make(joiner{rt.make(given[0].is_missing() ? text{", ", {}} : to_text(rt, given[0])), false});
  }
  static value raise_exception(runtime& rt, const value&, given_values given) { return rt.fail(printable(to_text(rt, given[0]).bytes, 1000)); }
  static value strftime_now(runtime& rt, const value&, given_values given) {
    const text* format = string_methods::need_text(rt, given[0]);
    if (format == nullptr || !rt.charge_bytes(16 * format->bytes.size())) return value::none();
    const auto written = time_writer(rt.now()).write(format->bytes);
    return written ? rt.string(*written) : rt.fail("strftime_now: a directive that is not supported in '" + printable(format->bytes) + "'");
  }
};

inline constexpr builtin filter_table[] = {
    {"abs", "", 0, &number_filters::absolute},
    {"attr", "name", 1, &sequence_filters::attribute},
    {"batch", "linecount fill_with", 1, &sequence_filters::batch},
    {"capitalize", "", 0, &text_filters::with_text<&string_methods::changed<&append_capitalised>>},
    {"center", "width", 0, &text_filters::center},
    {"count", "", 0, &sequence_filters::length},
    {"d", "default_value boolean", 0, &text_filters::default_value},
    {"default", "default_value boolean", 0, &text_filters::default_value},
    {"dictsort", "case_sensitive by reverse", 0, &sequence_filters::dict_sort},
    {"e", "", 0, &text_filters::escape},
    {"escape", "", 0, &text_filters::escape},
    {"first", "", 0, &sequence_filters::first},
    {"float", "default", 0, &number_filters::to_real},
    {"forceescape", "", 0, &text_filters::force_escape},
    {"format", "", 0, nullptr, &text_filters::format},
    {"indent", "width first blank", 0, &text_filters::indent},
    {"int", "default base", 0, &number_filters::to_integer},
    {"items", "", 0, &sequence_filters::items},
    {"join", "d attribute", 0, &sequence_filters::join},
    {"last", "", 0, &sequence_filters::last},
    {"length", "", 0, &sequence_filters::length},
    {"list", "", 0, &sequence_filters::list},
    {"lower", "", 0, &text_filters::with_text<&string_methods::changed<&string_methods::append_lower>>},
    {"map", "", 0, nullptr, &higher_filters::map},
    {"max", "case_sensitive attribute", 0, &sequence_filters::extreme<operation::greater>},
    {"min", "case_sensitive attribute", 0, &sequence_filters::extreme<operation::less>},
    {"reject", "", 0, nullptr, &higher_filters::select<false, false>},
    {"rejectattr", "", 0, nullptr, &higher_filters::select<false, true>},
    {"replace", "old new count", 2, &text_filters::replace},
    {"reverse", "", 0, &sequence_filters::reverse},
    {"round", "precision method", 0, &number_filters::round},
    {"safe", "", 0, &text_filters::safe},
    {"select", "", 0, nullptr, &higher_filters::select<true, false>},
    {"selectattr", "", 0, nullptr, &higher_filters::select<true, true>},
    {"slice", "slices fill_with", 1, &sequence_filters::slice},
    {"sort", "reverse case_sensitive attribute", 0, &sequence_filters::sort},
    {"string", "", 0, &text_filters::string},
    {"sum", "attribute start", 0, &sequence_filters::sum},
    {"title", "", 0, &text_filters::with_text<&string_methods::changed<&text_filters::append_title>>},
    {"tojson", "ensure_ascii indent separators sort_keys", 0, &text_filters::to_json},
    {"trim", "chars", 0, &text_filters::with_text<&string_methods::strip<string_methods::side::both>>},
    {"truncate", "length killwords end leeway", 0, &text_filters::truncate},
    {"unique", "case_sensitive attribute", 0, &sequence_filters::unique},
    {"upper", "", 0, &text_filters::with_text<&string_methods::changed<&string_methods::append_upper>>},
    {"wordcount", "", 0, &text_filters::count_words},
};

inline constexpr builtin test_table[] = {
    {"!=", "other", 1, &test_functions::compare<operation::not_equal>},
    {"<", "other", 1, &test_functions::compare<operation::less>},
    {"<=", "other", 1, &test_functions::compare<operation::less_equal>},
    {"==", "other", 1, &test_functions::compare<operation::equal>},
    {">", "other", 1, &test_functions::compare<operation::greater>},
    {">=", "other", 1, &test_functions::compare<operation::greater_equal>},
    {"boolean", "", 0, &test_functions::is_kind<kind::boolean>},
    {"callable", "", 0, &test_functions::is_callable},
    {"defined", "", 0, &test_functions::is_defined},
    {"divisibleby", "num", 1, &test_functions::is_divisible},
    {"eq", "other", 1, &test_functions::compare<operation::equal>},
    {"equalto", "other", 1, &test_functions::compare<operation::equal>},
    {"escaped", "", 0, &test_functions::is_escaped},
    {"even", "", 0, &test_functions::is_rest_of_two<0>},
    {"false", "", 0, &test_functions::is_boolean<false>},
    {"filter", "", 0, &higher_filters::exists<true>},
    {"float", "", 0, &test_functions::is_kind<kind::real>},
    {"ge", "other", 1, &test_functions::compare<operation::greater_equal>},
    {"greaterthan", "other", 1, &test_functions::compare<operation::greater>},
    {"gt", "other", 1, &test_functions::compare<operation::greater>},
    {"in", "seq", 1, &test_functions::compare<operation::in>},
    {"integer", "", 0, &test_functions::is_kind<kind::integer, kind::big_integer>},
    {"iterable", "", 0, &test_functions::is_iterable},
    {"le", "other", 1, &test_functions::compare<operation::less_equal>},
    {"lessthan", "other", 1, &test_functions::compare<operation::less>},
    {"lower", "", 0, &test_functions::is_case<letter_case::lower>},
    {"lt", "other", 1, &test_functions::compare<operation::less>},
    {"mapping", "", 0, &test_functions::is_kind<kind::dict>},
    {"ne", "other", 1, &test_functions::compare<operation::not_equal>},
    {"none", "", 0, &test_functions::is_kind<kind::none>},
    {"number", "", 0, &test_functions::is_kind<kind::boolean, kind::integer, kind::big_integer, kind::real>},
    {"odd", "", 0, &test_functions::is_rest_of_two<1>},
    {"sameas", "other", 1, &test_functions::is_same},
    {"sequence", "", 0, &test_functions::is_sequence},
    {"string", "", 0, &test_functions::is_kind<kind::string>},
    {"test", "", 0, &higher_filters::exists<false>},
    {"true", "", 0, &test_functions::is_boolean<true>},
    {"undefined", "", 0, &test_functions::is_kind<kind::undefined>},
    {"upper", "", 0, &test_functions::is_case<letter_case::upper>},
};

inline constexpr builtin global_table[] = {
    {"cycler", "", 0, nullptr, &global_functions::make_cycler},
    {"dict", "", 0, nullptr, &global_functions::make_dict},
    {"joiner", "sep", 0, &global_functions::make_joiner},
    {"namespace", "", 0, nullptr, &global_functions::make_namespace},
    {"raise_exception", "message", 1, &global_functions::raise_exception},
    {"range", "/ start stop step", 1, &global_functions::make_range},
    {"strftime_now", "format", 1, &global_functions::strftime_now},
};

inline const builtin* find_filter(std::string_view name) noexcept { return find_builtin(filter_table, name); }
inline const builtin* find_test(std::string_view name) noexcept { return find_builtin(test_table, name); }
[[nodiscard]] inline const builtin* find_global(std::string_view name) noexcept { return find_builtin(global_table, name); }

}  // namespace cria::inline v0_1_0::jinja
