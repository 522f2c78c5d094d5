// SPDX-License-Identifier: MIT
// Which type each tensor gets is compared with what llama-quantize gave (quantize_types.hpp), the bytes with the fixture files that it made.
#include <cria/model/quantize.hpp>

#include <doctest/doctest.h>

#include <tests/model/quantize_types.hpp>
#include <tests/support/gguf_builder.hpp>
#include <tests/support/test_data.hpp>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

using cria::errc;
using cria::file_type;
using cria::tensor_type;
using cria_test::gguf_builder;
using cria_test::has_data;

namespace {

using bytes = std::vector<std::byte>;

cria::gguf::file open_bytes(const std::string& text) {
  auto file = cria::gguf::file::open(cria::memory_source(std::as_bytes(std::span(text))));
  REQUIRE_MESSAGE(file.has_value(), (file ? "" : file.error().to_string()));
  return *file;
}

cria::gguf::file open_bytes(const bytes& data) {
  auto file = cria::gguf::file::open(cria::memory_source(data));
  REQUIRE_MESSAGE(file.has_value(), (file ? "" : file.error().to_string()));
  return *file;
}

cria::gguf::file open_data(const std::string& relative) {
  auto file = cria::gguf::file::open(cria_test::data_root() / relative);
  REQUIRE(file.has_value());
  return *file;
}

/// Quantises into memory.
bytes quantized(const cria::gguf::file& file, cria::quantize_options options) {
  if (options.n_threads == 0) options.n_threads = 1;
  bytes out;
  const auto done = cria::quantize(file, cria::memory_sink(out), options);
  REQUIRE_MESSAGE(done.has_value(), (done ? "" : done.error().to_string()));
  return out;
}

cria::error error_of(const cria::gguf::file& file, cria::quantize_options options = {}) {
  options.n_threads = 1;
  bytes out;
  auto done = cria::quantize(file, cria::memory_sink(out), options);
  REQUIRE_FALSE(done.has_value());
  return std::move(done).error();
}

bytes bytes_of(const cria::gguf::file& file, const cria::gguf::tensor_info& t) {
  bytes out(static_cast<std::size_t>(t.size_bytes));
  REQUIRE(file.read(t, 0, out));
  return out;
}

std::vector<float> values_of(const cria::gguf::file& file, const cria::gguf::tensor_info& t) {
  const bytes blocks = bytes_of(file, t);
  std::vector<float> out(static_cast<std::size_t>(t.elements));
  REQUIRE(cria::dequantize_row(t.type, blocks.data(), out));
  return out;
}

/// Floats that differ, of the size of weights.
std::string floats(std::size_t n, std::uint32_t seed = 1) {
  std::string out;
  for (std::size_t i = 0; i < n; ++i) {
    seed = seed * 1664525 + 1013904223;
    out += cria_test::raw(static_cast<float>(static_cast<double>(seed >> 8) / (1 << 24) - 0.5));
  }
  return out;
}

/// A model of two layers in float32, its rows of `columns` numbers.
gguf_builder small_model(std::uint64_t columns = 256) {
  gguf_builder b;
  b.key("general.architecture", "llama")
      .key("llama.block_count", 2u)
      .key("llama.attention.head_count", 4u)
      .key("general.file_type", 0u)
      .key("general.name", "small");
  b.tensor("token_embd.weight", tensor_type::f32, {columns, 3}, floats(columns * 3, 7));
  for (const char* layer : {"blk.0.", "blk.1."}) {
    b.tensor(std::string(layer) + "attn_norm.weight", tensor_type::f32, {columns}, floats(columns, 8));
    b.tensor(std::string(layer) + "attn_v.weight", tensor_type::f32, {columns, 4}, floats(columns * 4, 9));
    b.tensor(std::string(layer) + "ffn_down.weight", tensor_type::f32, {columns, 5}, floats(columns * 5, 10));
  }
  return b.tensor("output.weight", tensor_type::f32, {columns, 3}, floats(columns * 3, 11));
}

/// The beginning of a file whose data are zeros without end.
class endless_source final : public cria::byte_source {
 public:
  explicit endless_source(std::string head) : head_(std::move(head)) {}
  [[nodiscard]] std::uint64_t size() const noexcept override { return std::uint64_t{1} << 40; }
  [[nodiscard]] cria::result<void> read_at(std::uint64_t offset, std::span<std::byte> out) const override {
    std::fill(out.begin(), out.end(), std::byte{0});
    if (offset < head_.size()) std::memcpy(out.data(), head_.data() + offset, std::min<std::size_t>(out.size(), head_.size() - offset));
    if (offset >= head_.size()) largest_read_ = std::max(largest_read_.load(), out.size());
    return {};
  }
  [[nodiscard]] std::string name() const override { return "endless"; }
  [[nodiscard]] std::size_t largest_read() const noexcept { return largest_read_; }

