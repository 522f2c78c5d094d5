// SPDX-License-Identifier: MIT
// Sessions as files: what is restored goes on with the same bits, and no file can do anything else to a session.
#include <cria/generate/session_file.hpp>
#include <cria/kv/paged.hpp>

#include <doctest/doctest.h>

#include <tests/generate/session_fixture.hpp>
#include <tests/support/tiny_model.hpp>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

using namespace cria;
using namespace cria_test;

namespace {

using byte_vector = std::vector<std::byte>;
constexpr std::size_t header_bytes = detail::session_file_header::bytes;

byte_vector to_bytes(std::string_view text) {
  const auto view = std::as_bytes(std::span(text));
  return {view.begin(), view.end()};
}

template <class Session>
byte_vector saved(const Session& s, const session_extras& extras = {}) {
  byte_vector out;
  const auto sink = memory_sink(out);
  const auto done = save_session(s, *sink, extras);
  REQUIRE_MESSAGE(done.has_value(), (done ? "" : done.error().to_string()));
  return out;
}

template <class Session>
result<session_file> open(const byte_vector& bytes, const Session& s, const session_file_limits& limits = {}) {
  const byte_vector exact(bytes);   // a sanitizer sees a read behind it
  return session_file::open(*memory_source(exact), s, limits);
}

/// Puts the checksums right again after a change.
void seal(byte_vector& bytes) {
  const auto put = [&](std::size_t at, std::uint64_t sum) { std::memcpy(bytes.data() + at, store_le(sum).data(), 8); };
  put(header_bytes - 8, checksum_of(std::span(bytes).first(header_bytes - 8)));
  put(bytes.size() - 8, checksum_of(std::span(bytes).first(bytes.size() - 8)));
}

/// What a session is, for comparing.
struct snapshot {
  std::vector<token_id> tokens;
  std::vector<float> logits;
  byte_vector cache;

  template <class Session>
  explicit snapshot(const Session& s) : tokens(s.tokens().begin(), s.tokens().end()), logits(s.logits().begin(), s.logits().end()) {
    const kv_shape shape = s.cache().shape();
    const std::size_t n = s.length() * s.cache().position_bytes();
    cache.resize(shape.n_layers * shape.n_kv_heads * n);
    for (std::size_t i = 0; i < shape.n_layers * shape.n_kv_heads; ++i) {
      s.cache().export_positions({{i / shape.n_kv_heads, i % shape.n_kv_heads}, 0, s.length()}, std::span(cache).subspan(i * n, n));
    }
  }
  friend bool operator==(const snapshot& a, const snapshot& b) { return a.tokens == b.tokens && same_bits(a.logits, b.logits) && a.cache == b.cache; }
};

/// A session on a model of a few kilobytes, some tokens in.
template <class Cache = contiguous_kv_cache<kv_type::f16>>
basic_session<Cache> tiny_session(const model& m, std::size_t n_tokens = 5, session_options options = {.context_size = 40}) {
  auto s = make_session<basic_session<Cache>>(m, options);
  std::vector<token_id> tokens;
  for (std::size_t i = 0; i < n_tokens; ++i) tokens.push_back(static_cast<token_id>(3 + i * 7 % 16));
  if (n_tokens != 0) s.evaluate(tokens).value();
  return s;
}

/// Samples and evaluates by hand; the way of a host that owns its sampler.
std::vector<token_id> go_on(session& s, runtime_sampler& sampler, std::size_t n) {
  std::vector<token_id> out;
  for (std::size_t i = 0; i < n; ++i) {
    const token_id token = sampler.sample(s.logits()).value();
    sampler.accept(token);
    s.evaluate(std::span(&token, 1)).value();
    out.push_back(token);
  }
  return out;
}

const session_extras two_sections = {.sampler = {1, 2, 3}, .sections = {{"conversation", to_bytes("[{\"role\": \"user\"}]")}, {"empty", {}}}};

}  // namespace

