// SPDX-License-Identifier: MIT
// kernels/attention.avx512_vnni.hpp - keys by vdpbf16ps, which most processors with AVX512_VNNI have (AVX512_BF16; kernels/registry.hpp asks).
//
// Ensures   the bits of kv_element<bf16>: the instruction adds the second product of a pair, then the first, each rounded once to the nearest float
//           (tested against it where the processor has it)
// Source    Intel SDM vol. 2, VDPBF16PS
//
// Written as assembly: the unit's flags are those of AVX512_VNNI, and a lambda does not take on the target attribute of the function around it.
// One Zen 4 core, 8 rows, 1,536 positions of 64 channels in the cache: f16 32.6 us, bf16 without it 33.1 us, with it 26.8 us. Half of that are the values,
// whose weights are not rounded.
#pragma once

#include <cria/kernels/attention.hpp>

#if CRIA_HAS_AVX512_VNNI && defined(__GNUC__)
#include <immintrin.h>

namespace cria::inline v0_1_0::kernels {

template <>
struct bf16_dot_element<isa::avx512_vnni> : kv_element<kv_type::bf16, isa::avx512_vnni> {
  static constexpr bool exists = true;

  /// Two channels a word, the second one in its upper half.
  static CRIA_ALWAYS_INLINE const float* query(const float* q, std::size_t head_dim, float* room) noexcept {
    for (std::size_t c = 0; c < head_dim; c += 2) {
      const std::uint32_t first = to_normal_bf16(q[c]).bits, second = c + 1 < head_dim ? to_normal_bf16(q[c + 1]).bits : 0;
      const std::uint32_t word = first | second << 16;
      std::memcpy(room + c / 2, &word, sizeof word);
    }
    return room;
  }

  template <std::size_t R, class Query>
  static CRIA_ALWAYS_INLINE void dot(const std::byte* k, const std::byte* soon, std::size_t head_dim, Query query, v (&acc)[R]) noexcept {
    const std::size_t next = 2 * k_bytes(16, head_dim);
    for (std::size_t c = 0; c < head_dim; c += 2, k += 64, soon += 64) {
      CRIA_PREFETCH(k + next);
      CRIA_PREFETCH(soon);
      const __m512i key = _mm512_loadu_si512(k);
      CRIA_UNROLL
      for (std::size_t r = 0; r < R; ++r) {
        std::int32_t word;
        std::memcpy(&word, query(r) + c / 2, sizeof word);
        const __m512i pair = _mm512_set1_epi32(word);
        __m512 sum = acc[r].v[0];
        __asm__("vdpbf16ps {%2, %1, %0|%0, %1, %2}" : "+v"(sum) : "v"(key), "v"(pair));
        acc[r].v[0] = sum;
      }
    }
  }
};

}  // namespace cria::inline v0_1_0::kernels
#endif
