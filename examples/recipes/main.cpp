// SPDX-License-Identifier: MIT
// recipes NAME MODEL.gguf [ADAPTER.gguf]: runs one of the recipes of README.md.
#include "recipes.hpp"

#include <iostream>
#include <string_view>

int main(int argc, char** argv) {
  struct recipe {
    std::string_view name;
    int (*run)(const char* path);
  };
  constexpr recipe all[] = {
      {"load_with_progress", recipes::load_with_progress}, {"fit_memory", recipes::fit_memory},
      {"load_from_own_bytes", recipes::load_from_own_bytes}, {"load_from_inside_a_file", recipes::load_from_inside_a_file},
      {"react_to_errors", recipes::react_to_errors}, {"stream_and_cancel", recipes::stream_and_cancel},
      {"use_own_threads", recipes::use_own_threads}, {"share_a_model", recipes::share_a_model},
      {"swap_the_model", recipes::swap_the_model}, {"save_a_session", recipes::save_a_session},
      {"choose_an_answer", recipes::choose_an_answer}, {"compare_texts", recipes::compare_texts},
      {"serve_requests", recipes::serve_requests}, {"answer_as_json", recipes::answer_as_json},
      {"chat_within_limits", recipes::chat_within_limits},
  };
  if (argc == 4 && std::string_view(argv[1]) == "apply_adapters") return recipes::apply_adapters(argv[2], argv[3]);
  for (const recipe& r : all) {
    if (argc == 3 && r.name == argv[1]) return r.run(argv[2]);
  }
  std::cerr << "usage: recipes NAME MODEL.gguf, where NAME is one of";
  for (const recipe& r : all) std::cerr << "\n  " << r.name;
  std::cerr << "\nor: recipes apply_adapters MODEL.gguf ADAPTER.gguf\n";
  return 2;
}