TEST_CASE_TEMPLATE("session_file: what follows is the same bits as without the interruption", Cache, contiguous_kv_cache<kv_type::f16>,
                   contiguous_kv_cache<kv_type::f32>, contiguous_kv_cache<kv_type::q8_0>, contiguous_kv_cache<kv_type::bf16>) {
  if (!has_data(stories)) return;
  for (const precision p : {precision::exact, precision::fast}) {
    const model m = load_stories(p);
    auto original = make_session<basic_session<Cache>>(m, {.context_size = 100});
    const auto first = original.generate("Once upon a time", {.max_tokens = 30, .sampling = {.seed = 5}}).value();
    const byte_vector bytes = saved(original, two_sections);
    const snapshot before(original);
    const std::string next = "Once upon a time" + first.text + " The end";
    const generation_options options{.max_tokens = 20, .sampling = {.seed = 9}};
    const auto expected = original.generate(next, options).value();
    const snapshot after(original);
    for (const session_options& other : {session_options{.context_size = 100}, session_options{.context_size = 128, .n_threads = 3},
                                         session_options{.context_size = 500, .n_threads = 2, .max_batch = 7}}) {
      auto restored = make_session<basic_session<Cache>>(m, other);
      if (other.n_threads == 3) REQUIRE(restored.generate("Lily and Ben", greedy(40)));   // held something else, and more
      const auto file = open(bytes, restored);
      REQUIRE_MESSAGE(file.has_value(), (file ? "" : file.error().to_string()));
      CHECK(std::ranges::equal(file->tokens(), before.tokens));
      REQUIRE(file->restore(restored));
      CHECK(snapshot(restored) == before);
      CHECK(!restored.logits().empty());
      const auto done = restored.generate(next, options).value();
      CHECK(done.tokens == expected.tokens);
      CHECK(done.text == expected.text);
      CHECK(done.n_reused == expected.n_reused);
      CHECK(done.n_reused > 20);
      CHECK(snapshot(restored) == after);
    }
  }
}

TEST_CASE("session_file: a sampler goes on with its windows, its random numbers and its steering") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  sampler_config configs[3];
  configs[0].seed = 11;
  configs[1].repeat_penalty = 1.3f;
  configs[1].dry_multiplier = 0.8f;
  configs[1].xtc_probability = 0.5f;
  configs[2].mirostat = 2;
  for (const sampler_config& config : configs) {
    session original = make_session(m);
    auto sampler = runtime_sampler::create(config, m.vocab_size()).value();
    const auto prompt = m.tokenizer().encode("Once upon a time").value();
    for (const token_id token : prompt) sampler.accept(token);
    original.evaluate(prompt).value();
    go_on(original, sampler, 20);
    const byte_vector bytes = saved(original, {.sampler = sampler.save()});
    const auto expected = go_on(original, sampler, 20);

    session restored = make_session(m, {.n_threads = 2});
    auto other = runtime_sampler::create(config, m.vocab_size()).value();
    const auto file = open(bytes, restored).value();
    REQUIRE(file.restore(restored, other));
    CHECK(go_on(restored, other, 20) == expected);
    CHECK(snapshot(restored) == snapshot(original));

    // A sampler of another kind: neither changes.
    sampler_config foreign_config;
    foreign_config.no_repeat_ngram = 3;
    auto foreign = runtime_sampler::create(foreign_config, m.vocab_size()).value();
    const auto sampler_before = foreign.save();
    const snapshot before(restored);
    const auto refused = file.restore(restored, foreign);
    REQUIRE(!refused);
    CHECK(refused.error().code == errc::mismatch);
    CHECK(foreign.save() == sampler_before);
    CHECK(snapshot(restored) == before);
  }
}

