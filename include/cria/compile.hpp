// SPDX-License-Identifier: MIT
// compile.hpp - the one translation unit that compiles cria's kernels and non-template functions for a program, so that its other units contain calls only.
//
//   // cria.cpp, compiled with -O2 -ffp-contract=off and the flags of an instruction set (-march=native, ...), which only this unit needs
//   #include <cria/compile.hpp>
//
// A program that is to run on several instruction sets names them, worst first, and has a unit of kernels for each (kernels/instantiate.hpp), compiled with the
// flags of its set. This unit then needs no such flags. The CMake target cria::dispatch consists of these units.
//
//   #define CRIA_KERNEL_SETS(X) X(sse4_2) X(avx2) X(avx512_vnni)
//   #include <cria/compile.hpp>
//
// Requires  CRIA_SEPARATE_COMPILATION defined in every unit of the program; exactly one unit that includes this header, before any other header of cria
#pragma once

#ifndef CRIA_SEPARATE_COMPILATION
#error "cria/compile.hpp is for programs that define CRIA_SEPARATE_COMPILATION in all their units; others need it not"
#endif
#define CRIA_COMPILE 1

#include <cria/cria.hpp>
#include <cria/generate/logits_file.hpp>
#include <cria/generate/perplexity.hpp>
#include <cria/model/quantize.hpp>