 private:
  std::string head_;
  mutable std::atomic<std::size_t> largest_read_{0};
};

/// Declares tensors behind one another.
class declared_model {
 public:
  gguf_builder b;

  void tensor(const std::string& name, const std::vector<std::uint64_t>& shape) {
    std::uint64_t n = 2;
    for (const std::uint64_t d : shape) n *= d;
    b.raw_tensor(cria_test::raw_string(name), static_cast<std::uint32_t>(shape.size()), shape, static_cast<std::uint32_t>(tensor_type::f16), size_);
    size_ += (n + 31) / 32 * 32;
  }

 private:
  std::uint64_t size_ = 0;
};

/// The model that make_quantize_types.py gave to llama-quantize.
std::string head_of(const cria_test::quantized_shape& s) {
  declared_model m;
  m.b.key("general.architecture", "llama").key("llama.block_count", s.layers).key("llama.attention.head_count", s.heads);
  m.b.key("llama.attention.head_count_kv", s.kv_heads);
  if (s.experts > 0) m.b.key("llama.expert_count", s.experts);
  const std::uint64_t dim = s.dim, ffn = s.ffn, kv_dim = dim / s.heads * s.kv_heads;
  m.tensor("token_embd.weight", {dim, 64});
  m.tensor("output_norm.weight", {dim});
  if (!s.is_tied) m.tensor("output.weight", {dim, 64});
  for (unsigned i = s.layers; i-- > 0;) {   // the order in the file must not matter
    const std::string blk = "blk." + std::to_string(i) + ".";
    m.tensor(blk + "attn_norm.weight", {dim});
    if (s.is_fused) {
      m.tensor(blk + "attn_qkv.weight", {dim, dim + 2 * kv_dim});
    } else {
      m.tensor(blk + "attn_q.weight", {dim, dim});
      m.tensor(blk + "attn_k.weight", {dim, kv_dim});
      m.tensor(blk + "attn_v.weight", {dim, kv_dim});
    }
    m.tensor(blk + "attn_output.weight", {dim, dim});
    m.tensor(blk + "ffn_norm.weight", {dim});
    const char* const end = s.experts > 0 ? "_exps.weight" : ".weight";
    const auto expert = [&](std::uint64_t columns, std::uint64_t rows) {
      return s.experts > 0 ? std::vector<std::uint64_t>{columns, rows, s.experts} : std::vector<std::uint64_t>{columns, rows};
    };
    if (s.experts > 0) m.tensor(blk + "ffn_gate_inp.weight", {dim, s.experts});
    m.tensor(blk + "ffn_gate" + end, expert(dim, ffn));
    m.tensor(blk + "ffn_up" + end, expert(dim, ffn));
    m.tensor(blk + "ffn_down" + end, expert(ffn, dim));
  }
  return m.b.head() + std::string(32, '\0');
}

char letter_of(tensor_type type) {
  constexpr std::pair<tensor_type, char> letters[] = {
      {tensor_type::f32, 'f'},  {tensor_type::f16, 'h'},    {tensor_type::bf16, 'b'},   {tensor_type::q4_0, 'p'},
      {tensor_type::q4_1, 'q'}, {tensor_type::q5_0, 'r'},   {tensor_type::q5_1, 's'},   {tensor_type::q8_0, '8'},
      {tensor_type::q2_k, '2'}, {tensor_type::q3_k, '3'},   {tensor_type::q4_k, '4'},   {tensor_type::q5_k, '5'},
      {tensor_type::q6_k, '6'}, {tensor_type::iq4_nl, 'n'}, {tensor_type::iq4_xs, 'x'}, {tensor_type::mxfp4, 'm'}};
  for (const auto& [known, letter] : letters) {
    if (known == type) return letter;
  }
  return '?';
}

struct temporary_folder {
  std::filesystem::path path;
  explicit temporary_folder(const std::string& name) : path(std::filesystem::temp_directory_path() / ("cria-quantize-" + name)) {
    std::filesystem::remove_all(path);
    std::filesystem::create_directories(path);
  }
  ~temporary_folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  [[nodiscard]] std::filesystem::path write(const std::string& name, const std::string& text) const {
    std::ofstream(path / name, std::ios::binary) << text;
    return path / name;
  }
  [[nodiscard]] std::set<std::string> names() const {
    std::set<std::string> out;
    for (const auto& entry : std::filesystem::directory_iterator(path)) out.insert(entry.path().filename().string());
    return out;
  }
};

std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// Takes so many bytes and then has no more room.
class full_disk final : public cria::byte_sink {
 public:
  full_disk(std::size_t room, bool& is_committed) : room_(room), is_committed_(is_committed) {}
  [[nodiscard]] cria::result<void> write(std::span<const std::byte> data) override {
    if (data.size() > room_) return cria::error{errc::io, "disk", "No space left on device"};
    room_ -= data.size();
    return {};
  }
  [[nodiscard]] cria::result<void> commit() override {
    is_committed_ = true;
    return {};
  }
  [[nodiscard]] std::string name() const override { return "disk"; }

