// SPDX-License-Identifier: MIT
// A second unit of the same program: it must link with the first, and both must see the same inline functions.
#include <cria/cria.hpp>

std::string second_unit_version() { return cria::error{}.to_string(); }
