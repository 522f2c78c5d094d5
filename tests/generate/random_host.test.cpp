// SPDX-License-Identifier: MIT
// Hosts that do anything in any order: whatever happens around it, each request gives what it gives alone. CRIA_SOAK_HOSTS=FIRST-LAST asks for other seeds.
#include <tests/generate/random_host.hpp>

#include <tests/support/family_models.hpp>
#include <tests/support/sanitized.hpp>

#include <cstdlib>
#include <cstdio>
#include <utility>

using namespace cria;
using namespace cria_test;

namespace {

std::size_t n_compared = 0, n_prefixes = 0, n_refused = 0, n_preempted = 0, n_reused = 0, n_accepted = 0;

template <kv_type Type>
void host(world w, std::uint32_t seed, int n_acts = 300) {
  random_host<Type> h(std::move(w), seed);
  for (int i = 0; i < n_acts; ++i) h.act();
  h.finish();
  n_compared += h.n_compared;
  n_prefixes += h.n_prefixes;
  n_refused += h.n_refused;
  n_preempted += h.n_preempted;
  n_reused += h.n_reused;
  n_accepted += h.n_accepted;
}

}  // namespace

TEST_CASE("random_host: whatever a host does around it, each request gives what it gives alone") {
  unsigned first = 1, last = CRIA_TEST_SANITIZED ? 9 : 18;
  if (const char* const asked = std::getenv("CRIA_SOAK_HOSTS"); asked != nullptr) REQUIRE(std::sscanf(asked, "%u-%u", &first, &last) == 2);
  for (std::uint32_t seed = first; seed <= last; ++seed) {
    CAPTURE(seed);
    const std::uint32_t kind = seed % 4;
    if (kind == 0) host<kv_type::f16>(make_world(seed), seed);
    else if (kind == 1) host<kv_type::q8_0>(make_world(seed), seed);
    else if (kind == 2) host<kv_type::f32>(make_world(seed), seed);
    else host<kv_type::bf16>(make_world(seed), seed);
  }
  MESSAGE(n_compared << " whole, " << n_prefixes << " cut, " << n_refused << " refused; preempted " << n_preempted << ", prompt tokens reused " << n_reused
                     << ", guesses right " << n_accepted);
  CHECK(n_compared > 0);
  CHECK(n_prefixes > 0);
  CHECK(n_preempted > 0);
  CHECK(n_reused > 0);
  CHECK(n_accepted > 0);
}

TEST_CASE("random_host: the same for every architecture that has no file in the reference data") {
  std::uint32_t seed = 1;
  for (const member& f : family()) {
    CAPTURE(f.name);
    host<kv_type::f16>(make_world(f.parts), seed++, CRIA_TEST_SANITIZED ? 20 : 60);
  }
}
