// SPDX-License-Identifier: MIT
#include <cria/gguf/file.hpp>

#include <doctest/doctest.h>

#include <tests/support/gguf_builder.hpp>
#include <tests/support/sanitized.hpp>
#include <tests/support/test_data.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#ifdef __linux__
#include <cerrno>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

using cria::errc;
using cria::tensor_type;
using cria_test::gguf_builder;

namespace {

/// A file that is removed again.
struct temporary_file {
  std::filesystem::path path;
  explicit temporary_file(const std::string& name, const std::string& text = {})
      : path(std::filesystem::temp_directory_path() / ("cria-gguf_file-" + name)) {
    std::ofstream(path, std::ios::binary) << text;
  }
  ~temporary_file() {
    std::error_code ignored;
    std::filesystem::remove(path, ignored);
  }
};

/// A source that fails at read number `fail_at`, and counts.
class failing_source final : public cria::byte_source {
 public:
  failing_source(std::string text, int fail_at) : text_(std::move(text)), fail_at_(fail_at) {}
  std::uint64_t size() const noexcept override { return text_.size(); }
  std::string name() const override { return "failing"; }
  cria::result<void> read_at(std::uint64_t offset, std::span<std::byte> out) const override {
    if (reads_++ == fail_at_) return cria::error{errc::io, "failing", "made to fail", offset};
    return cria::memory_source(std::as_bytes(std::span(text_)))->read_at(offset, out);
  }
  int reads() const { return reads_; }

