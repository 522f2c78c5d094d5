// SPDX-License-Identifier: MIT
// tests/fuzz/gguf_writer.fuzz.cpp - any calls of the GGUF writer: what it takes is what a reader finds, in order and bit for bit; what a reader would
// refuse it refuses, and a sink that fails at any byte is that error. Input: calls, one byte each and their arguments.
#include <cria/gguf/file.hpp>
#include <cria/gguf/writer.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using namespace cria;

/// What must be true, checked where a sanitizer cannot see it.
void expect(bool holds) {
  if (!holds) std::abort();
}

class input {
 public:
  input(const std::uint8_t* data, std::size_t size) : rest_(reinterpret_cast<const char*>(data), size) {}
  [[nodiscard]] bool is_empty() const { return rest_.empty(); }
  std::uint8_t byte() {
    if (rest_.empty()) return 0;
    const auto b = static_cast<std::uint8_t>(rest_[0]);
    rest_.remove_prefix(1);
    return b;
  }
  std::string_view text(std::size_t most) {
    const std::string_view taken = rest_.substr(0, byte() % (most + 1));
    rest_.remove_prefix(taken.size());
    return taken;
  }
  std::uint64_t number() {
    std::uint64_t n = 0;
    for (unsigned bytes = byte() % 9u; bytes > 0; --bytes) n = n << 8 | byte();
    return n;
  }

 private:
  std::string_view rest_;
};

/// A sink in memory that takes no more than `room` bytes.
class small_sink final : public byte_sink {
 public:
  small_sink(std::vector<std::byte>& out, std::size_t room) : out_(out), room_(room) {}
  result<void> write(std::span<const std::byte> bytes) override {
    if (bytes.size() > room_ - out_.size()) return error{errc::io, "sink", "is full", out_.size()};
    out_.insert(out_.end(), bytes.begin(), bytes.end());
    return {};
  }
  result<void> commit() override {
    is_committed = true;
    return {};
  }
  [[nodiscard]] std::string name() const override { return "sink"; }
  bool is_committed = false;

 private:
  std::vector<std::byte>& out_;
  std::size_t room_;
};

struct key {
  std::string name;
  gguf::value_type type;
  std::vector<std::byte> bytes;   // as value::bytes() gives them
};
struct tensor {
  std::string name;
  tensor_type type;
  std::vector<std::uint64_t> shape;
};
struct declared {
  gguf::writer w;
  std::vector<key> keys;
  std::vector<tensor> tensors;
};

bool is_good_name(std::string_view name, std::size_t most) { return !name.empty() && name.size() <= most && name.find('\0') == name.npos; }

template <class T>
void set(declared& d, std::string_view name, const T& v, std::vector<std::byte> bytes) {
  const auto done = d.w.set(name, v);
  expect(done.has_value() == is_good_name(name, 65'535));
  if (!done) return expect(done.error().code == errc::bad_argument);
  key made{std::string(name), gguf::detail::stored_type<T>(), std::move(bytes)};
  const auto found = std::find_if(d.keys.begin(), d.keys.end(), [&](const key& k) { return k.name == name; });
  if (found != d.keys.end()) *found = std::move(made);
  else d.keys.push_back(std::move(made));
}

template <class T>
void set_number(declared& d, std::string_view name, T v) {
  const auto bytes = store_le(v);
  set(d, name, v, {bytes.begin(), bytes.end()});
}

void set_text(declared& d, std::string_view name, std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  set(d, name, text, {bytes.begin(), bytes.end()});
}

template <class T>
void set_array(declared& d, std::string_view name, std::uint64_t first, std::size_t n) {
  std::vector<T> values;
  std::vector<std::byte> bytes;
  for (std::size_t i = 0; i < n; ++i) {
    values.push_back(static_cast<T>(first + i));
    const auto stored = store_le(values.back());
    bytes.insert(bytes.end(), stored.begin(), stored.end());
  }
  set(d, name, values, std::move(bytes));
}

void add_tensor(declared& d, input& in) {
  const std::string_view name = in.text(70);
  const auto type = static_cast<tensor_type>(in.byte() % 45);
  std::vector<std::uint64_t> shape;
  for (unsigned rank = in.byte() % 6u; rank > 0; --rank) shape.push_back(in.byte() % 8 == 7 ? in.number() : in.byte() % 9 * 32u);
  std::uint64_t elements = 1;
  for (const std::uint64_t n : shape) elements = n > 4096 || elements > 4096 ? 4097 : elements * n;
  const auto* info = find_tensor_type(type);
  const bool is_new = std::none_of(d.tensors.begin(), d.tensors.end(), [&](const tensor& t) { return t.name == name; });
  if (elements > 4096) {   // would be written in full below
    gguf::writer other;
    static_cast<void>(other.add_tensor(name, type, shape));
    return;
  }
  const auto done = d.w.add_tensor(name, type, shape);
  const bool is_good = is_good_name(name, 63) && info != nullptr && !shape.empty() && shape.size() <= 4 && elements > 0 && shape[0] % info->block_size == 0;
  expect(done.has_value() == (is_good && is_new));
  if (!done) return expect(done.error().code == (is_good ? errc::duplicate : errc::bad_argument));
  d.tensors.push_back({std::string(name), type, shape});
}

void call(declared& d, input& in) {
  const unsigned what = in.byte() % 16u;
  if (what >= 12) return add_tensor(d, in);
  const std::string_view name = in.text(20);
  switch (what) {
    case 0: return set_number(d, name, static_cast<std::uint8_t>(in.number()));
    case 1: return set_number(d, name, static_cast<std::int16_t>(in.number()));
    case 2: return set_number(d, name, static_cast<std::uint32_t>(in.number()));
    case 3: return set_number(d, name, static_cast<std::int64_t>(in.number()));
    case 4: return set_number(d, name, static_cast<float>(in.number()));
    case 5: return set_number(d, name, static_cast<double>(in.number()));
    case 6: return set_text(d, name, in.text(200));
    case 7: return set_array<std::int8_t>(d, name, in.number(), in.byte());
    case 8: return set_array<float>(d, name, in.number() >> 40, in.byte());
    case 9: return set_array<std::uint64_t>(d, name, in.number(), in.byte());
    case 10: {
      const auto found = std::find_if(d.keys.begin(), d.keys.end(), [&](const key& k) { return k.name == name; });
      expect(d.w.erase(name) == (found != d.keys.end()));
      if (found != d.keys.end()) d.keys.erase(found);
      return;
    }
    default: return set_number(d, "general.alignment", std::uint32_t{1} << in.byte() % 24);
  }
}

std::vector<std::byte> contents_of(const tensor& t, std::uint64_t size) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(size));
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 7 + t.name.size());
  return bytes;
}

