// SPDX-License-Identifier: MIT
// Recipes about opening a model.
#include "recipes.hpp"

#include <cria/generate/load.hpp>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace recipes {

// recipe
int load_with_progress(const char* path) {
  cria::stop_source quit;   // a window's close button would call quit.request_stop()
  cria::load_options options;
  options.stop = quit.get_token();
  int shown = -1;
  options.progress = [&shown](const cria::load_progress& p) {
    const int percent = static_cast<int>(100 * p.done_bytes / p.total_bytes);
    if (percent != shown) std::cout << (shown = percent) << "% ";
    return true;   // false cancels, as the stop token does
  };

  auto model = cria::load_model(path, options);
  if (!model && model.error().code == cria::errc::cancelled) return std::cout << "never mind\n", 0;
  if (!model) return fail(model.error());
  std::cout << "\nloaded " << model->weight_bytes() << " bytes of weights\n";
  return 0;
}
// end

// recipe
int fit_memory(const char* path) {
  constexpr std::uint64_t budget = std::uint64_t{4} << 30;
  const auto file = cria::gguf::file::open(path);   // reads metadata, no weights
  if (!file) return fail(file.error());

  const auto all = cria::estimate_memory(*file);
  if (!all) return fail(all.error());
  // The longest context, by halves, that fits together with the weights. A session may have a longer one than the model was trained on; its text suffers.
  for (std::size_t context = all->trained_context; context >= 16; context /= 2) {
    const auto need = cria::estimate_memory(*file, {.context_size = context});
    if (!need) return fail(need.error());
    if (need->total() > budget) continue;
    std::cout << "context " << context << ": weights " << need->weights << ", cache " << need->cache << ", buffers " << need->activations << " bytes\n";
    const auto model = cria::load_model(*file);   // nothing is read twice
    return model ? 0 : fail(model.error());
  }
  return std::cerr << "this model does not fit\n", 1;
}
// end

// recipe
// Bytes that the host keeps itself: decrypted, unpacked, linked into the program.
class own_bytes final : public cria::byte_source {
 public:
  explicit own_bytes(std::string bytes) : bytes_(std::move(bytes)), view_(cria::memory_source(std::as_bytes(std::span(bytes_)))) {}
  std::uint64_t size() const noexcept override { return bytes_.size(); }
  std::string name() const override { return "the model of the game"; }   // for error texts
  cria::result<void> read_at(std::uint64_t offset, std::span<std::byte> out) const override { return view_->read_at(offset, out); }

 private:
  std::string bytes_;
  std::shared_ptr<const cria::byte_source> view_;
};

int load_from_own_bytes(const char* path) {
  std::ifstream in(path, std::ios::binary);
  auto source = std::make_shared<own_bytes>(std::string(std::istreambuf_iterator<char>(in), {}));
  const auto model = cria::load_model(source);
  if (!model) return fail(model.error());
  std::cout << model->vocab_size() << " tokens in the vocabulary\n";
  return 0;
}
// end

// recipe
// A model that begins somewhere inside an open file: an asset of an Android package, a resource behind a program.
cria::result<cria::model> load_part(std::FILE* package, std::uint64_t offset, std::uint64_t size) {
#ifdef _WIN32
  const int descriptor = _fileno(package);
#else
  const int descriptor = fileno(package);
#endif
  auto source = cria::open_descriptor(descriptor, offset, size);   // duplicated: close yours when you like; its position is not used
  if (!source) return source.error();
  return cria::load_model(*source);
}
// end

int load_from_inside_a_file(const char* path) {
  std::ifstream in(path, std::ios::binary);
  const std::string bytes(std::istreambuf_iterator<char>(in), {});
  std::FILE* const package = std::tmpfile();
  if (package == nullptr) return std::cerr << "no temporary file\n", 1;
  const std::string before(1000, '\1');
  for (const std::string& part : {before, bytes, before}) std::fwrite(part.data(), 1, part.size(), package);
  std::fflush(package);
  const auto model = load_part(package, before.size(), bytes.size());
  std::fclose(package);
  if (!model) return fail(model.error());
  std::cout << "found " << model->weights().layers.size() << " layers behind byte " << before.size() << '\n';
  return 0;
}

// recipe
// What a host does about an error is decided by its code; `where` and `offset` say what to tell the user.
const char* advice(const cria::error& e) {
  switch (e.code) {
    case cria::errc::io: return "choose another file";
    case cria::errc::truncated: return "download it again";
    case cria::errc::unsupported_cpu: return "use the build for older processors";
    case cria::errc::limit_exceeded:
    case cria::errc::out_of_memory: return "choose a smaller model or context";
    default: return "report it";
  }
}

int react_to_errors(const char* path) {
  // Without exceptions: a result is looked at before it is used.
  const auto missing = cria::load_model(std::filesystem::path(path) / "nowhere.gguf");
  if (missing) return 1;
  std::cout << missing.error().to_string() << "\n-> " << advice(missing.error()) << '\n';

#ifdef __cpp_exceptions
  // With exceptions: value() throws what error() holds.
  try {
    cria::load_options options;
    options.limits.tensors = 3;   // a host may trust its files less than cria does
    const cria::model model = cria::load_model(path, options).value();
  } catch (const cria::exception& e) {
    std::cout << e.what() << "\n-> " << advice(e.error()) << '\n';
  }
#endif
  return cria::load_model(path) ? 0 : 1;
}
// end

}  // namespace recipes