 private:
  std::size_t room_;
  bool& is_committed_;
};

}  // namespace

TEST_CASE("file_type: names and numbers are llama.cpp's, in any case, and K means K_M") {
  // enum llama_ftype, August 2026
  const std::pair<const char*, std::uint32_t> known[] = {{"F32", 0},     {"F16", 1},     {"Q4_0", 2},    {"Q4_1", 3},    {"Q8_0", 7},
                                                         {"Q5_0", 8},    {"Q5_1", 9},    {"Q2_K", 10},   {"Q3_K_S", 11}, {"Q3_K_M", 12},
                                                         {"Q3_K_L", 13}, {"Q4_K_S", 14}, {"Q4_K_M", 15}, {"Q5_K_S", 16}, {"Q5_K_M", 17},
                                                         {"Q6_K", 18},   {"IQ4_NL", 25}, {"IQ4_XS", 30}, {"BF16", 32},   {"MXFP4_MOE", 38}};
  CHECK(std::size(known) == cria::file_types.size());
  for (const auto& [name, number] : known) {
    const auto& shown = name;   // clang 14 captures no structured binding
    CAPTURE(shown);
    const auto found = cria::find_file_type(name);
    REQUIRE(found);
    CHECK(static_cast<std::uint32_t>(*found) == number);
    CHECK(cria::name(*found) == name);
    CHECK(std::count(cria::file_types.begin(), cria::file_types.end(), *found) == 1);
  }
  CHECK(cria::find_file_type("q4_k_m") == file_type::q4_k_m);
  CHECK(cria::find_file_type("iq4_Xs") == file_type::iq4_xs);
  CHECK(cria::find_file_type("Q3_K") == file_type::q3_k_m);
  CHECK(cria::find_file_type("q4_k") == file_type::q4_k_m);
  CHECK(cria::find_file_type("Q5_K") == file_type::q5_k_m);
  for (const char* wrong : {"", "Q4", "Q4_K_", "Q4_K_MM", "Q2_K_S", "Q6", " F16", "15"}) CHECK_FALSE(cria::find_file_type(wrong));
  CHECK(cria::name(static_cast<file_type>(5)) == "file type ?");
}

