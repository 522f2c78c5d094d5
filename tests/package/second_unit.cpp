// SPDX-License-Identifier: MIT
// A second unit of the same program: it must link with the first, and both must see the same inline functions.
#if __has_include(<cria/cria.hpp>)
#include <cria/cria.hpp>
#else
#include <cria/core/result.hpp>
#endif

std::string second_unit_version() { return cria::error{}.to_string(); }
