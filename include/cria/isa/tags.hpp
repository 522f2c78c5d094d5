// SPDX-License-Identifier: MIT
// isa/tags.hpp - one tag per instruction set: its id, the xsimd arch whose batches it uses, and the tile it likes.
//
// Kernels are templates on a tag. A tag is complete only in a unit whose flags allow its instructions. xsimd has no int8 dot product and
// old versions no VNNI arch at all, so the tags are ours and name the xsimd arch used inside them.
//
// Units   tile_tokens: tokens whose integer sums fit the register file beside the weights (register counts in kernels/gemm.hpp and gemm_unpacked.hpp);
//         fewest_tile_tokens: fewer than these are faster one by one
// Source  register file sizes of the sets; measurements in kernels/gemm.hpp
#pragma once

#include <cria/core/config.hpp>
#include <cria/isa/isa.hpp>

#include <cstddef>

#if CRIA_HAS_SSE4_2 || CRIA_HAS_NEON64
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"  // GCC 12's own AVX-512 headers
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <xsimd/xsimd.hpp>
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
#endif

namespace cria::inline v0_1_0::isa {

struct scalar {
  static constexpr id set = id::scalar;
  static constexpr std::size_t tile_tokens = 4, fewest_tile_tokens = 2;
};

#if CRIA_HAS_SSE4_2
struct sse4_2 {
  using arch = xsimd::sse4_2;
  static constexpr id set = id::sse4_2;
  static constexpr std::size_t tile_tokens = 4, fewest_tile_tokens = 3;
};
#endif

#if CRIA_HAS_AVX2
struct avx2 {
  using arch = xsimd::fma3<xsimd::avx2>;
  static constexpr id set = id::avx2;
  static constexpr std::size_t tile_tokens = 4, fewest_tile_tokens = 3;
};
#endif

#if CRIA_HAS_AVX_VNNI
struct avx_vnni {
  using arch = xsimd::fma3<xsimd::avx2>;
  static constexpr id set = id::avx_vnni;
  static constexpr std::size_t tile_tokens = 4, fewest_tile_tokens = 2;
};
#endif

#if CRIA_HAS_AVX512BW
struct avx512bw {
  using arch = xsimd::avx512bw;
  static constexpr id set = id::avx512bw;
  static constexpr std::size_t tile_tokens = 8, fewest_tile_tokens = 3;
};
#endif

#if CRIA_HAS_AVX512_VNNI
struct avx512_vnni {
  using arch = xsimd::avx512bw;
  static constexpr id set = id::avx512_vnni;
  static constexpr std::size_t tile_tokens = 12, fewest_tile_tokens = 2;
};
#endif

#if CRIA_HAS_NEON64
struct neon64 {
  using arch = xsimd::neon64;
  static constexpr id set = id::neon64;
  static constexpr std::size_t tile_tokens = 4, fewest_tile_tokens = 2;
};
#endif

#if CRIA_HAS_NEON_DOTPROD
struct neon_dotprod {
  using arch = xsimd::neon64;
  static constexpr id set = id::neon_dotprod;
  static constexpr std::size_t tile_tokens = 4, fewest_tile_tokens = 2;
};
#endif

#if CRIA_HAS_NEON_I8MM
struct neon_i8mm {
  using arch = xsimd::neon64;
  static constexpr id set = id::neon_i8mm;
  static constexpr std::size_t tile_tokens = 4, fewest_tile_tokens = 2;
};
#endif

/// The best set that this unit's flags allow.
#if CRIA_HAS_AVX512_VNNI
using native = avx512_vnni;
#elif CRIA_HAS_AVX512BW
using native = avx512bw;
#elif CRIA_HAS_AVX_VNNI
using native = avx_vnni;
#elif CRIA_HAS_AVX2
using native = avx2;
#elif CRIA_HAS_SSE4_2
using native = sse4_2;
#elif CRIA_HAS_NEON_I8MM
using native = neon_i8mm;
#elif CRIA_HAS_NEON_DOTPROD
using native = neon_dotprod;
#elif CRIA_HAS_NEON64
using native = neon64;
#else
using native = scalar;
#endif

}  // namespace cria::inline v0_1_0::isa
