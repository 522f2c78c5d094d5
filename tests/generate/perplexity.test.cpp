// SPDX-License-Identifier: MIT
// The arithmetic, with a session that makes its logits up; the model's own figures are compared with llama-perplexity's in tests/cli/perplexity.test.py.
#include <cria/generate/logits_file.hpp>
#include <cria/generate/perplexity.hpp>

#include <doctest/doctest.h>

#include <tests/tokenizer/make_tokenizer.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

using cria::errc;
using cria::text_windows;
using cria::token_id;

namespace {

constexpr std::size_t n_vocab = 37;

/// The logits after `previous` and `last` at a position: any numbers, but always the same ones.
std::vector<float> logits_after(token_id previous, token_id last, std::size_t position, float scale = 8) {
  std::uint32_t state =
      static_cast<std::uint32_t>(previous) * 7919u + static_cast<std::uint32_t>(last) * 104'729u + static_cast<std::uint32_t>(position) * 31u + 1u;
  std::vector<float> out(n_vocab);
  for (float& x : out) {
    state = state * 1664525u + 1013904223u;
    x = scale * static_cast<float>(static_cast<double>(state >> 8) / (1 << 24) - 0.5);
  }
  return out;
}

/// What measure_perplexity needs of a session.
class made_up_session {
 public:
  struct vocabulary {
    [[nodiscard]] std::size_t vocab_size() const noexcept { return n_vocab; }
  };
  std::size_t batch = 256, most_rows = 0, n_resets = 0, capacity = 1000;
  std::size_t spoilt = std::numeric_limits<std::size_t>::max();  // position whose logits are NaN
  float scale = 8;

  [[nodiscard]] vocabulary model() const noexcept { return {}; }
  [[nodiscard]] std::size_t logits_stride() const noexcept { return 48; }
  [[nodiscard]] std::size_t max_batch() const noexcept { return batch; }
  void reset() noexcept {
    tokens_.clear();
    ++n_resets;
  }
  [[nodiscard]] cria::result<void> evaluate(std::span<const token_id> more, const std::stop_token& stop) {
    if (stop.stop_requested()) return cria::error{errc::cancelled, "forward"};
    if (tokens_.size() + more.size() > capacity) return cria::error{errc::context_full, "context"};
    tokens_.insert(tokens_.end(), more.begin(), more.end());
    return {};
  }
  [[nodiscard]] cria::result<void> evaluate(std::span<const token_id> more, std::span<float> rows, const std::stop_token& stop) {
    const std::size_t before = tokens_.size();
    CRIA_CHECK(evaluate(more, stop));
    most_rows = std::max(most_rows, more.size());
    REQUIRE(rows.size() >= more.size() * logits_stride());
    for (std::size_t i = 0; i < more.size(); ++i) {
      const std::size_t at = before + i;
      auto row = logits_after(at == 0 ? -1 : tokens_[at - 1], tokens_[at], at, scale);
      if (at == spoilt) row[5] = std::numeric_limits<float>::quiet_NaN();
      std::copy(row.begin(), row.end(), rows.begin() + static_cast<std::ptrdiff_t>(i * logits_stride()));
    }
    return {};
  }