TEST_CASE("session_file: sections, sampler words and empty sessions come back as they were") {
  const model m = load_bytes(tiny_model().build()).value();
  for (const std::size_t n : {0u, 1u, 15u, 16u, 17u, 40u}) {
    CAPTURE(n);
    session original = tiny_session(m, n), restored = tiny_session(m, 3);
    const byte_vector bytes = saved(original, two_sections);
    const auto file = open(bytes, restored).value();
    CHECK(file.sampler() == two_sections.sampler);
    REQUIRE(file.sections().size() == 2);
    REQUIRE(file.find_section("conversation") != nullptr);
    CHECK(file.find_section("conversation")->bytes == two_sections.sections[0].bytes);
    CHECK(file.find_section("empty")->bytes.empty());
    CHECK(file.find_section("Conversation") == nullptr);
    REQUIRE(file.restore(restored));
    CHECK(restored.length() == n);
    CHECK(snapshot(restored) == snapshot(original));
    CHECK(saved(restored, two_sections) == bytes);
  }
  // After truncate() there are no logits: none are saved.
  session cut = tiny_session(m, 8);
  cut.truncate(6).value();
  session restored = tiny_session(m, 2);
  open(saved(cut), restored).value().restore(restored).value();
  CHECK(restored.length() == 6);
  CHECK(restored.logits().empty());
}

TEST_CASE("session_file: any one byte changed and any length cut is a typed error that leaves the session alone") {
  const model m = load_bytes(tiny_model().build()).value();
  const session original = tiny_session(m, 3);
  const byte_vector bytes = saved(original, two_sections);
  const session other = tiny_session(m, 7);
  const snapshot before(other);
  CHECK(bytes.size() < 2000);
  std::size_t n_magic = 0, n_version = 0, n_altered = 0;
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    for (const unsigned change : {1u, 0x80u, 0xffu}) {
      byte_vector altered = bytes;
      altered[at] ^= static_cast<std::byte>(change);
      const auto file = open(altered, other);
      if (file) FAIL("byte ", at, " changed by ", change);
      const errc code = file.error().code;
      n_magic += code == errc::bad_magic;
      n_version += code == errc::unsupported_version;
      n_altered += code == errc::bad_value;
      CHECK(file.error().where == "session file");
    }
  }
  CHECK(n_magic == 3 * 8);
  CHECK(n_version == 3 * 4);
  CHECK(n_altered == 3 * (bytes.size() - 12));
  for (std::size_t n = 0; n < bytes.size(); ++n) {
    const auto file = open({bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(n)}, other);
    if (file) FAIL("cut at ", n);
    CHECK(file.error().code == errc::truncated);
  }
  byte_vector longer = bytes;
  longer.push_back(std::byte{0});
  CHECK(open(longer, other).error().code == errc::bad_value);
  CHECK(open(to_bytes("GGUF, but not a session of any kind"), other).error().code == errc::bad_magic);
  CHECK(snapshot(other) == before);
}

TEST_CASE("session_file: files of another model, precision, cache, or longer than the context are refused by name") {
  const std::string bytes_of_model = tiny_model().build();
  const model m = load_bytes(bytes_of_model).value();
  const byte_vector bytes = saved(tiny_session(m, 20));
  const auto expect_refusal = [&](auto target, errc code, std::string_view word) {
    const snapshot before(target);
    const auto file = open(bytes, target);
    REQUIRE(!file);
    CHECK(file.error().code == code);
    CHECK_MESSAGE(file.error().message.find(word) != std::string::npos, file.error().message);
    CHECK(snapshot(target) == before);
  };
  load_options fast;
  fast.precision = precision::fast;
  expect_refusal(tiny_session(load_bytes(tiny_model({.seed = 2}).build()).value()), errc::mismatch, "another model");
  expect_refusal(tiny_session(load_bytes(tiny_model({.vocab_size = 30}).build()).value()), errc::mismatch, "another model");
  expect_refusal(tiny_session(load_bytes(bytes_of_model, fast).value()), errc::mismatch, "precision fast");
  expect_refusal(tiny_session<contiguous_kv_cache<kv_type::f32>>(m), errc::mismatch, "type f32");
  expect_refusal(tiny_session<contiguous_kv_cache<kv_type::q8_0>>(m), errc::mismatch, "type q8_0");
  expect_refusal(tiny_session(m, 5, {.context_size = 19}), errc::context_full, "20 tokens do not fit a context of 19");
  // What was opened for one session does not go into another.
  const session fits = tiny_session(m);
  const auto file = open(bytes, fits).value();
  auto foreign = tiny_session(load_bytes(tiny_model({.seed = 2}).build()).value());
  auto small = tiny_session(m, 5, {.context_size = 19});
  const snapshot before(foreign), small_before(small);
  CHECK(file.restore(foreign).error().code == errc::mismatch);
  CHECK(file.restore(small).error().code == errc::context_full);
  CHECK(snapshot(foreign) == before);
  CHECK(snapshot(small) == small_before);
  auto exact_fit = tiny_session(m, 5, {.context_size = 20});
  CHECK(open(bytes, exact_fit).value().restore(exact_fit).has_value());
}

