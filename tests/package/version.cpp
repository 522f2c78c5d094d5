// SPDX-License-Identifier: MIT
// What every consumer in this folder compiles: the one header that users include, and the version that it states.
#include <cria/cria.hpp>

#include <iostream>

#ifdef CRIA_TEST_SECOND_UNIT
std::string second_unit_version();
#endif

int main() {
  const cria::error nothing{};
  std::cout << CRIA_VERSION_MAJOR << '.' << CRIA_VERSION_MINOR << '.' << CRIA_VERSION_PATCH << '\n';
#ifdef CRIA_TEST_SECOND_UNIT
  if (second_unit_version() != nothing.to_string()) return 1;
#endif
  return nothing.code == cria::errc::bad_argument ? 0 : 1;
}