 private:
  std::vector<token_id> tokens_;
};

std::vector<token_id> some_tokens(std::size_t n, std::uint32_t seed = 3) {
  std::vector<token_id> out(n);
  for (token_id& id : out) {
    seed = seed * 1664525u + 1013904223u;
    id = static_cast<token_id>((seed >> 10) % n_vocab);
  }
  return out;
}

double log_sum_exp(const std::vector<float>& x) {
  double sum = 0;
  for (const float v : x) sum += std::exp(static_cast<double>(v));
  return std::log(sum);
}

cria::tokenizer make_tokenizer(std::size_t n = n_vocab, const std::string& last = "last", bool adds_bos = true) {
  std::vector<cria_test::token> tokens = {
      {"<unk>", 0, cria::token_kind::unknown}, {"<s>", 0, cria::token_kind::control}, {"</s>", 0, cria::token_kind::control}};
  for (char c = 'a'; tokens.size() + 1 < n; ++c) tokens.push_back({std::string(1, c), -1.0f});
  tokens.push_back({last, -2.0f});
  const std::string bytes = cria_test::spm_metadata(tokens).key("tokenizer.ggml.bos_token_id", 1u).key("tokenizer.ggml.eos_token_id", 2u)
                                .key("tokenizer.ggml.add_bos_token", adds_bos).key("tokenizer.ggml.add_space_prefix", false).build();
  const auto file = cria::gguf::file::open(cria::memory_source(std::as_bytes(std::span(bytes))));
  REQUIRE(file.has_value());
  auto t = cria::tokenizer::from_metadata(file->metadata());
  REQUIRE_MESSAGE(t.has_value(), (t ? "" : t.error().to_string()));
  return *std::move(t);
}

text_windows make_windows(std::size_t n_tokens, std::size_t window, std::uint32_t seed = 3) {
  auto w = text_windows::create(some_tokens(n_tokens, seed), 1, {.window = window});
  REQUIRE(w.has_value());
  return *std::move(w);
}

/// Writes what the session foretells of the windows.
std::vector<std::byte> saved_logits(const text_windows& windows, made_up_session session = {}) {
  std::vector<std::byte> out;
  auto writer = cria::logits_file_writer::create(cria::memory_sink(out), make_tokenizer(), windows);
  REQUIRE(writer.has_value());
  REQUIRE(cria::measure_perplexity(session, windows, {}, *writer).has_value());
  REQUIRE(writer->commit());
  return out;
}

cria::error open_error(const std::vector<std::byte>& bytes) {
  auto file = cria::logits_file::open(cria::memory_source(bytes));
  REQUIRE_FALSE(file.has_value());
  return std::move(file).error();
}

/// Compares a session with a file.
cria::result<cria::divergence> compared(const std::vector<std::byte>& bytes, const text_windows& windows, made_up_session session = {}) {
  CRIA_TRY(auto file, cria::logits_file::open(cria::memory_source(bytes)));
  CRIA_CHECK(file.check(make_tokenizer(), windows));
  cria::divergence sum;
  CRIA_TRY([[maybe_unused]] const auto measured,
           cria::measure_perplexity(session, windows, {}, [&](const cria::scored_position& p) { return file.compare(p, sum); }));
  return sum;
}

}  // namespace

TEST_CASE("perplexity: windows are cut from the beginning, the rest is left out, and each begins with BOS where there is one") {
  const auto tokens = some_tokens(35);
  const auto w = text_windows::create(tokens, 1, {.window = 10});
  REQUIRE(w.has_value());
  CHECK(w->size() == 3);
  CHECK(w->length() == 10);
  CHECK(w->first_scored() == 5);
  CHECK(w->n_scored() == 4);   // positions 5 to 8 foretell tokens 6 to 9
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK((*w)[i][0] == 1);
    for (std::size_t k = 1; k < 10; ++k) CHECK((*w)[i][k] == tokens[10 * i + k]);
  }
  const auto without = text_windows::create(tokens, cria::no_token, {.window = 10, .max_windows = 2});
  REQUIRE(without.has_value());
  CHECK(without->size() == 2);
  CHECK((*without)[1][0] == tokens[10]);
  CHECK(text_windows::create(tokens, 1, {.window = 11}).value().n_scored() == 5);
  CHECK(w->checksum(0) != w->checksum(1));
  CHECK(w->checksum(1) == text_windows::create(tokens, 1, {.window = 10}).value().checksum(1));
  for (const std::size_t window :
       {std::size_t{0}, std::size_t{1}, std::size_t{3}, std::size_t{18}, std::size_t{1000}, std::numeric_limits<std::size_t>::max()}) {
    CAPTURE(window);
    const auto refused = text_windows::create(tokens, 1, {.window = window});
    REQUIRE_FALSE(refused.has_value());
    CHECK(refused.error().code == errc::bad_argument);
  }
  CHECK_FALSE(text_windows::create(tokens, 1, {.window = 10, .max_windows = 0}));
  CHECK_FALSE(text_windows::create({}, 1, {.window = 10}));
}

TEST_CASE("perplexity: a text becomes tokens without special ones, and BOS begins each window as the model wants it") {
  const std::string text = "<s>abcdefgh</s>";   // one token a byte: < and > are unknown
  const auto with = text_windows::create(make_tokenizer(), text, {.window = 4});
  REQUIRE(with.has_value());
  CHECK((*with)[0][0] == 1);
  CHECK((*with)[1][0] == 1);
  CHECK(std::count((*with)[0].begin() + 1, (*with)[0].end(), 1) == 0);   // "<s>" in the text is text
  const auto without = text_windows::create(make_tokenizer(n_vocab, "last", false), text, {.window = 4});
  REQUIRE(without.has_value());
  for (std::size_t i = 0; i < without->size(); ++i) {
    for (const token_id id : (*without)[i]) CHECK((id != 1 && id != 2));
  }
}

