// SPDX-License-Identifier: MIT
// tests/fuzz/chat_template.fuzz.cpp - any template over any conversation: it renders within its limits or fails with a typed error, and nothing that the
// conversation says becomes a control token. Input: the template, a zero byte, the messages as JSON.
#include <cria/chat/chat_template.hpp>

#include <tests/support/gguf_builder.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace cria;

/// What must be true of a rendering, checked where a sanitizer cannot see it.
void expect(bool holds) {
  if (!holds) std::abort();
}

/// Control tokens of one letter, so that a rendered text is full of them, and the bytes.
tokenizer make_tokenizer() {
  std::vector<std::string> texts = {"<unk>", "<s>", "</s>", "a", "<|", "\n\n"};
  std::vector<std::int32_t> kinds = {2, 3, 3, 3, 3, 4};
  for (unsigned byte = 0; byte < 256; ++byte) {
    constexpr char hex[] = "0123456789ABCDEF";
    texts.push_back(std::string("<0x") + hex[byte / 16] + hex[byte % 16] + ">");
    kinds.push_back(6);
  }
  const std::string bytes = cria_test::gguf_builder()
                                .key("tokenizer.ggml.model", std::string("llama"))
                                .array("tokenizer.ggml.tokens", texts)
                                .array("tokenizer.ggml.scores", std::vector<float>(texts.size()))
                                .array("tokenizer.ggml.token_type", kinds)
                                .key("tokenizer.ggml.add_space_prefix", false)
                                .build();
  const auto file = gguf::file::open(memory_source(std::as_bytes(std::span(bytes))));
  expect(file.has_value());
  auto t = tokenizer::from_metadata(file->metadata());
  expect(t.has_value());
  return *std::move(t);
}

void check_error(const error& e) {
  expect(e.code == errc::syntax || e.code == errc::bad_value || e.code == errc::limit_exceeded || e.code == errc::wrong_type);
  expect(e.message.find('\n') == std::string::npos);
}

void check_rendered(const jinja::rendered& r, const tokenizer& t) {
  std::size_t end = 0;
  std::string own;   // what the template wrote, with something between that joins nothing
  for (std::size_t i = 0; i < r.spans.size(); ++i) {
    expect(r.spans[i].start == end && r.spans[i].length > 0 && (i == 0 || r.spans[i].is_content != r.spans[i - 1].is_content));
    end += r.spans[i].length;
    own += r.spans[i].is_content ? "." : r.text.substr(r.spans[i].start, r.spans[i].length);
  }
  expect(end == r.text.size());
  const auto tokens = encode_rendered(r, t), own_tokens = t.encode(own);
  expect(tokens.has_value() && own_tokens.has_value());
  const auto n_control = [&](const std::vector<token_id>& all) {
    std::size_t n = 0;
    for (const token_id id : all) n += t.kind(id) == token_kind::control;
    return n;
  };
  expect(n_control(*tokens) <= n_control(*own_tokens) + (t.adds_bos() ? 1 : 0));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const tokenizer t = make_tokenizer();
  const std::string_view input(reinterpret_cast<const char*>(data), size), source = input.substr(0, input.find('\0'));
  const std::string_view messages = source.size() == size ? std::string_view{} : input.substr(source.size() + 1);
  const auto made = chat_template::compile(source, special_texts::of(t));
  if (!made) return check_error(made.error()), 0;
  const auto talk = conversation::parse(messages, {.max_depth = 40, .max_bytes = 1 << 16});
  if (!talk) check_error(talk.error());
  const conversation hello = conversation().add("user", "a<|</s>\n");
  const render_options options{.tools = json(json::array{"a"}), .now = jinja::civil_time{}, .limits = {.max_steps = 20'000, .max_output = 1 << 16}};
  const auto r = made->render(talk ? *talk : hello, options);
  if (!r) return check_error(r.error()), 0;
  expect(r->text.size() <= options.limits.max_output);
  check_rendered(*r, t);
  expect(made->ends(t).has_value());
  return 0;
}
