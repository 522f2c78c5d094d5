// SPDX-License-Identifier: MIT
// Runs without a model: the kernels that were compiled, and a refusal.
#include <cria/cria.hpp>

#include <iostream>

int main() {
  const auto kernels = cria::kernels::select();
  if (!kernels) return 1;
  const auto refused = cria::gguf::file::open("there is no such file");
  if (refused) return 1;
  std::cout << "cria " << CRIA_VERSION_MAJOR << '.' << CRIA_VERSION_MINOR << '.' << CRIA_VERSION_PATCH << ": " << refused.error().to_string() << '\n';
}