TEST_CASE("session_file: lies with a right checksum are found out, and never make the reader take more than the file's size") {
  const model m = load_bytes(tiny_model().build()).value();
  const session s = tiny_session(m, 3);
  const byte_vector bytes = saved(s, two_sections);
  const auto changed = [&](std::size_t at, auto number) {
    byte_vector out = bytes;
    std::memcpy(out.data() + at, store_le(number).data(), sizeof number);
    seal(out);
    return open(out, s);
  };
  // Every length of the header, each far too large, too small by one, and at the edges where sums wrap.
  for (std::size_t at = 32; at < header_bytes - 8; at += 8) {
    const auto original = load_le<std::uint64_t>(bytes.data() + at);
    for (const std::uint64_t number : {original + 1, original - 1, std::uint64_t{0} - original, std::uint64_t{1} << 40, std::uint64_t{1} << 62,
                                       ~std::uint64_t{0}, ~std::uint64_t{0} - 200}) {
      CAPTURE(at);
      CAPTURE(number);
      if (number == original) continue;
      CHECK(!changed(at, number));
    }
  }
  CHECK(changed(12, std::uint32_t{77}).error().code == errc::mismatch);   // cache type
  CHECK(changed(16, std::uint32_t{2}).error().code == errc::mismatch);    // precision
  CHECK(changed(20, std::uint32_t{1}).error().code == errc::bad_value);   // sections
  CHECK(changed(20, std::uint32_t{3}).error().code == errc::bad_value);
  CHECK(changed(20, ~std::uint32_t{0}).error().code == errc::limit_exceeded);
  const std::size_t tokens = header_bytes, logits = tokens + 3 * 4, sections = logits + m.vocab_size() * 4 + 3 * 8;
  CHECK(changed(tokens, std::int32_t{-1}).error().code == errc::bad_value);
  CHECK(changed(tokens, static_cast<std::int32_t>(m.vocab_size())).error().code == errc::bad_value);
  CHECK(changed(tokens, static_cast<std::int32_t>(m.vocab_size()) - 1).has_value());
  CHECK(changed(logits, std::numeric_limits<float>::quiet_NaN()).error().code == errc::non_finite);
  CHECK(changed(logits, std::numeric_limits<float>::infinity()).error().code == errc::non_finite);
  CHECK(changed(logits, -std::numeric_limits<float>::infinity()).has_value());
  CHECK(changed(sections, std::uint32_t{0}).error().code == errc::bad_value);        // a name of no bytes
  CHECK(changed(sections, ~std::uint32_t{0}).error().code == errc::bad_value);
  CHECK(changed(sections + 4, ~std::uint64_t{0}).error().code == errc::bad_value);
  CHECK(changed(sections + 4, std::uint64_t{5}).error().code == errc::bad_value);

  session_file_limits limits;
  limits.section_bytes = 3;
  CHECK(open(bytes, s, limits).error().code == errc::limit_exceeded);
  limits = {};
  limits.sampler_words = 2;
  CHECK(open(bytes, s, limits).error().code == errc::limit_exceeded);
  // NaN in the cache is data: the session takes it and the next step says so.
  session target = tiny_session(m, 3);
  byte_vector spoilt = bytes;
  const std::size_t cache = bytes.size() - 8 - 2 * 3 * s.cache().position_bytes();
  std::fill(spoilt.begin() + static_cast<std::ptrdiff_t>(cache), spoilt.end() - 8, std::byte{0xff});
  seal(spoilt);
  REQUIRE(open(spoilt, target).value().restore(target));
  const token_id next = 4;
  const auto stepped = target.evaluate(std::span(&next, 1));
  REQUIRE(!stepped);
  CHECK(stepped.error().code == errc::non_finite);
}

