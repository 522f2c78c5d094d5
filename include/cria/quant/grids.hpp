// SPDX-License-Identifier: MIT
// quant/grids.hpp - the codebooks of the formats of 1 to 3 bits (iq1_s to iq3_s): which rows of eight or four values a block may choose from.
//
// A point of a grid has eight values of three levels, or four of eight levels. Read as a number to the base 3 or 8, its first value the lowest digit, the
// points of a grid ascend. So a grid is written here as the steps between them, a character each: the number of points that are left out.
//
//   iq1_s, iq1_m      2048 points   levels -1, 0, 1
//   iq2_xxs           256           8, 25, 43
//   iq2_xs            512           the same
//   iq2_s             1024          the same
//   iq3_xxs           256           4, 12, 20, 28, 36, 44, 52, 62
//   iq3_s             512           1, 3, 5, 7, 9, 11, 13, 15
//
// Ensures   value j of a point is byte j of its word; those of iq1 are 8 times the level plus 64, those of the others are not negative, and their signs stand
//           elsewhere in the block (with_signs)
// Errors    none (noexcept)
// Source    the tables of ggml-common.h (August 2026); the numbers are the file format
#pragma once

#include <cria/core/config.hpp>

#include <array>
#include <cstddef>
#include <cstdint>

namespace cria::inline v0_1_0 {

namespace detail {

/// Returns the points of a grid with these levels. Steps are '#' for 0 to '}' for 89, without the backslash; a '~' adds 90 to the next.
template <class Word, std::size_t N, std::size_t Levels, std::size_t Length>
[[nodiscard]] consteval std::array<Word, N> make_grid(const char (&steps)[Length], const std::uint8_t (&levels)[Levels]) {
  std::array<Word, N> points{};
  unsigned number = 0;
  std::size_t n = 0;
  for (std::size_t i = 0; i + 1 < Length; ++i) {
    const char step = steps[i];
    number += static_cast<unsigned>(step - '#') - (step > '\\' ? 1 : 0);
    if (step == '~') continue;
    Word point = 0;
    unsigned digits = number++;
    for (std::size_t j = 0; j < sizeof(Word); ++j, digits /= Levels) point |= static_cast<Word>(Word{levels[digits % Levels]} << 8 * j);
    points.at(n++) = point;
  }
  if (n != N) points.at(N) = 0;  // not a constant expression: the table has another size
  return points;
}

}  // namespace detail

namespace grids {

inline constexpr std::uint64_t repeated = 0x0101010101010101;

/// Returns bytes that are 1 where a bit of the byte `signs` is set, its lowest one first.
[[nodiscard]] CRIA_ALWAYS_INLINE std::uint64_t sign_bytes(std::uint8_t signs) noexcept {
  const std::uint64_t kept = signs * repeated & 0x8040201008040201;
  return (kept + 0x7f * repeated) >> 7 & repeated;
}

/// Returns 64 plus each of eight values at most 63, or 64 minus it where the byte of `is_negative` is 1 instead of 0.
[[nodiscard]] CRIA_ALWAYS_INLINE std::uint64_t with_signs(std::uint64_t values, std::uint64_t is_negative) noexcept {
  // 127 - v where v is negative, and 64 - 127 more: no byte carries into the next.
  const std::uint64_t mask = 0x7f * is_negative;
  return (values ^ mask) - mask + 64 * repeated;
}

/// Returns the codes of a point of iq1, moved by one eighth of a level: up, or down where `is_down` is 1.
[[nodiscard]] CRIA_ALWAYS_INLINE std::uint64_t shifted(std::uint64_t codes, unsigned is_down) noexcept { return codes + repeated - 2 * repeated * is_down; }

inline constexpr auto iq1 = detail::make_grid<std::uint64_t, 2048>(
    "#$$$$$%'$&$'($$*'$&$''$&$&#($$$#'(&$&$&$$$#)($$*'$&$''$&$'(('&$$&$$%%$$&$-$$*(((&&#1((($##*$$*$&&##$##$$$$$$$+%$$$$##$0&.$($$$%#&$(($&-$&$''$&$'(&*'"
    "$&$''$&$'($&'#(*#%($&.$$$('$&$''$&$'((%%'$$$$''$&$,#$&'#($(&$&$#%.$$'%($$$$$$$&$&(&######$$&**$($2$$*''$&$$$&$*($$*(&$'#$#%&'%##$$$##$&$$(&$%#$##$$#"
    "%&$&$$##$$$$$$$$##'####$#$$##$$$##$$##$##$##$$($##*##$$&&$##$$$%###%$#$##(%%$*&.&*($$$$&$$##$$$(($,0$$&$%)##$&$##$##&&*%#$$&&$+))$)$$$$$$&&$((&%,$&$"
    "''$$$$'((%%'$&$''$$$$'($&()#&($$$$##*''$(('$$%'$&$'(&$(('$$%'$&$'*$$(*##$&$$$(*($&%%.((($&$&$#%&$$,$%#$$$$$$('$'(((('#('$&*,$&$''$&$'($,'$&$,$&$*%$&"
    "(,$&$($$$(''$'#'$&$,$&$'(&$('$&$''$&$'(&*.&$$$$$$2&%&&#$$$&$##$$&$($$$$##$#'$$$$$&$$'##-($$*(,$&&&+',(.%+($$$$##'#$$$$&$$$$'#(%#$&$$##$$&&$$##$$#$##"
    "##%$##$&##$&$##$#'$$$%%'#$$$$&$$$$%##$#$&$$&%&&#($$*(%&')'$&$&$$$(($$$((%#%#%#$&$$&&&$####$$$$#%($&$##&$$$22$$($$&&0,($##$&$&$$&$&$&$##$($*$($%#&$($"
    "##$$####$&##$$$##$$########$$##$&$($##$$&&$&($&$$*$&$$##$&$+'$$%#&+#($####%%$$$$##$###$#####$####$$($$$##$%$#&$####$$#####$#$$##$$#######$##########"
    "$#####$$#%###$####%$##$$###$##%$#$#$#######%%#############$$#%&$####$%&%$###'##$$&$&)'$$$$####$$##)'$$$$&(%#$&$$##$(($##$$########$$##$%%%%$####(*%)"
    "&#&#$($#%%###&$$$$)%$##$$.*$$(*(&##$$$$$%/*($$$&$(#%$(%%%#$(#%&'%$(&$.&$-#&*##%/(&*1#$#%$&$$$$$$$$##$##$$*#%$$####$$$&($$$%#$0##$$#$##$%$##$)$#$%#$#"
    "%$##''(''##$&$$$$###$#&$%$$&&$##$%$%1$((,$&$((('*'$(&($$$$#%##&$##$$&&%#''($#%.&#/$&$&$$&#%))%$(&$&$,$&$''#$$$('$&$''$&$'($$$(($&$$$###'$$(%'$$('$&$"
    "''$&$-$&('$&$''$&$/&.$)%&$$&0&.(&$&($$#%$&$##$#'##$$$$$$$$$*0&$(($&##&%#$&%'()&($&$''$&$$%($&(%$$&$''$&$'#'$$*($$$$$$&$$,,$('$&$''$&$'($$/$&$''$&$'("
    "&##((&$($$*#'($$$(($$$$&$$$$$$$&'#$##$&$*$($$&$$$(($&(*$$$$$$*$(*$-%$$&&$*&*$$####$##$*$(##$&($&$$##$##$%%%#$$##$$########$$##$%%$&####$##$$$$$$(&%$"
    "'$($#%#$#$($'#&#%##*$$(,$((&&$$#%&#+(&$(*$$$$$$$##$$&$$$$$$##$&$#%$$($$&$&*++*$$$&$&.($##/$&$''$&$'($$$-$&$''$&$'%%$$$#1$%%$$$$,'$%$/&$#)&&$'(&$('$&"
    "$''$&$3(($(%#$$$%###(>$$$$$*$&$($##$(&$$##$&$$2(&%$%*$%%$##%$.&&#$%$$&$&$,$&$-$$$-$&$''$&$'*&%%(*&&$&$-'/$&$,$&$-$$/$&$''$&$",
    {56, 64, 72});

inline constexpr auto iq2_xxs = detail::make_grid<std::uint64_t, 256>(
    "#$$$$$$($&$$$((&$($(.*$(&0@..$4F<$(,$($&.,$(.($&.06$,:$4@4(&$(.&$($8::Z,i$(,*4.(&0(.4*,R,T(.&.6LBD0g$(4><&gPN$(82*$T*R$s$(40J>6~(:.R~FV$((&$((*&,$(4"
    "4>*&:*:*,@(.F28,_u$(4&TL&,ZB4(&($F(:<Pis$:mHL,(B__q(4:@JZ@F&y$P~N~~D$(6>>..ck$(&04FBD864Hu{m(.(P8J]T6,{~}N~ZD8@m~(~~wR",
    {8, 25, 43});

inline constexpr auto iq2_xs = detail::make_grid<std::uint64_t, 512>(
    "#$$$$$$$$$$$$&$$$$$$$&$($$$&$&$,$$$$$$$$$$($$$&$((&$(4$$$&$(,$(&0*6$$$$$$$&$($$$&$$&,$(4$$$&$(,$(,*>$(0&$>:$$$$$$(&($((.4*$$(4>(64(N&,$$$$$$$&$($$$&"
    "$(*$$(4$$$&$(,$(4.$0$$&44F$$$&$(,$&$.(>$(4X.8R$($2.68&PgL$$$$$$$(,$(44,$(4(2B6D:&$(2$X>,B.2_&($,860].:.H&$6$$$$$$$&$($$$$$$(&($(4$$$&$(,$(4&2*$($0$X"
    "$$$&$&$,$(4.2$(.(N,*8(P$(4&**D,6(2Bq$$$&$((&$(4>$(&0$V@T$$(,*4,4*(R(JB8*.2*D>,$~6:$(4.*.6$~.0@20o4&N{VTcD*D$$$&$(*$$(4$8$$$$&4,(H4F$2(&$($$0426@P6H>"
    "(28,$8*~(D(*,&$(402:6>m66&<((cH$N}JH_BF$&$,*PP(D&$&6>4FJ~X66,$&R((X$P$H2",
    {8, 25, 43});

inline constexpr auto iq2_s = detail::make_grid<std::uint64_t, 1024>(
    "#$$$$$$$$$$$$&$$$$$$$&$$$$$$$&$(&&$$$$$$$$&$($$$&$$$$&$&$($$($($$$&$(*$$$$$&0&&&**$$$$$$$&$$$$$$$$$$$$$$$($$$$&$&$($$$$$$$$$&$&$$$$$$$&$($$$&$(,$$$$"
    "&0&$&$(,$(4$$$&$$$$&&$$$$$$$$&$(&*0$$($$$&*&$&$(,*4,$*&$,D.$$$$$$$&$$&$$$&$$$$$$$&$$&&$&$($$$$$$$$$$$$&$$$$$$$&$($$$&$2$&$&($(&($2$(4$$$&$$$$&$&$$$$"
    "$$$&$($$$&$(,$$$$$$$&$($$$&$(,$(4&$&$(,$(4<$$$$$&$&*$$$&$(,$:$$$&$(,$(28,(40J$$$&$$$$&&$$($$*(*&0$$($$(*$$($(,$(4*.&$&(:$2&$$$$&$&$($$$&$(,$(4&$&$(,"
    "$(0&>$(42H&($2$(<4$$(]8.>.$6$$$$$$$$$$$&$$$$$$$$$$$($(&$&$($$$&$$$$$$($$$$$$$&$($$$&$(,$($$$((&$&$(,$:$$$$$$$$$$$$&$$$$$$$&$($$$&$(,$$$$$$$&$($$$&$("
    "*$$(4$$$&$(,$(48($&$$$$&$($$$&$(.(4$$$&$(,$(400$(4X$$$&$$$$$$$&$$$$$$$&$($$$&$2$$$$$$$&$($$$&$(,$(4&$&$(,$(2$>$$$$$$$&$($$$&$(,$(4$$$&$(,$(4>$(0&X$$"
    "$&$(,$(*,>$(4X2L6&$$&$$$&$(&$&$(.(4$$$&$(,$(420(40B*&$&$(,$(4>$(4*202e2$(J6.<wN*$$$&$&$&($($$$&*&($2$&$$$$&$($$$&$2$(2$&&$$2$(P$$$$$$$&*$$$&$(,$(4$$"
    "$&$(,$(4*6$(2$X&($2$(H*$:8V8$.4*$&$$$$(($$$&$(,$(4&($2$(*H$(4T&$$$&$(,$(400$(4L&*B2D$(0&V$D&~24&&&*($$(H(>8D(.&$@&$2&$(4D0(2~.V2TP6>$,$&F6",
    {8, 25, 43});

inline constexpr auto iq3_xxs = detail::make_grid<std::uint32_t, 256>(
    "#$$'$&#$)+;$&$'$)&%$)-.*$$')$)$&,(0&(#$-E56'-.$&(52U96&$702$'$)$'$$-#:$))$Q$'$))D($0+/2-&EJ&45.p0B$)$'$&%+A$$%$))=&#*$)(#$/#/6)&N&C0:6,=h$-9>)$)$7/'"
    "($0+-$=$'/7214`15((.=A47J76-0$.&p61#2(3@AG-C07p%$0T99*(29A0B*K?-&E*9rN0T2$0?B@GF(iCGSJ0T$$#42N,L='8/07C2A$4g",
    {4, 12, 20, 28, 36, 44, 52, 62});

inline constexpr auto iq3_s = detail::make_grid<std::uint32_t, 512>(
    "###%$###$$$#&('$%$$$'$)%%###$&#&%%&$&)/&'(#&$#%%%&%&(%$$$/%*(&%$)$%(&$/$&%-&$%((%(1,$.$&'(&$1'-%$031)$$.$&'/&6##$&#$$$#$)%$0$%+(#$%$&')%()$0($,%$#&("
    "(%,%,)%%#%((#&'3(-$'$/$)&$&7)%()$1I&%/$=$'$).&3(*#$$$#$$$%$&#$)$$%$/#%$%$(%&%%&%():%%,$')$,&,%&$%&+$'$)(0-(+%)%&;%)'+/#-/*$',>&6&/$-'<)$$$%)$$'$%$,("
    "*$$)'$/2,&$,(,$.;)&'$&#+$&(0*('&)3(&/)$-',,/55B$/$-E&((&%%))2,'$$)('((&6$''&,'1%(.'$'$)&E$4-#;.$,C;36:'--(;(&(0&%%.('$$')+B(+,'(/9'#1/'.((%.,.F.5$YB"
    "$0Y$$.$722)?84(-'(*.'1W010%;67=K$W&%+$.$.(2)-1$>%&(%)3;:%08&(':L2B9I",
    {1, 3, 5, 7, 9, 11, 13, 15});

}  // namespace grids

}  // namespace cria::inline v0_1_0
