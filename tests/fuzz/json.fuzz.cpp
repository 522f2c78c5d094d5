// SPDX-License-Identifier: MIT
// tests/fuzz/json.fuzz.cpp - any bytes as JSON: taken exactly where another implementation takes them, up to the stated limits, with the same value, which
// is the same again when it is written and read.
#include <cria/chat/json.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

namespace {

using namespace cria;

/// What must be true, checked where a sanitizer cannot see it.
void expect(bool holds) {
  if (!holds) std::abort();
}

bool is_same(const json& a, const nlohmann::json& b) {
  if (a.is_null()) return b.is_null();
  if (const auto* x = a.get_if<bool>()) return b.is_boolean() && b.get<bool>() == *x;
  if (const auto* x = a.get_if<std::int64_t>()) return b.is_number_integer() && b.get<std::int64_t>() == *x;
  if (const auto* x = a.get_if<double>()) return b.is_number() && b.get<double>() == *x;
  if (const auto* x = a.get_if<json::big_integer>()) return b.is_number() && !x->digits.empty();
  if (const auto* x = a.get_if<std::string>()) return b.is_string() && b.get_ref<const std::string&>() == *x;
  if (const auto* x = a.get_if<json::array>()) {
    if (!b.is_array() || b.size() != x->size()) return false;
    for (std::size_t i = 0; i < x->size(); ++i) {
      if (!is_same((*x)[i], b[i])) return false;
    }
    return true;
  }
  const auto* x = a.get_if<json::object>();
  if (!b.is_object() || b.size() != x->size()) return false;
  for (const auto& [key, member] : *x) {
    if (!b.contains(key) || !is_same(member, b[key])) return false;
  }
  return true;
}

/// Returns whether what may be a number in the text is beyond double's range, where the other implementation stops.
bool is_beyond(std::string_view text) {
  constexpr std::string_view of_numbers = "0123456789.eE+-";
  for (std::size_t at = text.find_first_of(of_numbers); at != text.npos; at = text.find_first_of(of_numbers, at)) {
    const std::size_t end = std::min(text.find_first_not_of(of_numbers, at), text.size());
    if (std::isinf(std::strtod(std::string(text.substr(at, end - at)).c_str(), nullptr))) return true;
    at = end;
  }
  return false;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (text.starts_with("\xef\xbb\xbf")) return 0;   // a byte order mark, which is no part of JSON; the other one skips it
  const auto parsed = json::parse(text, {.max_depth = 20, .max_bytes = 1 << 16});
  const auto other = nlohmann::json::parse(text, nullptr, false);
  if (!parsed) {
    expect(!parsed.error().to_string().empty() && (parsed.error().code == errc::syntax || parsed.error().code == errc::limit_exceeded));
    const bool has_nul = text.find('\0') != text.npos;   // where the other one takes the text to end
    expect(other.is_discarded() || has_nul || parsed.error().code == errc::limit_exceeded);
    return 0;
  }
  if (other.is_discarded()) return expect(is_beyond(text)), 0;
  expect(is_same(*parsed, other));
  const auto again = json::parse(parsed->dump(), {.max_depth = 20});
  expect(again.has_value() && *again == *parsed);
  return 0;
}