TEST_CASE("perplexity: the value and its error are those of the sum written out, for any batch") {
  const text_windows windows = make_windows(200, 31);
  std::vector<double> nll;
  for (std::size_t w = 0; w < windows.size(); ++w) {
    for (std::size_t i = 15; i + 1 < 31; ++i) {
      const auto row = logits_after(windows[w][i - 1], windows[w][i], i);
      nll.push_back(log_sum_exp(row) - static_cast<double>(row[static_cast<std::size_t>(windows[w][i + 1])]));
    }
  }
  const auto n = static_cast<double>(nll.size());
  const double mean = std::accumulate(nll.begin(), nll.end(), 0.0) / n;
  double squares = 0;
  for (const double x : nll) squares += x * x;
  const double error = std::sqrt((squares / n - mean * mean) / (n - 1));
  std::vector<double> values;
  for (const std::size_t batch : {1u, 4u, 256u}) {
    made_up_session session;
    session.batch = batch;
    std::size_t expected_index = 0, n_progress = 0;
    const auto measured = cria::measure_perplexity(session, windows, {.progress = [&](const cria::perplexity& p) { return p.n_windows == ++n_progress; }},
                                                   [&](const cria::scored_position& p) -> cria::result<void> {
      CHECK(p.window * windows.n_scored() + p.index == expected_index++);
      CHECK(p.logits.size() == n_vocab);
      CHECK(p.next == windows[p.window][windows.first_scored() + p.index + 1]);
      return {};
    });
    REQUIRE(measured.has_value());
    CHECK(measured->value() == doctest::Approx(std::exp(mean)).epsilon(1e-12));
    CHECK(measured->error() == doctest::Approx(std::exp(mean) * error).epsilon(1e-9));
    CHECK(measured->nll.count() == nll.size());
    CHECK(expected_index == nll.size());
    CHECK(n_progress == windows.size());
    CHECK(session.n_resets == windows.size());
    CHECK(session.most_rows <= batch);
    values.push_back(measured->value());
  }
  CHECK(values[0] == values[1]);
  CHECK(values[0] == values[2]);
}

TEST_CASE("perplexity: what goes wrong in the session, the observer or the host ends it with that error") {
  const text_windows windows = make_windows(100, 20);
  made_up_session session;
  session.spoilt = 12;
  CHECK(cria::measure_perplexity(session, windows).error().code == errc::non_finite);
  session.spoilt = 3;   // not scored
  CHECK(cria::measure_perplexity(session, windows).has_value());
  session.capacity = 15;
  CHECK(cria::measure_perplexity(session, windows).error().code == errc::context_full);
  session.capacity = 20;
  CHECK(cria::measure_perplexity(session, windows, {.progress = [](const cria::perplexity& p) { return p.n_windows < 2; }}).error().code == errc::cancelled);
  std::stop_source stop;
  stop.request_stop();
  CHECK(cria::measure_perplexity(session, windows, {.stop = stop.get_token()}).error().code == errc::cancelled);
  const auto refuse = [](const cria::scored_position& p) -> cria::result<void> {
    return p.window < 1 ? cria::result<void>{} : cria::error{errc::io, "observer", "full"};
  };
  CHECK(cria::measure_perplexity(session, windows, {}, refuse).error().to_string() == "io: observer: full");
  // The last token of a window is never evaluated, only looked up among the logits.
  for (const token_id wrong : {token_id{37}, token_id{-1}, token_id{-500'000'000}, std::numeric_limits<token_id>::max()}) {
    std::vector<token_id> tokens = some_tokens(100, 3);
    tokens[39] = wrong;
    const auto bad = text_windows::create(tokens, 1, {.window = 20}).value();
    const auto measured = cria::measure_perplexity(session, bad);
    REQUIRE_FALSE(measured);
    CHECK(measured.error().to_string() == "bad_argument: tokens: token " + std::to_string(wrong) + " is not in the vocabulary of 37");
  }
}

TEST_CASE("perplexity: a running mean has the error of the numbers, also where they are large and close") {
  cria::running_mean m;
  CHECK(m.error() == 0);
  for (const double x : {1e9 + 4, 1e9 + 7, 1e9 + 13, 1e9 + 16}) m.add(x);
  CHECK(m.mean() == 1e9 + 10);
  CHECK(m.error() == doctest::Approx(std::sqrt(30.0 / 4)).epsilon(1e-12));   // sample variance 30 of four numbers
}