TEST_CASE("quantize: every tensor gets the type that llama-quantize gives it") {
  for (const auto& shape : cria_test::quantized_shapes) {
    const auto file = cria::gguf::file::open(std::make_shared<endless_source>(head_of(shape)));
    REQUIRE_MESSAGE(file.has_value(), (file ? "" : file.error().to_string()));
    for (const auto& [type_name, expected] : shape.types) {
      CAPTURE(shape.name);
      const auto& shown = type_name;   // clang 14 captures no structured binding
      CAPTURE(shown);
      const auto plan = cria::plan_quantization(*file, {.type = *cria::find_file_type(type_name)});
      REQUIRE(plan.has_value());
      std::map<std::string, std::map<int, char>> letters;   // kind, layer
      for (const cria::planned_tensor& t : *plan) {
        const auto block = cria::find_tensor_type(t.to)->block_size;
        CHECK(t.columns % block == 0);
        if (t.name.find("_norm.") != std::string::npos || t.name.find("gate_inp") != std::string::npos) {
          CHECK(t.to == t.from);
          continue;
        }
        const std::size_t last = t.name.rfind('.'), before = t.name.rfind('.', last - 1);
        const int layer = before == std::string::npos ? 0 : std::stoi(t.name.substr(4));
        letters[t.name.substr(before + 1, last - before - 1)][layer] = letter_of(t.to);
      }
      if (std::string(expected) == "-") {   // llama-quantize has no type for these rows
        for (const auto& [layer, letter] : letters["ffn_down"]) CHECK(letter == 'h');
        continue;
      }
      std::istringstream kinds(expected);
      std::size_t n_kinds = 0;
      for (std::string one; kinds >> one; ++n_kinds) {
        const std::string kind = one.substr(0, one.find('=')), wanted = one.substr(one.find('=') + 1);
        if (kind == "ffn_gate_inp") continue;
        CAPTURE(kind);
        REQUIRE(letters.count(kind) == 1);
        for (const auto& [layer, letter] : letters[kind]) {
          const auto& shown_layer = layer;   // clang 14 captures no structured binding
          CAPTURE(shown_layer);
          CHECK(letter == (wanted.size() == 1 ? wanted[0] : wanted.at(static_cast<std::size_t>(layer))));
        }
      }
      CHECK(n_kinds == letters.size() + (shape.experts > 0));
    }
  }
}

TEST_CASE("quantize: the fixture's blocks are llama-quantize's, or no further from the original") {
  if (!has_data("models/fixture-256.F32.gguf")) return;
  const auto original = open_data("models/fixture-256.F32.gguf");
  for (const char* kind : {"F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K_M", "Q4_K_M", "Q5_K_M", "Q6_K", "IQ4_NL", "IQ4_XS"}) {
    CAPTURE(kind);
    if (!has_data(std::string("models/fixture-256.") + kind + ".gguf")) continue;
    const auto theirs = open_data(std::string("models/fixture-256.") + kind + ".gguf");
    const bytes made = quantized(original, {.type = *cria::find_file_type(kind)});
    const auto ours = open_bytes(made);
    REQUIRE(ours.tensors().size() == theirs.tensors().size());
    CHECK(ours.metadata().get<std::uint32_t>("general.file_type").value() == theirs.metadata().get<std::uint32_t>("general.file_type").value());
    CHECK(ours.metadata().get<std::uint32_t>("general.quantization_version").value() ==
          theirs.metadata().get<std::uint32_t>("general.quantization_version").value());
    for (const auto& t : theirs.tensors()) {
      CAPTURE(t.name);
      const auto* mine = ours.find_tensor(t.name);
      REQUIRE(mine != nullptr);
      REQUIRE(cria::name(mine->type) == cria::name(t.type));
      REQUIRE(mine->shape == t.shape);
      const auto is_searched = [](tensor_type type) { return cria::name(type).ends_with("_K") || cria::name(type).starts_with("IQ"); };
      if (!is_searched(t.type)) {
        CHECK(bytes_of(ours, *mine) == bytes_of(theirs, t));
        continue;
      }
      const auto truth = values_of(original, *original.find_tensor(t.name)), a = values_of(ours, *mine), b = values_of(theirs, t);
      double our_error = 0, their_error = 0;
      for (std::size_t i = 0; i < truth.size(); ++i) {
        our_error += std::pow(static_cast<double>(a[i]) - truth[i], 2);
        their_error += std::pow(static_cast<double>(b[i]) - truth[i], 2);
      }
      CHECK(our_error <= their_error);
    }
  }
}

