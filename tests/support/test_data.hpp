// SPDX-License-Identifier: MIT
// tests/support/test_data.hpp - where the reference models and golden files are; absent files are skipped loudly.
#pragma once

#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>

namespace cria_test {

/// Returns CRIA_TEST_DATA of the environment, else the folder given to CMake (default: ../shared).
inline std::filesystem::path data_root() {
  if (const char* path = std::getenv("CRIA_TEST_DATA")) return path;
#ifdef CRIA_TEST_DATA_DIR
  return CRIA_TEST_DATA_DIR;
#else
  return "../shared";
#endif
}

/// Returns whether `relative` is there; says on stderr what is not tested otherwise.
inline bool has_data(const std::string& relative) {
  if (std::filesystem::exists(data_root() / relative)) return true;
  std::cerr << "SKIPPED: " << (data_root() / relative).string() << " is absent (set CRIA_TEST_DATA)\n";
  return false;
}

/// Returns the file's bytes.
inline std::string read_data(const std::string& relative) {
  std::ifstream in(data_root() / relative, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace cria_test
