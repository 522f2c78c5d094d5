// SPDX-License-Identifier: MIT
// chat/jinja/repr.hpp - values as text: Python's str() and repr(), and JSON as the tojson filter of Hugging Face's transformers writes it.
//
// Ensures   text from the conversation stays marked as such, also inside printed lists and JSON
// Errors    bad_value for values whose printed form Python does not define either (methods, generators) and that JSON does not have
// Source    Python 3 library reference, repr() and json.dumps(); transformers 4.5x, utils/chat_template_utils.py: tojson(x, ensure_ascii=False,
//           indent=None, separators=None, sort_keys=False)
#pragma once

#include <cria/chat/json.hpp>
#include <cria/chat/jinja/operators.hpp>
#include <cria/chat/jinja/sorting.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cria::inline v0_1_0::jinja {

/// Returns whether Python's str.isprintable() holds for the character.
[[nodiscard]] inline bool is_printable(char32_t code) noexcept {
  const char_class c = cria::detail::class_of(code);
  return code == ' ' || (c != char_class::other && c != char_class::space);
}

inline void append_string_repr(text_builder& out, const text& t) {
  constexpr std::string_view hex = "0123456789abcdef";
  const char quote = t.bytes.find('\'') != t.bytes.npos && t.bytes.find('"') == t.bytes.npos ? '"' : '\'';
  if (t.is_safe) out.add("Markup(");
  out.add({&quote, 1});
  for_each_char(t, [&](char32_t code, std::string_view bytes, bool is_content) {
    if (code == static_cast<unsigned char>(quote) || code == '\\') {
      out.add("\\", is_content).add(bytes, is_content);
    } else if (code == '\n' || code == '\r' || code == '\t') {
      out.add(code == '\n' ? "\\n" : code == '\r' ? "\\r" : "\\t", is_content);
    } else if (code == cria::detail::invalid_char || is_printable(code)) {
      out.add(bytes, is_content);
    } else {
      const std::size_t n = code < 0x100 ? 2 : code < 0x10000 ? 4 : 8;
      std::string escape = n == 2 ? "\\x" : n == 4 ? "\\u" : "\\U";
      for (std::size_t i = n; i-- > 0;) escape += hex[code >> (4 * i) & 15];
      out.add(escape, is_content);
    }
  });
  out.add({&quote, 1});
  if (t.is_safe) out.add(")");
}

inline void append_repr(runtime& rt, text_builder& out, const value& v);

inline void append_items(runtime& rt, text_builder& out, std::span<const value> items) {
  for (std::size_t i = 0; i < items.size() && !rt.has_failed(); ++i) {
    if (i != 0) out.add(", ");
    append_repr(rt, out, items[i]);
  }
}
inline void append_pairs(runtime& rt, text_builder& out, std::span<const pair> pairs) {
  out.add("{");
  for (std::size_t i = 0; i < pairs.size() && !rt.has_failed(); ++i) {
    if (i != 0) out.add(", ");
    append_repr(rt, out, pairs[i].key);
    out.add(": ");
    append_repr(rt, out, pairs[i].mapped);
  }
  out.add("}");
}
inline std::string range_repr(const range& r) {
  std::string s = "range(" + std::to_string(r.start) + ", " + std::to_string(r.stop);
  return s + (r.step == 1 ? ")" : ", " + std::to_string(r.step) + ")");
}
/// Appends repr(v): texts in quotes.
inline void append_repr(runtime& rt, text_builder& out, const value& v) {
  const runtime::level guard(rt);
  if (rt.has_failed() || !rt.charge(1)) return;
  switch (v.type) {
    case kind::undefined: out.add("Undefined"); return;
    case kind::none: out.add("None"); return;
    case kind::boolean: out.add(v.boolean ? "True" : "False"); return;
    case kind::integer: out.add(std::to_string(v.integer)); return;
    case kind::big_integer: if (rt.charge_bytes(v.bytes().size())) out.add(*v.string); return;
    case kind::real: out.add(cria::detail::python_repr(v.real)); return;
    case kind::string: if (rt.charge_chars(v.bytes().size())) append_string_repr(out, *v.string); return;
    case kind::list: out.add("["); append_items(rt, out, v.items->values); out.add("]"); return;
    case kind::tuple: out.add("("); append_items(rt, out, v.items->values); out.add(v.items->values.size() == 1 ? ",)" : ")"); return;
    case kind::dict: return append_pairs(rt, out, v.members->pairs);
    case kind::range: out.add(range_repr(*v.numbers)); return;
    case kind::view: out.add(v.items->name).add("(["); append_items(rt, out, v.items->values); out.add("])"); return;
    case kind::name_space: out.add("<Namespace "); append_pairs(rt, out, v.space->pairs.first(v.space->n)); out.add(">"); return;
    case kind::macro: {
      const std::string_view name = v.function->definition->spelling;
      if (!rt.charge_bytes(name.size())) return;
      out.add(name.empty() ? "<Macro anonymous>" : "<Macro '" + std::string(name) + "'>");
      return;
    }
    default: rt.fail_type("what Python prints is not defined for a", v);
  }
}

