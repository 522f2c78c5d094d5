// SPDX-License-Identifier: MIT
// model/file_type.hpp - kinds of quantised files by the names that people know, and which type each gives to which tensor.
//
// A file type names the type of most matrices. The tensors that suffer most get more bits: the output head, and in the K types the values, the
// attention's output and ffn_down, in some layers or in all.
// Errors    none (noexcept)
// Threads   pure functions
// Source    llama.cpp's enum llama_ftype and the choices of llama-quant.cpp without an importance matrix (August 2026); the numbers are the file format
#pragma once

#include <cria/quant/tensor_type.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace cria::inline v0_1_0 {

/// What a file is quantised to: the value of general.file_type.
enum class file_type : std::uint32_t {
  f32 = 0, f16 = 1, q4_0 = 2, q4_1 = 3, q8_0 = 7, q5_0 = 8, q5_1 = 9, q2_k = 10, q3_k_s = 11, q3_k_m = 12, q3_k_l = 13, q4_k_s = 14, q4_k_m = 15,
  q5_k_s = 16, q5_k_m = 17, q6_k = 18, iq4_nl = 25, iq4_xs = 30, bf16 = 32,
  mxfp4_moe = 38,  ///< MXFP4 for the matrices of experts, Q8_0 for all others
};

namespace detail {

/// Layers that get more bits.
enum class layer_range : std::uint8_t {
  none,
  first_two,
  first_four,
  first_sixteenth,
  first_eighth,
  outer_and_every_third,  ///< the first and last eighth, and every third between
  grouped,                ///< all, where at least four query heads share a kv head
};

/// The type of one kind of tensor, and a better one for some layers.
struct tensor_rule {
  constexpr tensor_rule(tensor_type t) noexcept : type(t), better(t) {}
  constexpr tensor_rule(tensor_type t, tensor_type in_some, layer_range which) noexcept : type(t), better(in_some), where(which) {}

  tensor_type type, better;
  layer_range where = layer_range::none;
};

struct file_type_rules {
  file_type type;
  std::string_view name;           ///< as llama.cpp writes it
  tensor_type base;                ///< of all matrices that nothing else is said of
  tensor_rule attn_v, ffn_down;
  tensor_type attn_output;
  tensor_type attn_output_of_eight;  ///< of models with eight experts
};

[[nodiscard]] constexpr file_type_rules pure(file_type type, std::string_view name, tensor_type base) noexcept {
  return {type, name, base, {base}, {base}, base, base};
}

inline constexpr auto all_file_types = [] {
  using enum tensor_type;
  using enum layer_range;
  using t = file_type;
  return std::array{
      pure(t::f32, "F32", f32),
      pure(t::f16, "F16", f16),
      pure(t::bf16, "BF16", bf16),
      pure(t::q4_0, "Q4_0", q4_0),
      pure(t::q4_1, "Q4_1", q4_1),
      pure(t::q5_0, "Q5_0", q5_0),
      pure(t::q5_1, "Q5_1", q5_1),
      pure(t::q8_0, "Q8_0", q8_0),
      file_type_rules{t::q2_k, "Q2_K", q2_k, {q3_k, q4_k, grouped}, {q3_k}, q3_k, q5_k},
      file_type_rules{t::q3_k_s, "Q3_K_S", q3_k, {q3_k}, {q3_k}, q3_k, q5_k},
      file_type_rules{t::q3_k_m, "Q3_K_M", q3_k, {q4_k, q5_k, first_two}, {q4_k, q5_k, first_sixteenth}, q4_k, q5_k},
      file_type_rules{t::q3_k_l, "Q3_K_L", q3_k, {q5_k}, {q5_k}, q5_k, q3_k},
      file_type_rules{t::q4_k_s, "Q4_K_S", q4_k, {q4_k, q5_k, first_four}, {q4_k, q5_k, first_eighth}, q4_k, q5_k},
      file_type_rules{t::q4_k_m, "Q4_K_M", q4_k, {q4_k, q6_k, outer_and_every_third}, {q4_k, q6_k, outer_and_every_third}, q4_k, q5_k},
      pure(t::q5_k_s, "Q5_K_S", q5_k),
      file_type_rules{t::q5_k_m, "Q5_K_M", q5_k, {q5_k, q6_k, outer_and_every_third}, {q5_k, q6_k, outer_and_every_third}, q5_k, q5_k},
      pure(t::q6_k, "Q6_K", q6_k),
      file_type_rules{t::iq4_nl, "IQ4_NL", iq4_nl, {iq4_nl, q5_k, grouped}, {iq4_nl, q5_k, first_eighth}, iq4_nl, q5_k},
      file_type_rules{t::iq4_xs, "IQ4_XS", iq4_xs, {iq4_xs, q5_k, grouped}, {iq4_xs, q5_k, first_eighth}, iq4_xs, q5_k},
      pure(t::mxfp4_moe, "MXFP4_MOE", mxfp4),
  };
}();

/// Returns whether the names are the same but for the case of ASCII letters.
[[nodiscard]] constexpr bool same_name(std::string_view a, std::string_view b) noexcept {
  const auto upper = [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; };
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (upper(a[i]) != upper(b[i])) return false;
  }
  return true;
}

/// Returns the rules of a file type, or nullptr for a number that is none.
[[nodiscard]] constexpr const file_type_rules* find_rules(file_type type) noexcept {
  for (const file_type_rules& rules : all_file_types) {
    if (rules.type == type) return &rules;
  }
  return nullptr;
}

}  // namespace detail

/// All file types that cria writes.
inline constexpr auto file_types = [] {
  std::array<file_type, detail::all_file_types.size()> types{};
  for (std::size_t i = 0; i < types.size(); ++i) types[i] = detail::all_file_types[i].type;
  return types;
}();

/// Returns the file type called `name`, in any case; Q3_K, Q4_K and Q5_K stand for the M mixes.
[[nodiscard]] constexpr std::optional<file_type> find_file_type(std::string_view name) noexcept {
  for (const detail::file_type_rules& rules : detail::all_file_types) {
    const bool is_m = rules.name.ends_with("_K_M");
    if (detail::same_name(rules.name, name) || (is_m && detail::same_name(rules.name.substr(0, 4), name))) return rules.type;
  }
  return std::nullopt;
}

/// Returns the name as llama.cpp writes it, "file type ?" for a number that is none.
[[nodiscard]] constexpr std::string_view name(file_type type) noexcept {
  const detail::file_type_rules* rules = detail::find_rules(type);
  return rules == nullptr ? std::string_view{"file type ?"} : rules->name;
}

}  // namespace cria::inline v0_1_0
