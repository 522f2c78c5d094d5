// SPDX-License-Identifier: MIT
// tests/fuzz/gguf_file.fuzz.cpp - opens any bytes as a GGUF file and, where that works, looks at everything in it and writes it again.
#include <cria/gguf/file.hpp>
#include <cria/gguf/writer.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <vector>

namespace {

using namespace cria;

/// What must be true of an opened file, checked where a sanitizer cannot see it.
void expect(bool holds) {
  if (!holds) std::abort();
}

template <class T>
void look_at_elements(const gguf::array_view& array) {
  const auto all = array.to_vector<T>();
  if (all) expect(all->size() == array.size());
}

void look_at_values(const gguf::metadata& keys) {
  for (const auto& [key, v] : keys) {
    expect(keys.find(key) == &v && !key.empty());
    static_cast<void>(keys.get<std::uint32_t>(key));
    static_cast<void>(keys.get<std::int8_t>(key));
    static_cast<void>(keys.get<bool>(key));
    static_cast<void>(keys.get<double>(key));
    static_cast<void>(keys.get<std::string>(key));
    if (const auto array = keys.get<gguf::array_view>(key)) {
      look_at_elements<std::int64_t>(*array);
      look_at_elements<float>(*array);
      look_at_elements<std::string>(*array);
    }
  }
}

void look_at_tensors(const gguf::file& file) {
  for (const gguf::tensor_info& t : file.tensors()) {
    expect(file.find_tensor(t.name) == &t && t.elements > 0 && t.rank >= 1 && t.rank <= 4);
    expect(t.offset <= file.file_size() && t.size_bytes <= file.file_size() - t.offset && t.offset % file.alignment() == 0);
    std::vector<std::byte> ends(std::min<std::uint64_t>(t.size_bytes, 16));
    expect(file.read(t, 0, ends).has_value());
    expect(file.read(t, t.size_bytes - ends.size(), ends).has_value());
    expect(!file.read(t, t.size_bytes, std::span(ends).first(1)).has_value());
  }
}

/// Declares and writes all of a file. False where the writer has reasons not to: names of 64 bytes.
bool write(const gguf::file& file, gguf::writer& w, std::vector<std::byte>& out) {
  for (const auto& [key, v] : file.metadata()) expect(w.set(key, v).has_value());
  for (const gguf::tensor_info& t : file.tensors()) {
    const auto done = w.add_tensor(t.name, t.type, std::span(t.shape).first(t.rank));
    if (!done) return expect(t.name.size() > 63), false;
  }
  expect(w.open(memory_sink(out)).has_value());
  for (const gguf::tensor_info& t : file.tensors()) {
    std::vector<std::byte> bytes(t.size_bytes);
    expect(file.read(t, 0, bytes).has_value() && w.write(bytes).has_value());
  }
  expect(w.commit().has_value());
  return true;
}

/// parse(write(x)) == x, but for the tensors' places.
void check_round_trip(const gguf::file& file) {
  gguf::writer w;
  std::vector<std::byte> out;
  if (!write(file, w, out)) return;
  const auto again = gguf::file::open(memory_source(out));
  expect(again && again->metadata().size() == file.metadata().size() && again->tensors().size() == file.tensors().size());
  for (auto a = file.metadata().begin(), b = again->metadata().begin(); a != file.metadata().end(); ++a, ++b) {
    expect(a->key == b->key && a->v.type() == b->v.type() && std::ranges::equal(a->v.bytes(), b->v.bytes()));
  }
  for (std::size_t i = 0; i < file.tensors().size(); ++i) {
    const gguf::tensor_info &a = file.tensors()[i], &b = again->tensors()[i];
    expect(a.name == b.name && a.type == b.type && a.shape == b.shape && a.rank == b.rank && a.size_bytes == b.size_bytes);
    std::vector<std::byte> x(a.size_bytes), y(a.size_bytes);
    expect(file.read(a, 0, x) && again->read(b, 0, y) && x == y);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto file = gguf::file::open(memory_source(std::as_bytes(std::span(data, size))));
  if (!file) {
    expect(!file.error().to_string().empty());
    return 0;
  }
  look_at_values(file->metadata());
  look_at_tensors(*file);
  check_round_trip(*file);
  return 0;
}
