// SPDX-License-Identifier: MIT
// compile.hpp - the whole text of the unit that compiles, once for a program, what is no template; its other units then hold calls only.
//
// Requires  CRIA_DISPATCH defined in every unit of the program; exactly one that includes this header (the CMake target cria::dispatch has it)
#pragma once

#ifndef CRIA_DISPATCH
#error "cria/compile.hpp is for programs that define CRIA_DISPATCH; others need it not"
#endif
#define CRIA_COMPILE 1

#include <cria/cria.hpp>
#include <cria/generate/logits_file.hpp>
#include <cria/generate/perplexity.hpp>
#include <cria/model/quantize.hpp>
