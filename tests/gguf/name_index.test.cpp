// SPDX-License-Identifier: MIT
#include <cria/gguf/name_index.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

using cria::gguf::detail::keyed_hash;
using cria::gguf::detail::name_index;

TEST_CASE("name_index: the hash is SipHash-1-3 and depends on the key") {
  // CPython 3.11.7, `PYTHONHASHSEED=0 python3 -c "print(hex(hash(b'a') & (2**64 - 1)))"` and so on: its siphash13 with a key of 0.
  const std::pair<std::string_view, std::uint64_t> vectors[] = {{"a", 0x407448d2b89b1813u},
                                                                {"token_embd.weight", 0x85edf53087d19c31u},
                                                                {"general.alignment", 0xfa9898965a74d31cu},
                                                                {"12345678", 0x3489982430560a87u},
                                                                {"blk.21.ffn_down.weight", 0x62bd7410c121063eu}};
  for (const auto& [text, hash] : vectors) {
    CHECK(keyed_hash({0, 0}, text) == hash);
    CHECK(keyed_hash({1, 0}, text) != hash);
    CHECK(keyed_hash({0, 1}, text) != hash);
  }
}

TEST_CASE("name_index: every name is found under its index, others are not, and a second one of a name is reported") {
  std::vector<std::string> names;
  for (int i = 0; i < 5000; ++i) names.push_back("blk." + std::to_string(i) + ".weight");
  const auto name_of = [&](std::size_t i) -> std::string_view { return names[i]; };
  name_index index;
  CHECK_FALSE(index.find("blk.0.weight", name_of));
  index.reset(names.size());
  for (std::size_t i = 0; i < names.size(); ++i) CHECK_FALSE(index.insert(names[i], i, name_of));
  for (std::size_t i = 0; i < names.size(); ++i) CHECK(index.find(names[i], name_of) == i);
  CHECK_FALSE(index.find("blk.5000.weight", name_of));
  CHECK_FALSE(index.find("", name_of));
  CHECK(index.insert("blk.77.weight", 0, name_of) == 77);
  index.reset(0);
  CHECK_FALSE(index.find("blk.0.weight", name_of));
}

TEST_CASE("name_index: a table for no names has a free slot to stop at") {
  name_index index;
  index.reset(0);
  CHECK_FALSE(index.find("x", [](std::size_t) { return std::string_view(); }));
}