TEST_CASE("logits_file: a model compared with itself does not differ") {
  const text_windows windows = make_windows(150, 24);
  for (const float scale : {0.0f, 1e-38f, 8.0f, 60.0f}) {
    CAPTURE(scale);
    made_up_session session;
    session.scale = scale;
    const auto d = compared(saved_logits(windows, session), windows, session);
    REQUIRE(d.has_value());
    CHECK(d->kl.count() == windows.size() * windows.n_scored());
    // a code is off by half a step: the variance of the logarithms is step^2 / 12, half of that is the divergence; 2 for the worst row
    const double step = static_cast<double>(std::min(scale, 64.0f)) / 65'535;
    CHECK(d->largest <= step * step / 8 + 1e-12);
    CHECK(d->kl.mean() >= -1e-12);
    CHECK(d->agreement() == 1);
  }
}

TEST_CASE("logits_file: the divergence of another model is that of its probabilities") {
  const text_windows windows = make_windows(150, 24);
  made_up_session other;
  other.scale = 7;
  const auto d = compared(saved_logits(windows), windows, other);
  REQUIRE(d.has_value());
  cria::running_mean kl, nll;
  double largest = 0;
  std::size_t n_same = 0;
  for (std::size_t w = 0; w < windows.size(); ++w) {
    for (std::size_t i = 12; i + 1 < 24; ++i) {
      const auto p = logits_after(windows[w][i - 1], windows[w][i], i), q = logits_after(windows[w][i - 1], windows[w][i], i, 7);
      const double p0 = log_sum_exp(p), q0 = log_sum_exp(q);
      double sum = 0;
      for (std::size_t k = 0; k < n_vocab; ++k) {
        sum += std::exp(static_cast<double>(p[k]) - p0) * (static_cast<double>(p[k]) - p0 - static_cast<double>(q[k]) + q0);
      }
      kl.add(sum);
      nll.add(p0 - static_cast<double>(p[static_cast<std::size_t>(windows[w][i + 1])]));
      largest = std::max(largest, sum);
      n_same += std::max_element(p.begin(), p.end()) - p.begin() == std::max_element(q.begin(), q.end()) - q.begin();
    }
  }
  REQUIRE(largest > 0.005);
  // half a code of 8 / 65,535 on every logarithm moves a divergence by its gradient, which is below sqrt(2 kl)
  CHECK(d->kl.mean() == doctest::Approx(kl.mean()).epsilon(1e-3));
  CHECK(d->kl.error() == doctest::Approx(kl.error()).epsilon(1e-2));
  CHECK(d->largest == doctest::Approx(largest).epsilon(1e-2));
  CHECK(d->reference_nll.mean() == doctest::Approx(nll.mean()).epsilon(1e-5));
  CHECK(d->agreement() == doctest::Approx(static_cast<double>(n_same) / static_cast<double>(kl.count())));
  // Fewer windows than the file has may be compared.
  const auto first = text_windows::create(some_tokens(150), 1, {.window = 24, .max_windows = 2});
  const auto part = compared(saved_logits(windows), *first);
  REQUIRE(part.has_value());
  CHECK(part->kl.count() == 2 * windows.n_scored());
}

TEST_CASE("logits_file: another vocabulary, window length, text or fewer windows are a mismatch that says so") {
  const text_windows windows = make_windows(150, 24);
  const auto bytes = saved_logits(windows);
  auto file = cria::logits_file::open(cria::memory_source(bytes, "ref.logits"));
  REQUIRE(file.has_value());
  CHECK(file->vocab_size() == n_vocab);
  CHECK(file->window() == 24);
  CHECK(file->n_windows() == 6);
  REQUIRE(file->check(make_tokenizer(), windows));
  const auto refused = [&](const cria::result<void>& done, const char* text) {
    REQUIRE_FALSE(done.has_value());
    CAPTURE(done.error().to_string());
    CHECK(done.error().code == errc::mismatch);
    CHECK(done.error().where == "ref.logits");
    CHECK(done.error().message.find(text) != std::string::npos);
  };
  refused(file->check(make_tokenizer(n_vocab - 1), windows), "vocabulary of 37");
  refused(file->check(make_tokenizer(n_vocab, "other"), windows), "another vocabulary");
  refused(file->check(make_tokenizer(), make_windows(150, 25)), "windows of 24");
  refused(file->check(make_tokenizer(), make_windows(200, 24)), "6 windows");
  refused(file->check(make_tokenizer(), make_windows(150, 24, 4)), "window 1 has other tokens");
  auto tokens = some_tokens(150);
  tokens[100] = tokens[100] == 5 ? 6 : 5;
  refused(file->check(make_tokenizer(), text_windows::create(tokens, 1, {.window = 24}).value()), "window 5 has other tokens");
}