TEST_CASE("session_file: section names that are empty, too long or the same twice are refused before anything is written") {
  const model m = load_bytes(tiny_model().build()).value();
  const session s = tiny_session(m);
  const auto write = [&](std::vector<session_section> sections) {
    byte_vector out;
    const auto sink = memory_sink(out);
    const auto done = save_session(s, *sink, {.sections = std::move(sections)});
    CHECK(out.empty() == !done.has_value());
    return done;
  };
  CHECK(write({{"", {}}}).error().code == errc::bad_argument);
  CHECK(write({{std::string(256, 'x'), {}}}).error().code == errc::bad_argument);
  CHECK(write({{"a", {}}, {"b", {}}, {"a", {}}}).error().code == errc::bad_argument);
  CHECK(write({{std::string(255, 'x'), {}}, {std::string("\0\xff", 2), {}}}).has_value());
}

TEST_CASE("session_file: files replace files whole, and a failing sink or source is its error") {
  const model m = load_bytes(tiny_model().build()).value();
  const session s = tiny_session(m, 9);
  const auto folder = std::filesystem::temp_directory_path() / ("cria_session_" + std::to_string(reinterpret_cast<std::uintptr_t>(&s)));
  std::filesystem::create_directories(folder);
  const auto path = folder / "talk \xc3\xa9.cria";
  REQUIRE(save_session(tiny_session(m, 2), path));
  REQUIRE(save_session(s, path, two_sections));
  session other = tiny_session(m, 1);
  const auto file = session_file::open(path, other);
  REQUIRE_MESSAGE(file.has_value(), (file ? "" : file.error().to_string()));
  REQUIRE(file->restore(other));
  CHECK(snapshot(other) == snapshot(s));
  CHECK(!save_session(s, path, {.sections = {{"", {}}}}));
  CHECK(session_file::open(path, other).has_value());   // as it was
  CHECK(std::distance(std::filesystem::directory_iterator(folder), {}) == 1);
  CHECK(session_file::open(folder / "absent", other).error().code == errc::io);
  CHECK(save_session(s, folder / "absent" / "file").error().code == errc::io);
  std::filesystem::remove_all(folder);

  struct failing_sink final : byte_sink {
    std::size_t left;
    bool is_committed = false;
    explicit failing_sink(std::size_t n) : left(n) {}
    result<void> write(std::span<const std::byte> bytes) override {
      if (bytes.size() > left) return error{errc::io, "sink", "full"};
      left -= bytes.size();
      return {};
    }
    result<void> commit() override {
      is_committed = true;
      return {};
    }
    std::string name() const override { return "sink"; }
  };
  const std::size_t size = saved(s, two_sections).size();
  for (std::size_t n = 0; n < size; n += 13) {
    failing_sink sink(n);
    const auto done = save_session(s, sink, two_sections);
    REQUIRE(!done);
    CHECK(done.error().code == errc::io);
    CHECK(!sink.is_committed);
  }
  failing_sink enough(size);
  CHECK(save_session(s, enough, two_sections).has_value());
  CHECK(enough.is_committed);
}

