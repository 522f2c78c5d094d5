// SPDX-License-Identifier: MIT
// chat/jinja/value.hpp - what a template computes with: the kinds of values that Python has, as far as templates meet them.
//
// Ensures   a value is 16 bytes and copied freely; everything but namespaces, loops, cyclers and joiners is immutable, as in Jinja's sandbox
// Lifetime  payloads live in the arena of the rendering (or of the compiled template, for its constants)
#pragma once

#include <cria/chat/jinja/text.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace cria::inline v0_1_0::jinja {

class runtime;
class evaluator;
struct value;
struct dict;
struct range;
struct sequence;
struct name_space;
struct undefined;
struct macro;
struct builtin;
struct method;
struct loop;
struct cycler;
struct joiner;

/// What a value is, in the order of type_name.
enum class kind : std::uint8_t {
  missing,      ///< no value at all: an argument that was not given, a variable that was never set; never seen by templates
  undefined,
  none,
  boolean,
  integer,
  big_integer,  ///< beyond 64 bits, from JSON: can be printed and compared, not computed with
  real,
  string,
  list,
  tuple,
  dict,
  range,
  view,         ///< d.keys(), d.values(), d.items()
  iterator,     ///< what map, select, reverse and others give: without length or index
  name_space,
  macro,
  builtin,
  method,       ///< a builtin with its object: text.strip
  loop,
  cycler,
  joiner,
};

/// Returns what Python calls the kind.
[[nodiscard]] constexpr std::string_view type_name(kind k) noexcept {
  constexpr std::string_view names[] = {
      "missing", "Undefined", "NoneType", "bool", "int", "int", "float", "str", "list", "tuple", "dict", "range", "dict_items", "generator", "Namespace",
      "Macro", "builtin_function_or_method", "builtin_function_or_method", "LoopContext", "Cycler", "Joiner"};
  return names[static_cast<std::size_t>(k)];
}

/// A value: its kind, and what the kind needs. Copies of a value share what it points to.
struct value {
  kind type = kind::missing;
  union {
    bool boolean;
    std::int64_t integer;
    double real;
    const text* string;        // big_integer: its digits
    const sequence* items;     // list, tuple, view
    sequence* iterator;        // what is left of it
    const dict* members;
    const range* numbers;
    name_space* space;
    const undefined* cause;
    const macro* function;
    const builtin* native;
    const method* bound;
    jinja::loop* iteration;
    jinja::cycler* cycle;
    jinja::joiner* join;
  };

  constexpr value() noexcept : integer(0) {}
  constexpr value(bool b) noexcept : type(kind::boolean), boolean(b) {}
  constexpr value(std::int64_t n) noexcept : type(kind::integer), integer(n) {}
  constexpr value(double x) noexcept : type(kind::real), real(x) {}
  constexpr value(const text* t) noexcept : type(kind::string), string(t) {}
  constexpr value(const dict* d) noexcept : type(kind::dict), members(d) {}
  constexpr value(const range* r) noexcept : type(kind::range), numbers(r) {}
  constexpr value(name_space* n) noexcept : type(kind::name_space), space(n) {}
  constexpr value(const undefined* u) noexcept : type(kind::undefined), cause(u) {}
  constexpr value(const macro* m) noexcept : type(kind::macro), function(m) {}
  constexpr value(const builtin* b) noexcept : type(kind::builtin), native(b) {}
  constexpr value(const method* m) noexcept : type(kind::method), bound(m) {}
  constexpr value(jinja::loop* l) noexcept : type(kind::loop), iteration(l) {}
  constexpr value(jinja::cycler* c) noexcept : type(kind::cycler), cycle(c) {}
  constexpr value(jinja::joiner* j) noexcept : type(kind::joiner), join(j) {}
  /// A list, tuple or view.
  constexpr value(kind k, const sequence* s) noexcept : type(k), items(s) {}
  constexpr value(sequence* s) noexcept : type(kind::iterator), iterator(s) {}
  template <class T>
  value(const T*) = delete;   // no pointer becomes a bool

