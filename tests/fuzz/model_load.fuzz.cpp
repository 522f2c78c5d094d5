// SPDX-License-Identifier: MIT
// tests/fuzz/model_load.fuzz.cpp - loads any bytes as a model and, where that works, runs two tokens through it.
//
// Half of the mutations are made inside the structure (a number of the metadata, a dimension, type or offset of a tensor), since a file that differs
// anywhere in its lengths is refused before it is a model.
#include <cria/core/executor.hpp>
#include <cria/kv/contiguous.hpp>
#include <cria/model/model.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace cria;

/// What must be true, checked where a sanitizer cannot see it.
void expect(bool holds) {
  if (!holds) std::abort();
}

void expect_useful(const error& e) {
  const std::string text = e.to_string();
  expect(!e.where.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x20 && c < 0x7f; }));
}

template <kv_type Type>
void run_two_tokens(const model& m) {
  using cache_type = contiguous_kv_cache<Type>;
  auto cache = cache_type::create(m.cache_shape(), 3);
  auto a = nn::activations::create(m.activation_shape(2), m.precision(), 1, 1);
  expect(cache.has_value() && a.has_value());
  serial_executor serial;
  const token_id tokens[] = {static_cast<token_id>(m.vocab_size() - 1), 0};
  const std::size_t stride = round_up(m.vocab_size(), 16);
  std::vector<float> logits(2 * stride);
  const auto run = [&](std::span<const token_id> part) {
    nn::sequence_slice<cache_type> slice{&*cache, part, part.size()};
    return m.forward<cache_type>(serial, *a, {&slice, 1}, {logits.data(), stride, part.size(), m.vocab_size()});
  };
  expect(run(tokens).has_value() && cache->length() == 2);
  const std::vector<float> first = logits;
  expect(!run(tokens).has_value() && cache->length() == 2);   // one position is left
  cache->truncate(1);
  expect(run({tokens + 1, 1}).has_value());
  // The same bits as before; of NaN, only that it is one: which operand's payload survives is the compiler's choice.
  for (std::size_t i = 0; i < m.vocab_size(); ++i) {
    const float before = first[stride + i];
    expect(std::memcmp(&logits[i], &before, sizeof before) == 0 || (std::isnan(logits[i]) && std::isnan(before)));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  gguf::limits limits;
  limits.metadata_bytes = 1 << 20;
  limits.tensors = 1000;
  limits.array_elements = 4096;
  const auto file = gguf::file::open(memory_source(std::as_bytes(std::span(data, size))), limits);
  if (!file) {
    expect_useful(file.error());
    return 0;
  }
  load_options options;
  options.n_threads = 1;
  options.precision = size % 2 == 0 ? precision::exact : precision::fast;
  const auto m = model::load(*file, options);
  if (!m) {
    expect_useful(m.error());
    return 0;
  }
  run_two_tokens<kv_type::f16>(*m);
  run_two_tokens<kv_type::q8_0>(*m);
  return 0;
}

#if defined(__GNUC__)
extern "C" __attribute__((weak)) std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

namespace {

/// Overwrites a little-endian number of `n` bytes with one that is likely to matter.
void overwrite(std::uint8_t* at, std::size_t n, std::mt19937& random) {
  constexpr auto bits_of = [](auto x) {
    std::uint64_t bits = 0;
    std::memcpy(&bits, &x, sizeof x);
    return bits;
  };
  const std::uint64_t numbers[] = {0, 1, 2, 3, 4, 5, 7, 8, 10, 15, 16, 17, 31, 32, 64, 128, 255, 256, 1 << 15, 1 << 16, 1u << 20, 1u << 31, 0xffffffff,
                                   std::uint64_t{1} << 32, std::uint64_t{1} << 60, std::uint64_t{1} << 63, ~std::uint64_t{0},
                                   bits_of(1.0f), bits_of(-1.0f), bits_of(1e-40f), bits_of(3e38f), bits_of(std::numeric_limits<float>::quiet_NaN()),
                                   bits_of(1e-300), bits_of(1e300), bits_of(10000.0), bits_of(std::numeric_limits<double>::infinity())};
  const std::uint64_t number = numbers[random() % std::size(numbers)];
  std::memcpy(at, &number, std::min<std::size_t>(n, 8));
}

/// Changes a number of the metadata.
bool change_key(const gguf::file& file, std::uint8_t* data, std::mt19937& random) {
  const auto keys = file.metadata().begin();
  if (file.metadata().empty()) return false;
  const gguf::entry& e = keys[static_cast<std::ptrdiff_t>(random() % file.metadata().size())];
  if (e.v.type() == gguf::value_type::string || e.v.bytes().empty()) return false;
  const std::uint64_t at = file.metadata().offset_of(e.v);
  const std::size_t n = e.v.type() == gguf::value_type::array ? std::min<std::size_t>(4, e.v.bytes().size()) : e.v.bytes().size();
  const std::size_t last = e.v.type() == gguf::value_type::array ? e.v.bytes().size() - n : 0;
  overwrite(data + at + (last == 0 ? 0 : random() % (last / n + 1) * n), n, random);
  return true;
}

/// Changes a dimension, the type or the offset of a tensor: what stands behind its name.
bool change_tensor(const gguf::file& file, std::uint8_t* data, std::size_t size, std::mt19937& random) {
  if (file.tensors().empty()) return false;
  const gguf::tensor_info& t = file.tensors()[random() % file.tensors().size()];
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const std::size_t name = bytes.rfind(t.name);
  if (name == bytes.npos) return false;
  const std::size_t behind = name + t.name.size(), entry = 4 + t.rank * 8 + 4 + 8;
  if (size - behind < entry) return false;
  const std::uint32_t field = static_cast<std::uint32_t>(random() % (t.rank + 2));
  if (field < t.rank) overwrite(data + behind + 4 + field * 8, 8, random);
  else if (field == t.rank) data[behind + 4 + t.rank * 8] = static_cast<std::uint8_t>(random() % 42);
  else overwrite(data + behind + 4 + t.rank * 8 + 4, 8, random);
  return true;
}

}  // namespace

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size, unsigned seed) {
  std::mt19937 random(seed);
  if (random() % 2 == 0) {
    const auto file = gguf::file::open(memory_source(std::as_bytes(std::span(data, size))));
    if (file && (random() % 2 == 0 ? change_key(*file, data, random) : change_tensor(*file, data, size, random))) return size;
  }
  return LLVMFuzzerMutate(data, size, max_size);
}
#endif
