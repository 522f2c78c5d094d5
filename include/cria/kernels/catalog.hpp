// SPDX-License-Identifier: MIT
// kernels/catalog.hpp - the table of one instruction set, made from the list of formats (panels.hpp).
#pragma once

#include <cria/kernels/activations.hpp>
#include <cria/kernels/attention.hpp>
#include <cria/kernels/elementwise.hpp>
#include <cria/kernels/gemm.hpp>
#include <cria/kernels/gemm_float.hpp>
#include <cria/kernels/kernel_table.hpp>
#include <cria/kernels/panels.hpp>

namespace cria::inline v0_1_0::kernels {

namespace detail {

template <class Isa, class... Float, class... Quantised>
consteval kernel_table make_table(type_list<Float...>, type_list<Quantised...>) noexcept {
  static_assert(Isa::tile_tokens <= most_padding + 1);
  kernel_table t{};
  t.set = Isa::set;
  t.tiles = tiles_of<Isa>;
  t.quantize = &quantize_activations<Isa>::run;
  t.rms_norm = &elementwise<Isa>::rms_norm;
  t.layer_norm = &elementwise<Isa>::layer_norm;
  t.silu_mul = &elementwise<Isa>::silu_mul;
  t.gelu_mul = &elementwise<Isa>::gelu_mul;
  t.gelu = &elementwise<Isa>::gelu;
  t.soft_cap = &elementwise<Isa>::soft_cap;
  t.add_scaled = &elementwise<Isa>::add_scaled;
  t.rope_table = &elementwise<Isa>::rope_table;
  t.rope = &elementwise<Isa>::rope;
  t.attention[static_cast<std::size_t>(kv_type::f16)] = &attention<kv_type::f16, Isa>::run;
  t.attention[static_cast<std::size_t>(kv_type::f32)] = &attention<kv_type::f32, Isa>::run;
  t.attention[static_cast<std::size_t>(kv_type::q8_0)] = &attention<kv_type::q8_0, Isa>::run;
  t.attention[static_cast<std::size_t>(kv_type::bf16)] = &attention<kv_type::bf16, Isa>::run;
  if constexpr (bf16_dot_element<Isa>::exists) t.attention_bf16_dot = &attention<kv_type::bf16, Isa, bf16_dot_element<Isa>>::run;
  ((t.gemm[format_index<Float>] = &gemm_float<Float, Isa>::run), ...);
  ((t.gemm[format_index<Quantised>] = &gemm<Quantised, Isa>::run), ...);
  return t;
}

}  // namespace detail

/// The kernels of Isa.
template <class Isa>
inline constexpr kernel_table table_of = detail::make_table<Isa>(float_formats{}, quantised_formats{});

}  // namespace cria::inline v0_1_0::kernels