/// Writes everything in pieces; returns whether all went well.
bool write_all(declared& d, std::size_t piece) {
  for (std::size_t i = 0; i < d.tensors.size(); ++i) {
    expect(d.w.current() == i);
    const std::vector<std::byte> bytes = contents_of(d.tensors[i], d.w.remaining());
    for (std::size_t at = 0; at < bytes.size(); at += piece) {
      if (!d.w.write(std::span(bytes).subspan(at, std::min(piece, bytes.size() - at)))) return false;
    }
  }
  return d.w.commit().has_value();
}

void check_file(const declared& d, const std::vector<std::byte>& out) {
  const auto file = gguf::file::open(memory_source(out));
  // What says that it is one of several parts is opened with the others or not at all.
  const bool is_part = std::any_of(d.keys.begin(), d.keys.end(), [](const key& k) { return k.name == "split.count"; });
  constexpr errc refusals[] = {errc::mismatch, errc::wrong_type, errc::bad_value, errc::missing_key};
  if (is_part && !file) return expect(std::count(std::begin(refusals), std::end(refusals), file.error().code) == 1);
  expect(file.has_value() && file->metadata().size() == d.keys.size() && file->tensors().size() == d.tensors.size());
  auto stored = file->metadata().begin();
  for (const key& k : d.keys) {
    expect(stored->key == k.name && stored->v.type() == k.type && std::ranges::equal(stored->v.bytes(), k.bytes));
    ++stored;
  }
  for (std::size_t i = 0; i < d.tensors.size(); ++i) {
    const gguf::tensor_info& t = file->tensors()[i];
    expect(t.name == d.tensors[i].name && t.type == d.tensors[i].type && t.rank == d.tensors[i].shape.size());
    expect(std::equal(d.tensors[i].shape.begin(), d.tensors[i].shape.end(), t.shape.begin()));
    std::vector<std::byte> bytes(t.size_bytes);
    expect(file->read(t, 0, bytes).has_value() && bytes == contents_of(d.tensors[i], t.size_bytes));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  input in(data, size);
  const std::size_t room = in.byte() % 4 == 0 ? in.byte() * 16u : std::size_t{1} << 24, piece = 1 + in.byte() * 5u;
  declared d;
  while (!in.is_empty()) call(d, in);
  const auto aligned = std::find_if(d.keys.begin(), d.keys.end(), [](const key& k) { return k.name == "general.alignment"; });
  const bool is_u32 = aligned != d.keys.end() && aligned->type == gguf::value_type::u32;
  const std::uint64_t alignment = aligned == d.keys.end() ? 32 : is_u32 ? load_le<std::uint32_t>(aligned->bytes.data()) : 0;
  const bool is_aligned = alignment >= 8 && alignment <= 1 << 20 && (alignment & (alignment - 1)) == 0;
  if (alignment > 4096 && d.tensors.size() > 2) return 0;   // megabytes of padding

  std::vector<std::byte> out;
  auto made = std::make_unique<small_sink>(out, room);
  const auto opened = d.w.open(std::move(made));
  if (!is_aligned) return expect(!opened && opened.error().code == errc::bad_value), 0;
  if (!opened) return expect(opened.error().code == errc::io && room != std::size_t{1} << 24), 0;
  expect(!d.w.set("late", true).has_value() && !d.w.erase("late"));
  if (!write_all(d, piece)) {
    expect(room != std::size_t{1} << 24 && !d.w.commit().has_value());   // the sink is gone
    return 0;
  }
  expect(!d.w.commit().has_value());
  check_file(d, out);
  return 0;
}