TEST_CASE("logits_file: a file that is cut, too long, damaged or no such file is a typed error") {
  const text_windows windows = make_windows(60, 12);
  const auto whole = saved_logits(windows);
  REQUIRE(cria::logits_file::open(cria::memory_source(whole)).has_value());
  for (std::size_t n = 0; n < whole.size(); n += n < 120 ? 1 : 61) {
    CAPTURE(n);
    const cria::error e = open_error(std::vector<std::byte>(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(n)));
    CHECK(e.code == (n < 8 ? errc::bad_magic : errc::truncated));
  }
  auto longer = whole;
  longer.push_back(std::byte{0});
  CHECK(open_error(longer).code == errc::bad_value);
  const std::size_t head = 32 + 8 * windows.size() + 8;
  for (std::size_t at = 0; at < whole.size(); at += at < head ? 1 : 7) {   // one bit of any byte
    CAPTURE(at);
    auto bytes = whole;
    bytes[at] ^= std::byte{0x10};
    const auto done = compared(bytes, windows);
    REQUIRE_FALSE(done.has_value());
    const errc code = done.error().code;
    if (at < 8) CHECK(code == errc::bad_magic);
    else if (at < 12) CHECK(code == errc::unsupported_version);
    else if (at < 24) CHECK((code == errc::truncated || code == errc::bad_value));
    else CHECK(code == errc::bad_value);
    if (at >= head) CHECK(done.error().offset >= head);
  }
  for (const std::uint32_t huge : {0u, 3u, 0xffffffffu}) {   // sizes that no file has, with nothing behind
    for (const std::size_t at : {12u, 16u, 20u}) {
      auto bytes = whole;
      const auto stored = cria::store_le(huge);
      std::copy(stored.begin(), stored.end(), bytes.begin() + static_cast<std::ptrdiff_t>(at));
      const errc code = open_error(bytes).code;
      CHECK((code == errc::truncated || code == errc::bad_value));
    }
  }
  CHECK(cria::logits_file::open(std::filesystem::path("/no/such/file")).error().code == errc::io);
  CHECK(cria::logits_file::open(std::shared_ptr<const cria::byte_source>()).error().code == errc::bad_argument);
}

TEST_CASE("logits_file: rows that are missing, too many or cannot be written are errors") {
  const text_windows windows = make_windows(60, 12);
  std::vector<std::byte> out;
  auto writer = cria::logits_file_writer::create(cria::memory_sink(out), make_tokenizer(), windows);
  REQUIRE(writer.has_value());
  const auto row = logits_after(1, 2, 3);
  const cria::scored_position p{0, 0, row, log_sum_exp(row), 5};
  for (std::size_t i = 0; i < windows.size() * windows.n_scored(); ++i) {
    CHECK(writer->commit().error().code == errc::bad_argument);
    REQUIRE((*writer)(p));
  }
  CHECK((*writer)(p).error().code == errc::bad_argument);
  CHECK(writer->commit());
  CHECK_FALSE(cria::logits_file_writer::create(nullptr, make_tokenizer(), windows));

  auto file = cria::logits_file::open(cria::memory_source(out));
  REQUIRE(file.has_value());
  cria::divergence sum;
  CHECK(file->compare({windows.size(), 0, row, log_sum_exp(row), 5}, sum).error().code == errc::bad_argument);
  CHECK(file->compare({0, windows.n_scored(), row, log_sum_exp(row), 5}, sum).error().code == errc::bad_argument);
  CHECK(file->compare({0, 0, std::span(row).first(36), log_sum_exp(row), 5}, sum).error().code == errc::bad_argument);
  CHECK(sum.kl.count() == 0);
}

TEST_CASE("logits_file: logits of minus infinity and rows of one value are kept") {
  std::vector<float> row = logits_after(1, 2, 3);
  row[7] = row[30] = -std::numeric_limits<float>::infinity();
  const std::vector<float> flat(n_vocab, -3.5f);
  const text_windows windows = make_windows(8, 4);   // one row a window
  std::vector<std::byte> out;
  auto writer = cria::logits_file_writer::create(cria::memory_sink(out), make_tokenizer(), windows);
  REQUIRE(writer.has_value());
  REQUIRE((*writer)({0, 0, row, log_sum_exp(row), 5}));
  REQUIRE((*writer)({1, 0, flat, log_sum_exp(flat), 5}));
  auto file = cria::logits_file::open(cria::memory_source(out));
  REQUIRE(file.has_value());
  cria::divergence sum;
  std::vector<float> finite = row;
  finite[7] = finite[30] = -100;
  REQUIRE(file->compare({0, 0, finite, log_sum_exp(finite), 5}, sum));
  REQUIRE(file->compare({1, 0, flat, log_sum_exp(flat), 5}, sum));
  CHECK(sum.largest < 1e-6);
  CHECK(sum.n_same_best == 2);
}
