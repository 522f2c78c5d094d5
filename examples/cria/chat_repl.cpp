// SPDX-License-Identifier: MIT
#include "chat_repl.hpp"

#include <cinttypes>

namespace cria_program {

namespace {

constexpr chat_command commands[] = {
    {"/help", "", "this list"},
    {"/exit", "", "leave, as ctrl-D does (also /quit, /bye)"},
    {"/clear", "", "forget all turns; the system message stays"},
    {"/config", "[NAME [VALUE]]", "show settings, or set one"},
    {"/temp", "[VALUE]", "show or set the temperature; 0 is greedy"},
    {"/tokens", "", "how much of the context is taken, by turn"},
    {"/system", "[TEXT|off]", "show, set or remove the system message"},
    {"/regen", "", "another reply to the last message"},
    {"/undo", "", "take the last turn back"},
    {"/save", "FILE", "keep the chat: conversation, settings and cache"},
    {"/load", "FILE", "go on from a chat that was kept"},
    {"/read", "FILE", "put a file's text before the next message"},
    {"/template", "[NAME|FILE|model]", "show or choose the chat template"},
    {"/stats", "[on|off]", "counts and times; the line after each reply"},
    {"/top", "[N]", "the likeliest candidates of the last step"},
};

}  // namespace

std::span<const chat_command> chat_commands() { return commands; }

std::span<const std::string_view> chat_command_names() {
  static constexpr auto names = [] {
    std::array<std::string_view, std::size(commands)> all{};
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = commands[i].name;
    return all;
  }();
  return names;
}

result<cria::json> parse_section(const cria::session_file& file, std::string_view name) {
  const cria::session_section* found = file.find_section(name);
  if (found == nullptr) return error{errc::mismatch, "session file", "is not of a chat: it has no " + std::string(name)};
  return cria::json::parse({reinterpret_cast<const char*>(found->bytes.data()), found->bytes.size()});
}

cria::session_section to_section(std::string name, const cria::json& content) {
  const std::string text = content.dump();
  const auto bytes = std::as_bytes(std::span(text));
  return {std::move(name), {bytes.begin(), bytes.end()}};
}

std::string summary(std::string_view text, std::size_t most) {
  std::string out = without_controls(text.substr(0, most));
  std::replace(out.begin(), out.end(), '\n', ' ');
  while (text.size() > most && !out.empty() && (static_cast<unsigned char>(out.back()) & 0xc0) == 0x80) out.pop_back();   // a character cut in two
  if (text.size() > most && !out.empty() && static_cast<unsigned char>(out.back()) >= 0xc0) out.pop_back();
  return text.size() > most ? out + "..." : out;
}

void note_commands() {
  for (const chat_command& c : commands) {
    std::string line = "  " + std::string(c.name) + " " + std::string(c.arguments);
    line.resize(std::max<std::size_t>(line.size() + 1, 30), ' ');
    note(line + std::string(c.help));
  }
  note("  \"\"\" begins and ends a message of several lines; ctrl-C stops a reply or gives up a line; ctrl-D leaves");
}

void note_settings(const chat_settings& settings) {
  for (const std::string_view name : chat_settings::names()) {
    std::string line = "  " + std::string(name);
    line.resize(std::max<std::size_t>(line.size() + 1, 22), ' ');
    note(line + settings.text(name));
  }
}

void note_stats(const cria::generation& done, const cria::session_statistics& s) {
  char line[200];
  std::snprintf(line, sizeof line, "[%zu tokens, %.1f tokens/s | prompt %zu, %zu of them reused, %.1f tokens/s | context %zu of %zu | %s]", done.n_generated(),
                done.tokens_per_second(), done.n_prompt, done.n_reused, done.prompt_tokens_per_second(), s.length, s.capacity,
                std::string(name(done.reason)).c_str());
  note(line);
}

void note_all_stats(const cria::generation& done, const cria::session_statistics& s, const cria::model& model) {
  char text[700];
  std::snprintf(text, sizeof text,
                "weights      %.1f MB, %s, %s\n"
                "last prompt  %zu tokens, %zu of them reused, %.1f tokens/s\n"
                "first token  %.3f s\n"
                "last reply   %zu tokens, %.1f tokens/s\n"
                "context      %zu of %zu tokens, %.1f MB\n"
                "in all       %zu tokens computed, %zu reused",
                static_cast<double>(model.weight_bytes()) / 1e6, std::string(cria::isa::name(model.kernels().set)).c_str(),
                std::string(name(model.precision())).c_str(), done.n_prompt, done.n_reused, done.prompt_tokens_per_second(), done.timings.first_token_seconds,
                done.n_generated(), done.tokens_per_second(), s.length, s.capacity, static_cast<double>(s.cache_bytes) / 1e6, s.n_evaluated, s.n_reused);
  note(text);
}

}  // namespace cria_program
