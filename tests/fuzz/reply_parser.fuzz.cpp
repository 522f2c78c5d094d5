// SPDX-License-Identifier: MIT
// tests/fuzz/reply_parser.fuzz.cpp - any reply, cut anywhere: nothing is lost, and its parts do not depend on the cuts.
//
//   syntax       1 byte: a bit each for thinking, a prompt that ends within it, tags, lists, bare JSON, channels
//   cut          1 byte: the pieces are of 1 to 16 bytes: low bits the first one, high bits the others
//   reply        the rest
#include <cria/chat/reply_parser.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using namespace cria;

/// What must hold, checked where a sanitizer cannot see it.
void expect(bool holds) {
  if (!holds) std::abort();
}

/// The parts, neighbours of one kind together but for calls.
using parts = std::vector<std::pair<reply_part, std::string>>;

parts parse(const reply_syntax& syntax, std::string_view reply, std::size_t first, std::size_t others) {
  reply_parser parser(syntax);
  parts out;
  std::string all, text, thinking;
  std::size_t n_calls = 0;
  const auto take = [&](std::span<const reply_piece> pieces) {
    for (const reply_piece& p : pieces) {
      all += p.text;
      if (p.part == reply_part::text) text += p.text;
      if (p.part == reply_part::thinking) thinking += p.text;
      expect((p.part == reply_part::tool_call) == (p.call != nullptr));
      if (p.call != nullptr) {
        expect(p.call == &parser.calls()[n_calls++] && !p.call->name.empty() && p.call->arguments.get_if<json::object>() != nullptr);
      }
      if (!out.empty() && out.back().first == p.part && p.call == nullptr) out.back().second += p.text;
      else out.emplace_back(p.part, p.text);
    }
  };
  for (std::size_t n = first; !reply.empty(); n = others) {
    const std::string_view piece = reply.substr(0, n);
    reply.remove_prefix(piece.size());
    take(parser.push(piece));
  }
  take(parser.finish());
  expect(parser.text() == text && parser.thinking() == thinking && parser.calls().size() == n_calls);
  out.emplace_back(reply_part::markup, all);
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const auto bit = [&](int n) { return (data[0] >> n & 1) != 0; };
  const reply_syntax syntax{
      .has_thinking = bit(0), .starts_in_thinking = bit(1), .has_call_tags = bit(2), .has_call_list = bit(3), .has_bare_calls = bit(4), .has_channels = bit(5)};
  const std::string_view reply(reinterpret_cast<const char*>(data) + 2, size - 2);
  const parts whole = parse(syntax, reply, reply.size() + 1, 1);
  expect(whole.back().second == reply);
  expect(parse(syntax, reply, 1 + data[1] % 16u, 1 + data[1] / 16u) == whole);
  expect(parse(syntax, reply, 1, 1) == whole);
  return 0;
}