TEST_CASE("session_file: restoring ends streams that are open, and contents of a wrong size are refused") {
  const model m = load_bytes(tiny_model().build()).value();
  session s = tiny_session(m);
  const auto file = open(saved(s), s).value();
  const token_id prompt[] = {5, 6};
  auto stream = s.stream(std::span<const token_id>(prompt), greedy(5));
  auto at = stream.begin();
  REQUIRE(file.restore(s));
  ++at;
  CHECK(stream.has_error());

  const snapshot before(s);
  const auto expect_refusal = [&](const session_contents& contents, errc code) {
    const auto done = s.restore(contents);
    REQUIRE(!done);
    CHECK(done.error().code == code);
    CHECK(snapshot(s) == before);
  };
  const std::span<const std::byte> positions(before.cache);
  expect_refusal({before.tokens, before.logits, positions.first(positions.size() - 1)}, errc::mismatch);
  expect_refusal({before.tokens, before.logits, {}}, errc::mismatch);
  expect_refusal({std::span(before.tokens).first(2), before.logits, positions}, errc::mismatch);
  expect_refusal({before.tokens, std::span(before.logits).first(3), positions}, errc::mismatch);
  expect_refusal({{}, before.logits, {}}, errc::mismatch);
  const std::vector<token_id> foreign(before.tokens.size(), static_cast<token_id>(m.vocab_size()));
  expect_refusal({foreign, before.logits, positions}, errc::bad_argument);
  std::vector<float> spoilt = before.logits;
  spoilt.back() = std::numeric_limits<float>::quiet_NaN();
  expect_refusal({before.tokens, spoilt, positions}, errc::non_finite);
  const std::vector<token_id> too_many(41, 4);
  const byte_vector their_positions(positions.size() / before.tokens.size() * 41);
  expect_refusal({too_many, {}, their_positions}, errc::context_full);
}

TEST_CASE("session_file: pages that others share do not become free by restoring: what does not fit then changes nothing") {
  using cache_type = paged_kv_cache<kv_type::f16>;
  const model m = load_bytes(tiny_model().build()).value();
  const auto session_over = [&](const std::shared_ptr<cache_type::pool_type>& pool) {
    return basic_session<cache_type>::create(m, cache_type::create(pool, 64).value(), {.n_threads = 1}).value();
  };
  const auto evaluate = [](auto& s, std::size_t n) {
    std::vector<token_id> tokens(n);
    for (std::size_t i = 0; i < n; ++i) tokens[i] = static_cast<token_id>(3 + i * 5 % 16);
    REQUIRE(s.evaluate(tokens));
  };
  auto source = session_over(page_pool<kv_type::f16>::create(m.cache_shape(), {.n_pages = 4, .page_size = 16}).value());
  evaluate(source, 40);
  const byte_vector bytes = saved(source);

  const auto pool = page_pool<kv_type::f16>::create(m.cache_shape(), {.n_pages = 4, .page_size = 16}).value();
  auto s = session_over(pool);
  evaluate(s, 30);   // two pages
  const auto file = open(bytes, s).value();
  {
    const cache_type other = s.cache().fork().value();   // shares both: two are free, three are needed
    const snapshot before(s);
    const auto refused = file.restore(s);
    REQUIRE(!refused);
    CHECK(refused.error().code == errc::context_full);
    CHECK(refused.error().where == "pages");
    CHECK(snapshot(s) == before);
  }
  REQUIRE(file.restore(s));   // nobody shares them now
  CHECK(snapshot(s) == snapshot(source));
}

TEST_CASE("session_file: saving while a pass runs is refused and leaves the file that is there; from a callback it saves what is held, and the text goes on") {
  if (!has_data(stories)) return;
  const model m = load_stories();
  session s = make_session(m);
  const std::filesystem::path path = std::filesystem::temp_directory_path() / ("cria_saving_" + std::to_string(reinterpret_cast<std::uintptr_t>(&s)));
  const std::string expected = make_session(m).generate("Once upon a time", greedy(6)).value().text;
  std::size_t n_held = 0;
  const auto done = s.generate("Once upon a time", greedy(6), [&](const token_event& event) {
    if (event.index == 2) {
      CHECK(save_session(s, path));
      n_held = s.length();
    }
  });
  CHECK(done.value().text == expected);
  CHECK(session_file::open(path, s).value().tokens().size() == n_held);
  meddling threads;
  auto t = session::create(m, {.executor = executor_ref(threads)}).value();
  threads.is_refused = [&] {
    const auto saved = save_session(t, path);
    return !saved && saved.error().code == errc::bad_argument && saved.error().where == "session";
  };
  CHECK(t.generate("Once upon a time", greedy(6)).value().text == expected);
  CHECK(threads.n_runs > 0);
  CHECK(threads.n_refused == threads.n_runs);
  CHECK(session_file::open(path, s).value().tokens().size() == n_held);
  std::filesystem::remove(path);
}