 private:
  std::string text_;
  int fail_at_;
  mutable int reads_ = 0;
};

/// FNV-1a, 64 bits: enough to compare listings.
struct fnv {
  std::uint64_t hash = 0xcbf29ce484222325u;
  void add(std::string_view bytes) {
    for (const char c : bytes) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  }
};

std::uint64_t hash_of_keys(const cria::gguf::metadata& keys) {
  fnv h;
  for (const auto& [key, v] : keys) {
    const std::string_view bytes(reinterpret_cast<const char*>(v.bytes().data()), v.bytes().size());
    std::string line = std::string(key) + " ";
    if (const auto array = v.as<cria::gguf::array_view>()) {
      line += "array " + std::to_string(static_cast<unsigned>(array->element_type())) + " " + std::to_string(array->size());
    } else {
      line += std::to_string(static_cast<unsigned>(v.type()));
    }
    h.add(line + " " + std::to_string(bytes.size()) + "\n");
    const std::size_t n = std::min<std::size_t>(64, bytes.size());
    h.add(bytes.substr(0, n));
    h.add(bytes.substr(bytes.size() - n));
  }
  return h.hash;
}

std::uint64_t hash_of_tensors(const cria::gguf::file& file) {
  fnv h;
  for (const cria::gguf::tensor_info& t : file.tensors()) {
    std::string line = std::string(t.name) + " " + std::to_string(static_cast<unsigned>(t.type));
    for (std::uint32_t i = 0; i < t.rank; ++i) line += " " + std::to_string(t.shape[i]);
    h.add(line + " " + std::to_string(t.elements) + " " + std::to_string(t.offset) + " " + std::to_string(t.size_bytes) + "\n");
  }
  return h.hash;
}

#if CRIA_TEST_SANITIZED
constexpr std::size_t stride = 23;   // a sample of all bits where one try takes a millisecond
#else
constexpr std::size_t stride = 1;
#endif

struct listing {
  const char* path;
  std::size_t n_keys, n_tensors;
  std::uint64_t keys, tensors;
};

// gguf-py 0.19.0 (GGUFReader), 2026-11: FNV-1a over one line for each key, "name type bytes\n" or "name array element-type count bytes\n", followed by the
// first and the last 64 bytes of its value; and over one line for each tensor, "name type dimensions... elements offset bytes\n".
constexpr listing listings[] = {
    {"models/fixture-256.BF16.gguf", 21, 30, 0xe8fa8e397e814189u, 0xf7d823e5bcb88ccau},
    {"models/fixture-256.F16.gguf", 21, 30, 0x49fdd34f60f965f9u, 0x31bded4a6abcb870u},
    {"models/fixture-256.F32.gguf", 20, 30, 0x669be1a45fe3115bu, 0xc4b60e42df713512u},
    {"models/fixture-256.IQ4_NL.gguf", 21, 30, 0x41feab5506c5d279u, 0x9be0b04bbdceac06u},
    {"models/fixture-256.IQ4_XS.gguf", 21, 30, 0xba54e964be904389u, 0x97109a6a6cd74516u},
    {"models/fixture-256.Q2_K.gguf", 21, 30, 0xcefd4c4bd959a229u, 0x6bb57a48b6027bf4u},
    {"models/fixture-256.Q3_K_M.gguf", 21, 30, 0xccfd824d42ccbd49u, 0x8745ae34f3730a60u},
    {"models/fixture-256.Q4_0.gguf", 21, 30, 0xc6fe24517f260ea9u, 0xa5b6ee783b9bb530u},
    {"models/fixture-256.Q4_1.gguf", 21, 30, 0x47fe0950ca6c8119u, 0x2ed0098a60bf087eu},
    {"models/fixture-256.Q4_K_M.gguf", 21, 30, 0x4bfd9d4df7864ad9u, 0xfa1eee9b2ba18ba5u},
    {"models/fixture-256.Q5_0.gguf", 21, 30, 0xd0fd164a6fe68709u, 0x544228bb184b4955u},
    {"models/fixture-256.Q5_1.gguf", 21, 30, 0x51fcfb49bb2cf979u, 0x33088592290f446fu},
    {"models/fixture-256.Q5_K_M.gguf", 21, 30, 0x39ff835aac923ef9u, 0x556af2754cc7235eu},
    {"models/fixture-256.Q6_K.gguf", 21, 30, 0xb6555567917679c9u, 0x3f6220b81bfdfd6au},
    {"models/fixture-256.Q8_0.gguf", 21, 30, 0x43fe75539d52b759u, 0x9100456ba4d447c8u},
    {"models/stories260K.gguf", 19, 48, 0x2bc2bafb28841fb6u, 0xb9d403337473f716u},
    {"models/arch/gemma2.F32.gguf", 25, 46, 0xd747e39f67348546u, 0xabda44fe66578667u},
    {"models/arch/gemma2.Q4_0.gguf", 26, 46, 0x299128e2bb6496feu, 0x3f41d56cff9efbb2u},
    {"models/arch/gemma3.F32.gguf", 25, 54, 0x4d2bef7242120a1au, 0xd3e1d106271ba8d9u},
    {"models/arch/gemma3.Q4_0.gguf", 26, 54, 0x47051e21189b63ecu, 0x88ba7796a5effd85u},
    {"models/arch/gpt2.F32.gguf", 18, 52, 0x73be24d2249e55fbu, 0x34ad43d99af55c43u},
    {"models/arch/gpt2.Q4_0.gguf", 19, 52, 0xe4f93816c3c941c9u, 0x418f7d37ad4a3ecau},
    {"models/arch/llama-bias.F32.gguf", 20, 67, 0x440afe04467cabe2u, 0x4e6d45cc0afcbaa8u},
    {"models/arch/llama-bias.Q4_0.gguf", 21, 67, 0xfbad72d31fb5ee94u, 0x4fcc7c68e7369022u},
    {"models/arch/llama-linear.F32.gguf", 22, 39, 0x4a24118c4744faf7u, 0x958b901547fcfca9u},
    {"models/arch/llama-linear.Q4_0.gguf", 23, 39, 0x7ddcdfe272d1ea9bu, 0xcece0039b859c869u},
    {"models/arch/llama-moe.F32.gguf", 22, 43, 0x487a296811aa7a8eu, 0x9e01b80f904866bfu},
    {"models/arch/llama-moe.Q4_0.gguf", 23, 43, 0x8d7794e36660d68eu, 0x9f787acba7f6af6au},
    {"models/arch/llama-odd.F32.gguf", 22, 39, 0xf240f2c4877ce1bau, 0x6385a4f3d92ac132u},
    {"models/arch/llama-odd.Q4_0.gguf", 23, 39, 0xbd18bf2ba97a33dcu, 0x429ce069224b9f83u},
    {"models/arch/llama-rope3.F32.gguf", 20, 40, 0x0d78f496a14537eau, 0x3b060555cc407b39u},
    {"models/arch/llama-rope3.Q4_0.gguf", 21, 40, 0xa7c28a4e09dabf24u, 0x8d2ebec7e54d3abcu},
    {"models/arch/llama-yarn.F32.gguf", 23, 39, 0x223b014ad27ea89bu, 0x92447e6efda75808u},
    {"models/arch/llama-yarn.Q4_0.gguf", 24, 39, 0xc33e447f18575a11u, 0xeedc9411b1d0ae96u},
    {"models/arch/phi3.F32.gguf", 20, 27, 0x2d73222c57bb2057u, 0xeae54231abc29541u},
    {"models/arch/phi3.Q4_0.gguf", 21, 27, 0x348a534e47af3f77u, 0xc216dff3480c7a3eu},
    {"models/arch/qwen2.F32.gguf", 21, 51, 0x3dd7751983391d32u, 0xfe86d601e548f17cu},
    {"models/arch/qwen2.Q4_0.gguf", 22, 51, 0x5a618894352a01b4u, 0x098a31f9737361dbu},
    {"models/arch/qwen3.F32.gguf", 23, 46, 0x5ba2f4945be5aa30u, 0x9180550ecff6ed7du},
    {"models/arch/qwen3.Q4_0.gguf", 24, 46, 0x3395cfbcbe0f54e6u, 0x9393df1f11841fdfu},
    {"models/arch/qwen3moe.F32.gguf", 24, 51, 0x881269846cdfe778u, 0x81afd2c89ba117cdu},
    {"models/arch/qwen3moe.Q4_0.gguf", 25, 51, 0x973ec09981295660u, 0x8d17810efdc1e65bu},
    {"tokenizer/ggml-vocab-gpt-2.gguf", 16, 0, 0x970a834f511258f5u, 0xcbf29ce484222325u},
    {"tokenizer/ggml-vocab-llama-spm.gguf", 22, 0, 0x88368c1f863db024u, 0xcbf29ce484222325u},
};

}  // namespace

