// SPDX-License-Identifier: MIT
// tests/support/fuzz_replay.cpp - runs a fuzz target over files: each as it is, and cut at up to 256 places spread over its length.
//
// Arguments  files, and folders whose files are taken in the order of their names
// Exit       0 when the target returned for every input; 2 when there was no input
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

std::vector<std::filesystem::path> list_files(int argc, char** argv) {
  std::vector<std::filesystem::path> files;
  for (int i = 1; i < argc; ++i) {
    std::error_code ignored;
    if (std::filesystem::is_directory(argv[i], ignored)) {
      for (const auto& entry : std::filesystem::directory_iterator(argv[i], ignored)) {
        if (entry.is_regular_file(ignored)) files.push_back(entry.path());
      }
    } else {
      files.emplace_back(argv[i]);
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

// The bytes are copied to a block of exactly their size, so that a sanitizer sees a read behind the end.
void run(const std::string& bytes, std::size_t size) {
  const std::vector<std::uint8_t> block(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
  LLVMFuzzerTestOneInput(block.data(), block.size());
}

}  // namespace

int main(int argc, char** argv) {
  std::size_t n_inputs = 0;
  for (const auto& path : list_files(argc, argv)) {
    std::ifstream in(path, std::ios::binary);
    if (!in) {
      std::fprintf(stderr, "cannot read %s\n", path.string().c_str());
      return 1;
    }
    const std::string bytes{std::istreambuf_iterator<char>(in), {}};
    const std::size_t step = bytes.size() / 256 + 1;
    for (std::size_t size = 0; size < bytes.size(); size += step) run(bytes, size), ++n_inputs;
    run(bytes, bytes.size()), ++n_inputs;
  }
  std::printf("%zu inputs\n", n_inputs);
  return n_inputs == 0 ? 2 : 0;
}
