// SPDX-License-Identifier: MIT
// What the recipes are called with, and how they end: 0, or 1 after the error was written to stderr.
#pragma once

#include <cria/core/result.hpp>

#include <iostream>

namespace recipes {

inline int fail(const cria::error& e) { return std::cerr << e.to_string() << '\n', 1; }

int load_with_progress(const char* path);
int fit_memory(const char* path);
int load_from_own_bytes(const char* path);
int load_from_inside_a_file(const char* path);
int react_to_errors(const char* path);

int stream_and_cancel(const char* path);
int use_own_threads(const char* path);
int share_a_model(const char* path);
int swap_the_model(const char* path);
int save_a_session(const char* path);
int choose_an_answer(const char* path);
int compare_texts(const char* path);
int apply_adapters(const char* path, const char* adapter_path);

int serve_requests(const char* path);
int answer_as_json(const char* path);
int chat_within_limits(const char* path);

}  // namespace recipes
