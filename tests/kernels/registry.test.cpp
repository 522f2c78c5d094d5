// SPDX-License-Identifier: MIT
#include "kernel_test.hpp"

#include <set>

using namespace cria_test;

TEST_CASE("registry: the default is the last table that this processor runs") {
  const cria::result<const kernel_table*> best = cria::kernels::select();
  REQUIRE(best.has_value());
  CHECK(*best == tables().back());
}

TEST_CASE("registry: a set asked for by name is that set, or an error that says why not") {
  const cria::isa::cpu_features cpu = cria::isa::detect();
  for (const cria::isa::id id : cria::isa::all_ids) {
    const std::string wanted(cria::isa::name(id));
    CAPTURE(wanted);
    bool is_compiled = false;
    for (const kernel_table* table : cria::kernels::compiled_tables()) is_compiled = is_compiled || table->set == id;
    const cria::result<const kernel_table*> got = cria::kernels::select(id);
    if (is_compiled && cpu.runs(id)) {
      REQUIRE(got.has_value());
      CHECK((*got)->set == id);
    } else {
      REQUIRE(!got.has_value());
      CHECK(got.error().code == (is_compiled ? cria::errc::unsupported_cpu : cria::errc::bad_argument));
      CHECK(got.error().where == wanted);
    }
  }
}

TEST_CASE("registry: tables are complete, in order, and one a set") {
  std::set<cria::isa::id> sets;
  cria::isa::id last = cria::isa::id::scalar;
  for (const kernel_table* table : cria::kernels::compiled_tables()) {
    CAPTURE(name(*table));
    CHECK(sets.insert(table->set).second);
    CHECK(table->set >= last);
    last = table->set;
    CHECK(table->tiles.widest % 4 == 0);
    for (std::size_t n = 0; n < cria::n_formats; ++n) {
      CHECK((table->gemm[n] != nullptr));
    }
    CHECK((table->quantize != nullptr));
    CHECK((table->rms_norm != nullptr));
    CHECK((table->silu_mul != nullptr));
    CHECK((table->rope_table != nullptr));
    CHECK((table->rope != nullptr));
    for (const cria::kv_type type : {cria::kv_type::f16, cria::kv_type::f32}) CHECK((table->attention[static_cast<std::size_t>(type)] != nullptr));
  }
}