TEST_CASE("quantize: keys, order, shapes and small tensors are as before; two keys tell the new type") {
  const std::string source = small_model().key("general.tags", "x").array<std::string>("tokenizer.ggml.tokens", {"a", "bc"}).build();
  const auto before = open_bytes(source);
  const bytes made = quantized(before, {.type = file_type::q5_k_m});
  const auto after = open_bytes(made);
  CHECK(after.version() == 3);
  CHECK(after.metadata().size() == before.metadata().size() + 1);
  for (const auto& [key, v] : before.metadata()) {
    const auto& shown = key;   // clang 14 captures no structured binding
    CAPTURE(shown);
    const auto* now = after.metadata().find(key);
    REQUIRE(now != nullptr);
    CHECK(now->type() == v.type());
    if (key != "general.file_type") CHECK(std::ranges::equal(now->bytes(), v.bytes()));
  }
  CHECK(after.metadata().get<std::uint32_t>("general.file_type").value() == 17);
  CHECK(after.metadata().get<std::uint32_t>("general.quantization_version").value() == 2);
  REQUIRE(after.tensors().size() == before.tensors().size());
  for (std::size_t i = 0; i < before.tensors().size(); ++i) {
    CHECK(after.tensors()[i].name == before.tensors()[i].name);
    CHECK(after.tensors()[i].shape == before.tensors()[i].shape);
    CHECK(after.tensors()[i].rank == before.tensors()[i].rank);
  }
  const auto* norm = after.find_tensor("blk.1.attn_norm.weight");
  CHECK(norm->type == tensor_type::f32);
  CHECK(bytes_of(after, *norm) == bytes_of(before, *before.find_tensor("blk.1.attn_norm.weight")));
}

TEST_CASE("quantize: the bytes do not depend on the threads, and pieces meet without a seam") {
  // 300,032 elements: more than one piece, the last one short
  const std::string source =
      gguf_builder().key("general.architecture", "llama").tensor("blk.0.ffn_up.weight", tensor_type::f32, {256, 1172}, floats(256 * 1172)).build();
  const auto file = open_bytes(source);
  for (const file_type type : {file_type::q4_0, file_type::f16, file_type::q4_k_m}) {
    const bytes one = quantized(file, {.type = type, .n_threads = 1});
    CHECK(quantized(file, {.type = type, .n_threads = 3}) == one);
    cria::serial_executor serial;
    CHECK(quantized(file, {.type = type, .executor = serial}) == one);
    const auto made = open_bytes(one);
    const auto& t = made.tensors()[0];
    bytes whole(static_cast<std::size_t>(t.size_bytes));
    REQUIRE(cria::quantize_row(t.type, values_of(file, file.tensors()[0]), whole.data()));
    CHECK(bytes_of(made, t) == whole);
  }
}

TEST_CASE("quantize: a file that is quantised already is read by its values, and the report says what is rounded twice") {
  const std::string source = small_model().build();
  const auto original = open_bytes(source);
  const bytes first = quantized(original, {.type = file_type::q8_0});
  const auto middle = open_bytes(first);
  bytes second;
  const auto report = cria::quantize(middle, cria::memory_sink(second), {.type = file_type::q4_0, .n_threads = 1});
  REQUIRE(report.has_value());
  const auto last = open_bytes(second);
  for (const cria::planned_tensor& t : report->tensors) {
    CAPTURE(t.name);
    const auto* info = last.find_tensor(t.name);
    const auto* from = middle.find_tensor(t.name);
    CHECK(t.is_requantized() == (from->type == tensor_type::q8_0 && info->type != tensor_type::q8_0));
    bytes expected(static_cast<std::size_t>(info->size_bytes));
    REQUIRE(cria::quantize_row(info->type, values_of(middle, *from), expected.data()));
    CHECK(bytes_of(last, *info) == expected);
    CHECK(t.from_bytes == from->size_bytes);
    CHECK(t.to_bytes == info->size_bytes);
  }
  CHECK(report->elements() == 256 * (3 + 2 * (1 + 4 + 5) + 3));
  // The same type again changes nothing and rounds nothing.
  CHECK(quantized(middle, {.type = file_type::q8_0}) == first);
}

