// SPDX-License-Identifier: MIT
// tests/fuzz/gguf_file.fuzz.cpp - opens any bytes as a GGUF file and, where that works, looks at everything in it.
#include <cria/gguf/file.hpp>

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

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto file = gguf::file::open(memory_source(std::as_bytes(std::span(data, size))));
  if (!file) {
    expect(!file.error().to_string().empty());
    return 0;
  }
  look_at_values(file->metadata());
  look_at_tensors(*file);
  return 0;
}
