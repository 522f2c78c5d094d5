// SPDX-License-Identifier: MIT
// cria inspect: a file's metadata and tensors, and the memory that a session would take. Reads no weights.
#include "command.hpp"
#include "type_totals.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>

namespace cria_program {

namespace {

using json = nlohmann::ordered_json;
constexpr std::size_t most_elements = 16;   // of an array that are printed

template <class Source>
json scalar(cria::gguf::value_type type, const Source& get) {
  using enum cria::gguf::value_type;
  switch (type) {
    case boolean: return get(bool{}).value_or(false);
    case f32: return get(float{}).value_or(0.0f);
    case f64: return get(double{}).value_or(0.0);
    case string: return get(std::string{}).value_or(std::string{});
    case u8: case u16: case u32: case u64: return get(std::uint64_t{}).value_or(std::uint64_t{0});
    case i8: case i16: case i32: case i64: return get(std::int64_t{}).value_or(std::int64_t{0});
    case array: break;
  }
  return nullptr;
}

/// A value as JSON; of a long array its type, length and first elements.
json to_json(const cria::gguf::value& v) {
  if (v.type() != cria::gguf::value_type::array) {
    return scalar(v.type(), [&]<class T>(T) { return v.as<T>(); });
  }
  const auto elements = v.as<cria::gguf::array_view>();
  json list = json::array();
  for (std::size_t i = 0; i < std::min(elements->size(), most_elements); ++i) {
    list.push_back(scalar(elements->element_type(), [&]<class T>(T) { return elements->at<T>(i); }));
  }
  if (elements->size() <= most_elements) return list;
  return {{"array", name(elements->element_type())}, {"length", elements->size()}, {"first", std::move(list)}};
}

json shape_of(const cria::gguf::tensor_info& t) {
  json shape = json::array();
  for (std::uint32_t i = 0; i < t.rank; ++i) shape.push_back(t.shape[i]);
  return shape;
}

std::string dump(const json& j) { return j.dump(-1, ' ', false, json::error_handler_t::replace); }

std::string megabytes(std::uint64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f MB", static_cast<double>(bytes) / 1e6);
  return text;
}

type_totals totals_of(const cria::gguf::file& file) {
  type_totals totals;
  for (const cria::gguf::tensor_info& t : file.tensors()) totals.add(t.type, t.elements, t.size_bytes);
  return totals;
}

json to_json(const type_total& t) { return {{"tensors", t.tensors}, {"elements", t.elements}, {"size", t.bytes}, {"bits_per_weight", t.bits_per_weight()}}; }

json describe(const cria::gguf::file& file, const result<cria::memory_estimate>& memory) {
  json all = {{"version", file.version()}, {"alignment", file.alignment()}, {"file_size", file.file_size()}, {"parts", file.part_count()},
              {"metadata", json::object()}, {"tensors", json::array()}};
  // Keys are different from each other: looking for each among those before would take hours for many.
  auto& metadata = all["metadata"].get_ref<json::object_t&>();
  for (const auto& [key, value] : file.metadata()) metadata.emplace_back(std::string(key), to_json(value));
  for (const cria::gguf::tensor_info& t : file.tensors()) {
    all["tensors"].push_back(
        {{"name", t.name}, {"type", name(t.type)}, {"shape", shape_of(t)}, {"size", t.size_bytes}, {"offset", t.offset}, {"part", t.part}});
  }
  const type_totals totals = totals_of(file);
  all["types"] = json::object();
  for (const auto& [type, total] : totals.by_type) all["types"][std::string(name(type))] = to_json(total);
  all["all_types"] = to_json(totals.all);
  if (memory) {
    all["memory"] = {
        {"context", memory->context}, {"weights", memory->weights}, {"cache", memory->cache}, {"activations", memory->activations}, {"total", memory->total()}};
  } else {
    all["memory"] = nullptr;
    all["memory_error"] = memory.error().to_string();
  }
  return all;
}

std::string to_text(const cria::gguf::file& file, const result<cria::memory_estimate>& memory) {
  std::string text = "GGUF " + std::to_string(file.version()) + ", " + megabytes(file.file_size()) + ", " + std::to_string(file.metadata().size()) + " keys, " +
                     std::to_string(file.tensors().size()) + " tensors\n\n";
  for (const auto& [key, value] : file.metadata()) text += cria::printable(key) + " = " + cria::printable(dump(to_json(value)), 160) + "\n";
  text += "\n";
  for (const cria::gguf::tensor_info& t : file.tensors()) {
    text += cria::printable(t.name) + "  " + std::string(name(t.type)) + "  " + dump(shape_of(t)) + "  " + std::to_string(t.size_bytes) + " bytes at " +
            std::to_string(t.offset) + "\n";
  }
  text += "\n";
  text += totals_of(file).to_text();
  if (!memory) return text + "\nmemory: unknown (" + memory.error().to_string() + ")\n";
  return text + "\nmemory for a context of " + std::to_string(memory->context) + ": weights " + megabytes(memory->weights) + " + cache " +
         megabytes(memory->cache) + " + activations " + megabytes(memory->activations) + " = " + megabytes(memory->total()) + "\n";
}

}  // namespace

void add_inspect(CLI::App& app, action& chosen) {
  struct flags_type {
    std::string model;
    engine_flags engine;
    bool is_json = false;
  };
  const auto flags = std::make_shared<flags_type>();
  CLI::App& c = *app.add_subcommand("inspect", "Show a file's metadata and tensors, and the memory that a session takes");
  add_model_option(c, flags->model);
  c.add_flag("--json", flags->is_json, "as JSON");
  flags->engine.add_to(c, usual_context);
  c.callback([flags, &chosen] {
    chosen = [flags]() -> result<void> {
      CRIA_TRY(const cria::gguf::file file, cria::gguf::file::open(flags->model));
      const auto memory = cria::estimate_memory(file, flags->engine.session_options(), flags->engine.chosen_cache(), flags->engine.chosen_precision());
      return print(flags->is_json ? dump(describe(file, memory)) + "\n" : to_text(file, memory));
    };
  });
}

}  // namespace cria_program
