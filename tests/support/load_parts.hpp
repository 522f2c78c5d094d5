// SPDX-License-Identifier: MIT
// tests/support/load_parts.hpp - the model that a tiny file's parts make, or the check that they are refused.
#pragma once

#include <tests/support/tiny_model.hpp>

#include <doctest/doctest.h>

#include <string>
#include <utility>

namespace cria_test {

inline cria::model model_of(const model_parts& parts) {
  auto m = load_bytes(parts.build());
  REQUIRE_MESSAGE(m.has_value(), (m ? "" : m.error().to_string()));
  return *std::move(m);
}

inline void check_refused(const model_parts& parts, cria::errc code, const std::string& where) {
  const auto m = load_bytes(parts.build());
  CAPTURE(where);
  REQUIRE_FALSE(m.has_value());
  CAPTURE(m.error().to_string());
  CHECK(m.error().code == code);
  CHECK(m.error().where == where);
}

}  // namespace cria_test