TEST_CASE("quantize: types that the host chooses, and pure files") {
  const std::string source = small_model().build();
  const auto file = open_bytes(source);
  const auto type_of = [&](const char* name, const cria::quantize_options& options) {
    const auto plan = cria::plan_quantization(file, options);
    REQUIRE(plan.has_value());
    for (const auto& t : *plan) {
      if (t.name == name) return t.to;
    }
    return tensor_type::i8;
  };
  CHECK(type_of("output.weight", {.type = file_type::q4_0}) == tensor_type::q6_k);
  CHECK(type_of("output.weight", {.type = file_type::q4_0, .output_type = tensor_type::q8_0}) == tensor_type::q8_0);
  CHECK(type_of("token_embd.weight", {.type = file_type::q4_0, .output_type = tensor_type::q8_0}) == tensor_type::q4_0);
  CHECK(type_of("token_embd.weight", {.type = file_type::q4_0, .embedding_type = tensor_type::f16}) == tensor_type::f16);
  CHECK(type_of("output.weight", {.type = file_type::f16, .output_type = tensor_type::f32}) == tensor_type::f32);
  CHECK(type_of("blk.0.ffn_down.weight", {.type = file_type::q4_k_m, .output_type = tensor_type::q8_0}) == tensor_type::q4_k);
  CHECK(type_of("blk.1.attn_v.weight", {.type = file_type::q4_k_m}) == tensor_type::q6_k);
  for (const char* name : {"output.weight", "token_embd.weight", "blk.1.attn_v.weight", "blk.1.ffn_down.weight"}) {
    CHECK(type_of(name, {.type = file_type::q4_k_m, .is_pure = true}) == tensor_type::q4_k);
    CHECK(type_of(name, {.type = file_type::mxfp4_moe, .is_pure = true}) == tensor_type::mxfp4);
  }
  CHECK(type_of("blk.1.attn_norm.weight", {.type = file_type::q4_k_m, .is_pure = true}) == tensor_type::f32);

  const std::string tied = gguf_builder().key("general.architecture", "llama").tensor("token_embd.weight", tensor_type::f32, {256, 4}).build();
  const auto plan_of = [&](const cria::quantize_options& options) { return cria::plan_quantization(open_bytes(tied), options).value()[0].to; };
  CHECK(plan_of({.type = file_type::q4_0}) == tensor_type::q6_k);
  CHECK(plan_of({.type = file_type::q4_0, .output_type = tensor_type::q5_1}) == tensor_type::q5_1);
  CHECK(plan_of({.type = file_type::q4_0, .output_type = tensor_type::q5_1, .embedding_type = tensor_type::q4_1}) == tensor_type::q4_1);

  const cria::error e = error_of(file, {.type = file_type::q4_0, .output_type = tensor_type::iq2_s});
  CHECK(e.code == errc::unsupported_type);
  CHECK(e.where == "IQ2_S");
  CHECK(error_of(file, {.type = static_cast<file_type>(5)}).code == errc::bad_argument);
  CHECK(cria::quantize(file, nullptr, {.type = file_type::q4_0, .n_threads = 1}).error().code == errc::bad_argument);
}

TEST_CASE("quantize: rows that do not fit get the next type that does, and the report names them") {
  for (const auto& [columns, wanted, got] : {std::tuple{96u, tensor_type::q6_k, tensor_type::q8_0}, std::tuple{100u, tensor_type::q6_k, tensor_type::f16}}) {
    const auto& shown = columns;   // clang 14 captures no structured binding
    CAPTURE(shown);
    const std::string source = small_model(columns).build();
    bytes out;
    const auto report = cria::quantize(open_bytes(source), cria::memory_sink(out), {.type = file_type::q6_k, .n_threads = 1});
    REQUIRE(report.has_value());
    for (const auto& t : report->tensors) {
      CAPTURE(t.name);
      const bool is_matrix = t.name.find("_norm") == std::string::npos;
      CHECK(t.is_fallback() == is_matrix);
      CHECK(t.to == (is_matrix ? got : tensor_type::f32));
      CHECK(t.wanted == (is_matrix ? wanted : tensor_type::f32));
    }
    CHECK(open_bytes(out).tensors().size() == report->tensors.size());
  }
}