TEST_CASE("file: keys, values and tensors of all reference files are those that gguf-py lists") {
  for (const listing& expected : listings) {
    if (!cria_test::has_data(expected.path)) continue;
    CAPTURE(expected.path);
    const auto file = cria::gguf::file::open(cria_test::data_root() / expected.path);
    REQUIRE(file);
    CHECK(file->metadata().size() == expected.n_keys);
    CHECK(file->tensors().size() == expected.n_tensors);
    CHECK(hash_of_keys(file->metadata()) == expected.keys);
    CHECK(hash_of_tensors(*file) == expected.tensors);
    CHECK(file->file_size() == std::filesystem::file_size(cria_test::data_root() / expected.path));
    CHECK(file->version() == 3);
    CHECK(file->alignment() == 32);
  }
}

TEST_CASE("file: stories260K keeps its quirks, and its bytes are found through the tensor list") {
  const std::string path = "models/stories260K.gguf";
  if (!cria_test::has_data(path)) return;
  const std::string bytes = cria_test::read_data(path);
  const auto file = cria::gguf::file::open(cria::memory_source(std::as_bytes(std::span(bytes))));
  REQUIRE(file);
  const auto& keys = file->metadata();
  CHECK(*keys.get<std::uint32_t>("tokenizer.ggml.seperator_token_id") == 4'294'967'295u);
  CHECK(keys.get<std::int32_t>("tokenizer.ggml.padding_token_id").error().code == errc::bad_value);
  CHECK(*keys.get<std::string_view>("general.architecture") == "llama");
  const auto pieces = keys.get<cria::gguf::array_view>("tokenizer.ggml.tokens");
  REQUIRE(pieces);
  CHECK(pieces->size() == 512);
  CHECK(pieces->string(0) == "<unk>");
  CHECK(pieces->string(3) == "<0x00>");
  const auto* embeddings = file->find_tensor("token_embd.weight");
  REQUIRE(embeddings != nullptr);
  CHECK(embeddings->shape == std::array<std::uint64_t, 4>{64, 512, 1, 1});
  std::string row(256, '?');
  REQUIRE(file->read(*embeddings, 5 * 256, std::as_writable_bytes(std::span(row))));
  CHECK(row == bytes.substr(embeddings->offset + 5 * 256, 256));
  CHECK(file->find_tensor("token_embd") == nullptr);
}

TEST_CASE("file: no prefix of the metadata of a real model is a fault or accepted") {
  const std::string path = "models/stories260K.gguf";
  if (!cria_test::has_data(path)) return;
  const std::string bytes = cria_test::read_data(path);
  const std::size_t head = cria::gguf::file::open(cria::memory_source(std::as_bytes(std::span(bytes))))->tensors()[0].offset;
  std::size_t accepted = 0;
  for (std::size_t n = 0; n <= head; ++n) {
    const auto file = cria::gguf::file::open(cria::memory_source(std::as_bytes(std::span(bytes)).first(n)));
    accepted += file.has_value() || file.error().code != errc::truncated;
  }
  CHECK(accepted == 0);
}

TEST_CASE("file: no flipped bit of the metadata of a real model is a fault") {
  const std::string path = "models/stories260K.gguf";
  if (!cria_test::has_data(path)) return;
  std::string bytes = cria_test::read_data(path);
  const auto all = std::as_bytes(std::span(bytes));
  const std::size_t head = cria::gguf::file::open(cria::memory_source(all))->tensors()[0].offset;
  std::size_t refused = 0;
  for (std::size_t bit = 0; bit < head * 8; bit += stride) {
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8)));
    refused += !cria::gguf::file::open(cria::memory_source(all));
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8)));
  }
  CHECK(refused > head * 2 / stride);
}

