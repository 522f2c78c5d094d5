// SPDX-License-Identifier: MIT
// How a pass begins and ends in the caches of its sequences.
#include <cria/nn/sequence_slice.hpp>

#include <doctest/doctest.h>

#include <cria/kv/contiguous.hpp>

#include <tests/nn/activation_samples.hpp>

#include <cstddef>
#include <span>

namespace {

using namespace cria_test;
using namespace cria;

}  // namespace

TEST_CASE("sequence_slice: begin_pass counts tokens, places the slices and makes room") {
  const kv_shape kv{1, 2, 32};
  auto first = *cache_of<kv_type::f16>::create(kv, 8), second = *cache_of<kv_type::f16>::create(kv, 8);
  REQUIRE(first.reserve(3).has_value());
  first.commit(3);
  auto a = *nn::activations::create(shape, precision::exact, 1, 1);
  const token_id tokens[] = {0, 9, 5, 1};
  nn::sequence_slice<cache_of<kv_type::f16>> slices[] = {{&first, std::span(tokens).first(2)}, {&second, tokens, 4}};
  const auto n = nn::begin_pass(a, 10, all(slices));
  REQUIRE(n.has_value());
  CHECK(*n == 6);
  CHECK(slices[0].first_row == 0);
  CHECK(slices[0].start_pos == 3);
  CHECK(slices[1].first_row == 2);
  CHECK(slices[1].start_pos == 0);
  kv_segment s[1];
  first.segments({0, 0}, s);
  CHECK(s[0].length == 5);
  nn::commit_pass(all(slices));
  CHECK(first.length() == 5);
  CHECK(second.length() == 4);
  nn::roll_back_pass(all(slices));
  CHECK(first.length() == 3);
  CHECK(second.length() == 0);
}
