// SPDX-License-Identifier: MIT
// core/bit_cast.hpp - bit_cast<To>(from): std::bit_cast, which standard libraries older than LLVM 14's do not have.
#pragma once

#include <cria/core/config.hpp>

#include <bit>
#include <type_traits>

namespace cria::inline v0_1_0 {

#if defined(__cpp_lib_bit_cast)
using std::bit_cast;
#else
template <class To, class From>
  requires(sizeof(To) == sizeof(From) && std::is_trivially_copyable_v<To> && std::is_trivially_copyable_v<From>)
[[nodiscard]] CRIA_ALWAYS_INLINE constexpr To bit_cast(const From& from) noexcept {
  return __builtin_bit_cast(To, from);
}
#endif

}  // namespace cria::inline v0_1_0