TEST_CASE("file: reads stay inside the tensor, whatever the file holds behind it") {
  gguf_builder b;
  b.tensor("a", tensor_type::f32, {3}, "aaaabbbbcccc").tensor("b", tensor_type::f32, {4}, "neighbour");
  const std::string text = b.build();
  const auto file = cria::gguf::file::open(cria::memory_source(std::as_bytes(std::span(text))));
  REQUIRE(file);
  const auto& a = file->tensors()[0];
  std::string out(4, '?');
  const auto read = [&](std::uint64_t begin, std::size_t n) {
    const auto done = file->read(a, begin, std::as_writable_bytes(std::span(out)).first(n));
    return done ? out.substr(0, n) : std::string(cria::name(done.error().code));
  };
  CHECK(read(0, 4) == "aaaa");
  CHECK(read(8, 4) == "cccc");
  CHECK(read(12, 0).empty());
  CHECK(read(9, 4) == "bad_argument");
  CHECK(read(12, 1) == "bad_argument");
  CHECK(read(13, 0) == "bad_argument");
  CHECK(read(~std::uint64_t{0}, 4) == "bad_argument");
  cria::gguf::tensor_info forged = a;
  forged.part = 1;
  CHECK(file->read(forged, 0, std::as_writable_bytes(std::span(out))).error().code == errc::bad_argument);
  forged = a;
  forged.offset = ~std::uint64_t{0};
  CHECK(file->read(forged, 2, std::as_writable_bytes(std::span(out))).error().code == errc::bad_argument);
  forged.offset = text.size();
  CHECK(file->read(forged, 2, std::as_writable_bytes(std::span(out))).error().code == errc::io);
}

TEST_CASE("file: views outlive the object that they came from, as long as a copy lives") {
  std::string_view architecture, tensor;
  auto copy = [&] {
    const std::string text = gguf_builder().key("general.architecture", "a rather long name for a model").tensor("tensor.name", tensor_type::f32, {4}).build();
    auto file = *cria::gguf::file::open(cria::memory_source(std::as_bytes(std::span(text))));
    architecture = *file.metadata().get<std::string_view>("general.architecture");
    tensor = file.tensors()[0].name;
    return file;
  }();
  auto moved = std::move(copy);
  CHECK(architecture == "a rather long name for a model");
  CHECK(tensor == "tensor.name");
  CHECK(moved.find_tensor("tensor.name") != nullptr);
}

TEST_CASE("file: a failing read at open is passed on, and opening again works") {
  const std::string text = gguf_builder().key("long", std::string(5 << 20, 'x')).tensor("t", tensor_type::f32, {4}).build();
  const auto whole = std::make_shared<failing_source>(text, -1);
  REQUIRE(cria::gguf::file::open(whole));
  REQUIRE(whole->reads() > 1);
  CHECK(whole->reads() < 8);
  for (int n = 0; n < whole->reads(); ++n) {
    const auto source = std::make_shared<failing_source>(text, n);
    const auto failed = cria::gguf::file::open(source);
    REQUIRE_FALSE(failed);
    CHECK(failed.error().code == errc::io);
    CHECK(failed.error().message == "made to fail");
    CHECK(cria::gguf::file::open(source));
  }
}