/// Appends str(v).
inline void append_str(runtime& rt, text_builder& out, const value& v) {
  if (v.is_string()) {
    if (rt.charge_bytes(v.bytes().size())) out.add(*v.string);
  } else if (!v.is_undefined()) {
    append_repr(rt, out, v);
  }
}

/// Returns str(v) as a text; a text itself as it is.
[[nodiscard]] inline text to_text(runtime& rt, const value& v) {
  if (v.is_string()) return *v.string;
  text_builder out;
  append_str(rt, out, v);
  return rt.finish(out);
}

struct json_style {
  bool ascii_only = false;
  bool sort_keys = false;
  bool is_indented = false;
  text indent;                            ///< of one level
  text item_separator{", ", {}}, key_separator{": ", {}};
};

class json_writer {
 public:
  json_writer(runtime& rt, text_builder& out, const json_style& style) : rt_(rt), out_(out), style_(style) {}

  void write(const value& v) {
    const runtime::level guard(rt_);
    if (rt_.has_failed() || !rt_.charge(1)) return;
    switch (v.type) {
      case kind::none: out_.add("null"); return;
      case kind::boolean: out_.add(v.boolean ? "true" : "false"); return;
      case kind::real: out_.add(cria::detail::json_number(v.real)); return;
      case kind::string: return write_string(*v.string);
      case kind::integer: case kind::big_integer: return append_repr(rt_, out_, v);
      case kind::list: case kind::tuple: return write_list(v.items->values);
      case kind::dict: return write_dict(v.members->pairs);
      default: rt_.fail_type("JSON has nothing for a", v);
    }
  }

 private:
  void write_string(const text& t) {
    if (!rt_.charge_chars(t.bytes.size())) return;
    out_.add("\"");
    std::string piece;
    for_each_char(t, [&](char32_t code, std::string_view bytes, bool is_content) {
      piece.clear();
      cria::detail::append_json_char(piece, code, bytes, style_.ascii_only);
      out_.add(piece, is_content);
    });
    out_.add("\"");
  }
  void start_line() {
    if (!style_.is_indented) return;
    out_.add("\n");
    if (!rt_.charge(level_ * (1 + style_.indent.bytes.size() / 64))) return;
    for (std::size_t i = 0; i < level_; ++i) out_.add(style_.indent);
  }
  template <class WriteOne>
  void write_items(std::string_view open, std::string_view close, std::size_t n, WriteOne&& write_one) {
    out_.add(open);
    ++level_;
    for (std::size_t i = 0; i < n && !rt_.has_failed(); ++i) {
      if (i != 0 && rt_.charge_bytes(style_.item_separator.bytes.size())) out_.add(style_.item_separator);
      start_line();
      write_one(i);
    }
    --level_;
    if (n != 0) start_line();
    out_.add(close);
  }
  void write_list(std::span<const value> items) {
    write_items("[", "]", items.size(), [&](std::size_t i) { write(items[i]); });
  }
  void write_dict(std::span<const pair> pairs) {
    std::vector<std::size_t> order(pairs.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    if (style_.sort_keys) {
      std::vector<value> keys;
      for (const pair& p : pairs) keys.push_back(p.key);
      order = sorted_places(rt_, keys, false);
      if (rt_.has_failed()) return;
    }
    write_items("{", "}", pairs.size(), [&](std::size_t i) {
      write_key(pairs[order[i]].key);
      if (rt_.charge_bytes(style_.key_separator.bytes.size())) out_.add(style_.key_separator);
      write(pairs[order[i]].mapped);
    });
  }
  void write_key(const value& key) {
    if (key.is_string()) return write_string(*key.string);
    if (!key.is_number() && !key.is(kind::none) && !key.is(kind::big_integer)) return void(rt_.fail_type("JSON has no key of type", key));
    out_.add("\"");
    write(key);
    out_.add("\"");
  }

  runtime& rt_;
  text_builder& out_;
  const json_style& style_;
  std::size_t level_ = 0;
};

}  // namespace cria::inline v0_1_0::jinja