TEST_CASE("quantize: values that are not finite, or too large for the new type, are errors that name tensor and place") {
  for (const auto& [value, type, text] :
       {std::tuple{std::numeric_limits<float>::quiet_NaN(), file_type::q4_0, "inf or NaN"},
        std::tuple{std::numeric_limits<float>::infinity(), file_type::f32, "inf or NaN"}, std::tuple{70'000.0f, file_type::f16, "too large for F16"},
        std::tuple{1e38f, file_type::q8_0, "too large for Q8_0"}}) {
    std::string data = floats(256 * 200);
    std::memcpy(data.data() + 4 * (256 * 150 + 3), &value, 4);
    const std::string source = gguf_builder().key("general.architecture", "llama").tensor("blk.0.ffn_up.weight", tensor_type::f32, {256, 200}, data).build();
    const cria::error e = error_of(open_bytes(source), {.type = type});
    CAPTURE(e.to_string());
    CHECK(e.code == errc::non_finite);
    CHECK(e.where == "blk.0.ffn_up.weight");
    CHECK(e.message.find(text) != std::string::npos);
  }
  // bfloat16 has the range of float32
  std::string large = floats(512);
  const float huge = 3e38f;
  std::memcpy(large.data(), &huge, 4);
  const std::string source = gguf_builder().key("general.architecture", "llama").tensor("a.weight", tensor_type::f32, {256, 2}, large).build();
  CHECK_FALSE(quantized(open_bytes(source), {.type = file_type::bf16}).empty());
}

TEST_CASE("quantize: a tensor whose values cria cannot read is copied where it stays, and an error with its type and name where it does not") {
  const auto with = [](const char* name, tensor_type type, const std::vector<std::uint64_t>& shape) {
    return gguf_builder().key("general.architecture", "llama").tensor(name, type, shape, std::string(2000, 'x')).build();
  };
  for (const auto& info : cria::tensor_types) {
    if (cria::format_index_of(info.type)) continue;
    CAPTURE(info.name);
    const std::string kept = with("blk.0.ffn_gate_inp.weight", info.type, {256, 2});
    const bytes made = quantized(open_bytes(kept), {.type = file_type::q4_0});
    CHECK(bytes_of(open_bytes(made), open_bytes(made).tensors()[0]) == bytes_of(open_bytes(kept), open_bytes(kept).tensors()[0]));
    const cria::error e = error_of(open_bytes(with("blk.0.ffn_up.weight", info.type, {256, 2})), {.type = file_type::q4_0});
    CHECK(e.code == errc::unsupported_type);
    CHECK(e.where == "blk.0.ffn_up.weight");
    CHECK(e.message.find(info.name) != std::string::npos);
  }
}

TEST_CASE("quantize: a large tensor is read in small pieces, and it can be stopped at any time") {
  declared_model m;
  m.b.key("general.architecture", "llama");
  m.tensor("token_embd.weight", {1024, 64});
  m.tensor("blk.0.ffn_up.weight", {16'384, 1024});   // 32 MiB
  const auto source = std::make_shared<endless_source>(m.b.head() + std::string(32, '\0'));
  const auto file = cria::gguf::file::open(source);
  REQUIRE(file.has_value());
  std::uint64_t last = 0, total = 0;
  std::size_t n_calls = 0;
  std::set<std::string> names;
  bytes out;
  const auto done = cria::quantize(*file, cria::memory_sink(out), {.type = file_type::q8_0, .n_threads = 2, .progress = [&](const cria::quantize_progress& p) {
    CHECK(p.done_bytes >= last);
    CHECK(p.n_tensors_done < p.n_tensors);
    last = p.done_bytes;
    total = p.total_bytes;
    names.insert(std::string(p.tensor));
    ++n_calls;
    return true;
  }});
  REQUIRE(done.has_value());
  CHECK(last == total);
  CHECK(total == 2 * (1024 * 64 + 16'384 * 1024));
  CHECK(names.size() == 2);
  CHECK(n_calls > 8);
  CHECK(source->largest_read() <= std::size_t{1} << 20);

  for (std::size_t calls = 0; calls < n_calls; ++calls) {
    std::size_t n = 0;
    const cria::error e = error_of(*file, {.type = file_type::q8_0, .progress = [&](const cria::quantize_progress&) { return n++ < calls; }});
    CHECK(e.code == errc::cancelled);
    CHECK(n == calls + 1);
    if (calls == 3) calls = n_calls - 2;   // the first ones and the last
  }
  std::stop_source stop;
  stop.request_stop();
  CHECK(error_of(*file, {.type = file_type::q8_0, .stop = stop.get_token()}).code == errc::cancelled);
}

TEST_CASE("quantize: whatever fails, the target is as it was and nothing else is left in its folder") {
  const temporary_folder folder("untouched");
  const auto source = folder.write("in.gguf", small_model().build());
  const auto target = folder.write("out.gguf", "precious");
  const auto fails = [&](const std::filesystem::path& from, const std::filesystem::path& to, const cria::quantize_options& options = {}) {
    const auto names = folder.names();
    auto done = cria::quantize_file(from, to, options);
    REQUIRE_FALSE(done.has_value());
    CHECK(read_file(target) == "precious");
    CHECK(folder.names() == names);
    return std::move(done).error();
  };
  const std::string whole = read_file(source);
  for (const std::size_t n : {std::size_t{0}, std::size_t{10}, std::size_t{200}, whole.size() / 2, whole.size() - 1}) {   // files cut short
    const cria::error e = fails(folder.write("cut.gguf", whole.substr(0, n)), target);
    CAPTURE(e.to_string());
    CHECK((e.code == errc::truncated || (n == 0 && e.code == errc::bad_magic)));
  }
  CHECK(fails(folder.path / "absent.gguf", target).code == errc::io);
  CHECK(fails(source, target, {.progress = [](const cria::quantize_progress& p) { return p.n_tensors_done < 3; }}).code == errc::cancelled);
  CHECK(fails(source, folder.path / "no" / "folder" / "out.gguf").code == errc::io);
  CHECK(fails(source, folder.path).code == errc::io);
  CHECK(fails(source, target, {.type = static_cast<file_type>(4)}).code == errc::bad_argument);
  CHECK(fails(source, target, {.n_threads = 1'000'000}).code == errc::bad_argument);

  const auto same = [&](const std::filesystem::path& from, const std::filesystem::path& to) {
    const cria::error e = fails(from, to);
    CHECK(e.code == errc::bad_argument);
    CHECK(e.message.find("read from") != std::string::npos);
    CHECK(read_file(source) == whole);
  };
  same(source, source);
  same(source, folder.path / "." / "in.gguf");
  std::filesystem::create_hard_link(source, folder.path / "hard.gguf");
  same(source, folder.path / "hard.gguf");
  std::filesystem::create_symlink(source, folder.path / "soft.gguf");
  same(source, folder.path / "soft.gguf");
  same(folder.path / "soft.gguf", source);
}

TEST_CASE("quantize: a disk that fills up at any byte is its error, and nothing is committed") {
  const std::string source = small_model().build();
  const auto file = open_bytes(source);
  const std::size_t size = quantized(file, {.type = file_type::q4_0}).size();
  for (std::size_t room = 0; room <= size; room += room + 997 < size || room == size ? 997 : size - room) {
    bool is_committed = false;
    const auto done = cria::quantize(file, std::make_unique<full_disk>(room, is_committed), {.type = file_type::q4_0, .n_threads = 1});
    CHECK(done.has_value() == (room == size));
    CHECK(is_committed == (room == size));
    if (!done) CHECK(done.error().to_string() == "io: disk: No space left on device");
  }
}

TEST_CASE("quantize: a model in parts becomes one file, and no part may be the target") {
  const temporary_folder folder("parts");
  const auto part = [](std::uint16_t i) {
    gguf_builder b;
    b.key("general.architecture", "llama").key("split.no", i).key("split.count", std::uint16_t{2}).key("split.tensors.count", std::int32_t{2});
    return b.tensor(i == 0 ? "token_embd.weight" : "output.weight", tensor_type::f32, {256, 4}, floats(1024, i)).build();
  };
  const auto first = folder.write("m-00001-of-00002.gguf", part(0)), second = folder.write("m-00002-of-00002.gguf", part(1));
  for (const auto& target : {first, second}) {
    const auto done = cria::quantize_file(first, target, {.type = file_type::q8_0, .n_threads = 1});
    REQUIRE_FALSE(done.has_value());
    CHECK(done.error().code == errc::bad_argument);
  }
  REQUIRE(cria::quantize_file(first, folder.path / "whole.gguf", {.type = file_type::q8_0, .n_threads = 1}));
  const auto whole = cria::gguf::file::open(folder.path / "whole.gguf");
  REQUIRE(whole.has_value());
  CHECK(whole->part_count() == 1);
  CHECK(whole->tensors().size() == 2);
  for (const char* key : {"split.no", "split.count", "split.tensors.count"}) CHECK_FALSE(whole->metadata().contains(key));
  const auto parts = cria::gguf::file::open(first);
  REQUIRE(parts.has_value());
  for (const auto& t : whole->tensors()) {
    bytes expected(static_cast<std::size_t>(t.size_bytes));
    REQUIRE(cria::quantize_row(tensor_type::q8_0, values_of(*parts, *parts->find_tensor(t.name)), expected.data()));
    CHECK(bytes_of(*whole, t) == expected);
  }
}
