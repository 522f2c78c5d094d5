// SPDX-License-Identifier: MIT
// sampling/sampler_fields.hpp - the fields of a sampler_config by name, as text: for command lines, settings that are kept, and whoever types them.
//
//   cria::set_sampler_field(config, "top_k", "20");
//   for (std::string_view field : cria::sampler_field_names()) show(field, *cria::sampler_field_text(config, field));
//
// All numbers, the seed and the order; not logit_bias and dry_breakers, which are lists of tokens.
// Ensures   a field's text sets it to what it is; the decimal point is a point whatever the locale
// Errors    set: bad_argument (no such field, no number, out of range); the config is as before
// Threads   pure functions
#pragma once

#include <cria/core/result.hpp>
#include <cria/sampling/sampler_config.hpp>

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <locale>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace cria::inline v0_1_0 {

namespace detail {

[[nodiscard]] inline std::optional<float> parse_real(std::string_view text) {
  std::istringstream in{std::string(text)};
  in.imbue(std::locale::classic());
  float value = 0;
  const bool is_number = static_cast<bool>(in >> std::noskipws >> value) && in.peek() == std::istringstream::traits_type::eof();
  return is_number ? std::optional(value) : std::nullopt;
}

/// Returns the shortest text that reads back as `value`.
[[nodiscard]] inline std::string real_text(float value) {
  std::string text;
  for (int digits = 1; digits <= 9; ++digits) {
    std::ostringstream out;
    out.imbue(std::locale::classic());
    out.precision(digits);
    out << value;
    text = out.str();
    if (parse_real(text) == value) break;
  }
  return text;
}

template <class Integer>
[[nodiscard]] std::optional<Integer> parse_integer(std::string_view text) noexcept {
  Integer value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  return failure == std::errc{} && end == text.data() + text.size() ? std::optional(value) : std::nullopt;
}

/// Sets a field without looking at ranges; false where there is no such field, or the text is no value of its kind.
[[nodiscard]] bool assign_field(sampler_config& config, std::string_view field, std::string_view text);

#if CRIA_HAS_DEFINITIONS

CRIA_INLINE bool assign_field(sampler_config& config, std::string_view field, std::string_view text) {
  const auto assign = [](auto& member, const auto& value) {
    if (value) member = *value;
    return value.has_value();
  };
  for (const real_field& f : real_fields) {
    if (f.field == field) return assign(config.*f.member, parse_real(text));
  }
  for (const count_field& f : count_fields) {
    if (f.field == field) return assign(config.*f.member, parse_integer<int>(text));
  }
  if (field == "seed") return assign(config.seed, parse_integer<std::uint64_t>(text));
  if (field == "order") config.order = std::string(text);
  return field == "order";
}

#endif  // CRIA_HAS_DEFINITIONS

}  // namespace detail

/// Returns the names of all fields that have a text.
[[nodiscard]] std::vector<std::string_view> sampler_field_names();

/// Returns a field as text, nothing where there is no field of that name.
[[nodiscard]] std::optional<std::string> sampler_field_text(const sampler_config& config, std::string_view field);

/// Sets a field from text and checks the config.
[[nodiscard]] result<void> set_sampler_field(sampler_config& config, std::string_view field, std::string_view text);

#if CRIA_HAS_DEFINITIONS

CRIA_INLINE std::vector<std::string_view> sampler_field_names() {
  std::vector<std::string_view> names;
  for (const detail::real_field& f : detail::real_fields) names.push_back(f.field);
  for (const detail::count_field& f : detail::count_fields) names.push_back(f.field);
  names.push_back("seed");
  names.push_back("order");
  return names;
}

CRIA_INLINE std::optional<std::string> sampler_field_text(const sampler_config& config, std::string_view field) {
  for (const detail::real_field& f : detail::real_fields) {
    if (f.field == field) return detail::real_text(config.*f.member);
  }
  for (const detail::count_field& f : detail::count_fields) {
    if (f.field == field) return std::to_string(config.*f.member);
  }
  if (field == "seed") return std::to_string(config.seed);
  if (field == "order") return config.order;
  return std::nullopt;
}

CRIA_INLINE result<void> set_sampler_field(sampler_config& config, std::string_view field, std::string_view text) {
  return catch_bad_alloc([&]() -> result<void> {
    if (!sampler_field_text(config, field)) return error{errc::bad_argument, printable(field), "is no setting of the sampler"};
    sampler_config changed = config;
    if (!detail::assign_field(changed, field, text)) return error{errc::bad_argument, field, printable(text) + " is no number of its kind"};
    CRIA_CHECK(changed.validate());
    config = std::move(changed);
    return {};
  }, "sampler field");
}

#endif  // CRIA_HAS_DEFINITIONS

}  // namespace cria::inline v0_1_0