  [[nodiscard]] static constexpr value none() noexcept {
    value v;
    v.type = kind::none;
    return v;
  }

  [[nodiscard]] constexpr bool is(kind k) const noexcept { return type == k; }
  [[nodiscard]] constexpr bool is_missing() const noexcept { return type == kind::missing; }
  [[nodiscard]] constexpr bool is_undefined() const noexcept { return type == kind::undefined; }
  [[nodiscard]] constexpr bool is_string() const noexcept { return type == kind::string; }
  /// Returns whether it is what Python calls an int here: bool is one.
  [[nodiscard]] constexpr bool is_integral() const noexcept { return type == kind::integer || type == kind::boolean; }
  [[nodiscard]] constexpr bool is_number() const noexcept { return is_integral() || type == kind::real; }
  [[nodiscard]] constexpr bool is_container() const noexcept { return type == kind::list || type == kind::tuple || type == kind::dict || type == kind::view; }
  [[nodiscard]] constexpr std::int64_t as_integer() const noexcept { return type == kind::boolean ? std::int64_t{boolean} : integer; }
  [[nodiscard]] constexpr double as_real() const noexcept { return type == kind::real ? real : static_cast<double>(as_integer()); }
  [[nodiscard]] std::string_view bytes() const noexcept { return string->bytes; }
};

/// The elements of a list, tuple or view; or what is left of an iterator.
struct sequence {
  std::span<const value> values;
  std::uint32_t depth = 1;                  ///< containers inside each other, itself included
  std::string_view name = "dict_items";     ///< of a view
};

/// A key of a dict and its value.
struct pair {
  value key, mapped;
};

/// A dict, in the order in which its keys were added.
struct dict {
  std::span<const pair> pairs;
  std::uint32_t depth = 1;
};

/// range(start, stop, step), which has `length` numbers.
struct range {
  std::int64_t start = 0, stop = 0, step = 1;
  std::int64_t length = 0;

  /// Returns the number at a place: exact for those of the range; one behind the end may lie beyond 64 bits, and nobody asks for it.
  [[nodiscard]] constexpr std::int64_t at(std::int64_t i) const noexcept {
    return static_cast<std::int64_t>(static_cast<std::uint64_t>(start) + static_cast<std::uint64_t>(i) * static_cast<std::uint64_t>(step));
  }
};

/// namespace(): the one value whose members templates may set.
struct name_space {
  std::span<pair> pairs;     // room
  std::size_t n = 0;         // pairs in use
};

/// Why there is nothing: the object and the name that it does not have, or a sentence.
struct undefined {
  value object;              // missing: the name is a variable
  value name;
  std::string_view hint;
};

/// An argument that was given by name.
struct keyword {
  std::string_view name;
  value given;
};

/// The arguments of a call.
struct arguments {
  std::span<const value> positional;
  std::span<const keyword> named;
};

/// A function, filter, test or method of the library. `parameters` are names parted by spaces; "/" before them: by position only.
struct builtin {
  using simple = value (*)(runtime&, const value& self, std::span<const value> given);        // given: one per parameter, missing where absent
  using variadic = value (*)(runtime&, const value& self, const arguments&);
  std::string_view name;
  std::string_view parameters;
  std::size_t n_required = 0;
  simple call = nullptr;
  variadic call_all = nullptr;
};

/// A builtin with the object that it was taken from, as in text.strip.
struct method {
  const builtin* native = nullptr;
  value self;
};

/// cycler(a, b): gives its values in turn.
struct cycler {
  std::span<const value> values;
  std::size_t position = 0;
};

/// joiner(", "): gives nothing the first time, then the separator.
struct joiner {
  const text* separator = nullptr;
  bool is_used = false;
};

}  // namespace cria::inline v0_1_0::jinja