TEST_CASE("file: no source is bad_argument") {
  CHECK(cria::gguf::file::open(std::shared_ptr<const cria::byte_source>()).error().code == errc::bad_argument);
  CHECK(cria::gguf::file::open(std::span<const std::shared_ptr<const cria::byte_source>>()).error().code == errc::bad_argument);
}

TEST_CASE("file: an absent file, a folder and an empty file are typed errors with the path") {
  const auto absent = cria::gguf::file::open("no/such/model.gguf");
  REQUIRE_FALSE(absent);
  CHECK(absent.error().code == errc::io);
  CHECK(absent.error().where == "no/such/model.gguf");
  CHECK(cria::gguf::file::open(std::filesystem::temp_directory_path()).error().code == errc::io);
  const temporary_file empty("empty");
  CHECK(cria::gguf::file::open(empty.path).error().code == errc::truncated);
}

#ifdef __linux__

TEST_CASE("file: resource bombs are refused within a second and little memory") {
  const auto peak_kib = [] {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
  };
  const auto strings = [](std::uint64_t n) { return cria_test::raw(cria_test::gguf_id::string) + cria_test::raw(n); };
  const auto bytes = [](std::uint64_t n) { return cria_test::raw(cria_test::gguf_id::u8) + cria_test::raw(n); };
  const std::uint64_t gib = std::uint64_t{1} << 30;
  struct bomb {
    const char* name;
    std::string head;
    std::uint64_t size;
    errc code;
  };
  const bomb bombs[] = {
      {"2 GiB of empty strings", gguf_builder().raw_key("k", cria_test::gguf_id::array, strings(gib / 4)).build(), 2 * gib, errc::limit_exceeded},
      {"6 GiB of u8", gguf_builder().raw_key("k", cria_test::gguf_id::array, bytes(6 * gib)).build(), 7 * gib, errc::limit_exceeded},
      {"a key of 1 GiB", gguf_builder().raw_entry(cria_test::raw(gib)).build(), 2 * gib, errc::limit_exceeded},
      {"a string of 1 GiB", gguf_builder().raw_key("k", cria_test::gguf_id::string, cria_test::raw(gib)).build(), 2 * gib, errc::limit_exceeded},
      {"2^40 keys", gguf_builder().declare_keys(std::uint64_t{1} << 40).build(), 2 * gib, errc::limit_exceeded},
      {"2^40 tensors", gguf_builder().declare_tensors(std::uint64_t{1} << 40).build(), 2 * gib, errc::limit_exceeded},
      {"60,000 keys of zeros", gguf_builder().declare_keys(60'000).build(), 2 * gib, errc::bad_value},
      {"1,000,000 tensors of zeros", gguf_builder().declare_tensors(1'000'000).build(), 2 * gib, errc::bad_value},
      {"a tensor of 2^61 bytes", gguf_builder().raw_tensor(cria_test::raw_string("t"), 1, {std::uint64_t{1} << 61}, 24, 0).build(), 2 * gib, errc::truncated},
  };
  for (const bomb& b : bombs) {
    CAPTURE(b.name);
    const temporary_file sparse("bomb", b.head);
    std::filesystem::resize_file(sparse.path, b.size);
    const long before = peak_kib();
    const auto start = std::chrono::steady_clock::now();
    const auto file = cria::gguf::file::open(sparse.path);
    CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(1));
    REQUIRE_FALSE(file);
    CHECK(file.error().code == b.code);
    CHECK(peak_kib() - before < 16 * 1024);
  }
}

TEST_CASE("file: 60,000 tensors and 65,536 keys with a long common prefix open in linear time") {
  gguf_builder b;
  const std::string prefix(200, 'p');
  for (int i = 0; i < 65'536; ++i) b.key(prefix + std::to_string(i), 1u);
  for (int i = 0; i < 60'000; ++i) {
    b.raw_tensor(cria_test::raw_string(std::string(50, 't') + std::to_string(i)), 1, {8}, 0, static_cast<std::uint64_t>(59'999 - i) * 32);
  }
  b.data(std::string(60'000 * 32, '\0'));
  const std::string text = b.build();
  const auto start = std::chrono::steady_clock::now();
  const auto file = cria::gguf::file::open(cria::memory_source(std::as_bytes(std::span(text))));
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(10));   // 0.1 s in a release build; a peer took 14
  REQUIRE(file);
  CHECK(file->metadata().contains(prefix + "65535"));
  CHECK(file->tensors().size() == 60'000);
}

#endif
