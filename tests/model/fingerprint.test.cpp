// SPDX-License-Identifier: MIT
#include <cria/model/fingerprint.hpp>

#include <doctest/doctest.h>

#include <tests/support/tiny_model.hpp>

#include <algorithm>
#include <cstdint>
#include <set>
#include <string>

using namespace cria;
using namespace cria_test;

namespace {

std::uint64_t fingerprint(const model_parts& parts) {
  const std::string bytes = parts.build();
  return fingerprint_of(open_bytes(bytes).value()).value();
}

}  // namespace

TEST_CASE("fingerprint: changes with every hyperparameter, token, tensor name, type, shape and weight of a model") {
  const model_parts original = tiny_model();
  std::set<std::uint64_t> seen = {fingerprint(original)};
  std::size_t n_changes = 0;
  const auto expect_new = [&](const model_parts& changed, const std::string& what) {
    CAPTURE(what);
    ++n_changes;
    CHECK(seen.insert(fingerprint(changed)).second);
  };
  for (std::size_t i = 0; i < original.keys.size(); ++i) {
    model_parts changed = original;
    changed.keys[i].bytes.back() = static_cast<char>(changed.keys[i].bytes.back() ^ 1);
    expect_new(changed, changed.keys[i].name);
  }
  for (std::size_t i = 0; i < original.tensors.size(); ++i) {
    const std::string& data = original.tensors[i].data;
    for (const std::size_t at : {std::size_t{0}, data.size() - 1}) {   // ends of tensors are always looked at
      model_parts changed = original;
      changed.tensors[i].data[at] = static_cast<char>(changed.tensors[i].data[at] ^ 1);
      expect_new(changed, changed.tensors[i].name);
    }
    model_parts renamed = original;
    renamed.tensors[i].name += "x";
    expect_new(renamed, renamed.tensors[i].name);
  }
  model_parts turned = original;
  std::swap(turned.at("blk.0.ffn_up.weight").shape[0], turned.at("blk.0.ffn_up.weight").shape[1]);
  expect_new(turned, "shape");
  for (const std::uint32_t seed : {2u, 3u, 4u}) expect_new(tiny_model({.seed = seed}), "seed");
  expect_new(tiny_model({.type = tensor_type::f16}), "type");
  expect_new(tiny_model({.tied = true}), "tied");
  CHECK(n_changes > 60);
}

TEST_CASE("fingerprint: is the same for another name, template, order of keys and tensors, and padding") {
  const model_parts original = tiny_model();
  const std::uint64_t expected = fingerprint(original);
  model_parts changed = original;
  changed.set("general.name", "another");
  changed.set("general.alignment", std::uint32_t{32});
  changed.set("tokenizer.chat_template", "{{ messages }}");
  changed.set("tokenizer.chat_template.tool_use", "{{ tools }}");
  std::reverse(changed.keys.begin(), changed.keys.end());
  std::reverse(changed.tensors.begin(), changed.tensors.end());
  CHECK(fingerprint(changed) == expected);
  CHECK(load_bytes(original.build()).value().fingerprint() == expected);
  load_options fast;
  fast.precision = precision::fast;
  CHECK(load_bytes(original.build(), fast).value().fingerprint() == expected);
}

TEST_CASE("fingerprint: a file cut after it was opened is an io error") {
  std::string bytes = tiny_model().build();
  struct cut_source final : byte_source {
    const std::string& bytes;
    bool is_cut = false;
    explicit cut_source(const std::string& b) : bytes(b) {}
    [[nodiscard]] std::uint64_t size() const noexcept override { return bytes.size(); }
    [[nodiscard]] std::string name() const override { return "cut"; }
    [[nodiscard]] result<void> read_at(std::uint64_t offset, std::span<std::byte> out) const override {
      if (is_cut) return error{errc::io, "cut", "the file ends", offset};
      std::copy_n(reinterpret_cast<const std::byte*>(bytes.data()) + offset, out.size(), out.data());
      return {};
    }
  };
  const auto source = std::make_shared<cut_source>(bytes);
  const auto file = gguf::file::open(source).value();
  source->is_cut = true;
  const auto found = fingerprint_of(file);
  REQUIRE(!found);
  CHECK(found.error().code == errc::io);
}
