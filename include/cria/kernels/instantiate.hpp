// SPDX-License-Identifier: MIT
// kernels/instantiate.hpp - the whole text of a unit that compiles the kernels of one instruction set for a program that runs on many.
//
// Requires  CRIA_ISA defined to a tag's name (avx2, avx512_vnni, ...) and the flags that the set needs; -ffp-contract=off, -O1 or more, no LTO
// Ensures   one strong symbol, cria_v0_1_0_kernels_<CRIA_ISA>; every other symbol carries the tag's name (a test looks)
#pragma once

#ifndef CRIA_ISA
#error "define CRIA_ISA to the name of an instruction set before including cria/kernels/instantiate.hpp"
#endif

#include <cria/kernels/catalog.hpp>

extern "C" {
extern const cria::kernels::kernel_table CRIA_CONCAT(cria_v0_1_0_kernels_, CRIA_ISA);
constinit const cria::kernels::kernel_table CRIA_CONCAT(cria_v0_1_0_kernels_, CRIA_ISA) = cria::kernels::table_of<cria::isa::CRIA_ISA>;
}
