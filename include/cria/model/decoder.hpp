// SPDX-License-Identifier: MIT
// model/decoder.hpp - the equations and weights of a model, whose architecture is chosen when it is opened.
//
// Errors    from_metadata: those of model_config and of the architecture's own keys
// Threads   immutable
#pragma once

#include <cria/core/result.hpp>
#include <cria/core/stop_token.hpp>
#include <cria/gguf/metadata.hpp>
#include <cria/model/decoder_weights.hpp>
#include <cria/model/model_config.hpp>
#include <cria/nn/pass.hpp>
#if CRIA_HAS_DEFINITIONS
#include <cria/model/command_r.hpp>
#include <cria/model/exaone4.hpp>
#include <cria/model/gemma.hpp>
#include <cria/model/gemma2.hpp>
#include <cria/model/gemma3.hpp>
#include <cria/model/glm4.hpp>
#include <cria/model/gpt2.hpp>
#include <cria/model/gpt_oss.hpp>
#include <cria/model/granite.hpp>
#include <cria/model/granite_experts.hpp>
#include <cria/model/hunyuan_dense.hpp>
#include <cria/model/llama.hpp>
#include <cria/model/llama_experts.hpp>
#include <cria/model/minicpm.hpp>
#include <cria/model/mistral3.hpp>
#include <cria/model/olmo2.hpp>
#include <cria/model/olmoe.hpp>
#include <cria/model/phi3.hpp>
#include <cria/model/qwen2.hpp>
#include <cria/model/qwen3.hpp>
#include <cria/model/qwen3moe.hpp>
#include <cria/model/smollm3.hpp>
#include <cria/model/stablelm.hpp>
#include <cria/model/starcoder2.hpp>
#include <variant>
#endif

#include <cstddef>
#include <memory>
#include <string>
#include <utility>

namespace cria::inline v0_1_0 {

class decoder {
 public:
  /// Returns the decoder without its weights.
  static result<decoder> from_metadata(const gguf::metadata& metadata, std::size_t vocab_size);

  void set_weights(decoder_weights weights) noexcept { weights_ = std::move(weights); }

  [[nodiscard]] const model_config& config() const noexcept { return config_; }
  [[nodiscard]] const decoder_weights& weights() const noexcept { return weights_; }

  /// Runs the layers and writes the logits. Returns false if the host has asked to stop, which is checked between layers.
  [[nodiscard]] bool run(const nn::pass& p, nn::rows_view logits, const stop_query& stop) const;

 private:
  struct any_equations;

  decoder(model_config config, std::shared_ptr<const any_equations> equations) : config_(config), equations_(std::move(equations)) {}

  model_config config_;
  decoder_weights weights_;
  std::shared_ptr<const any_equations> equations_;
};

#if CRIA_HAS_DEFINITIONS

struct decoder::any_equations {
  std::variant<llama, llama_experts, smollm3, granite, minicpm, mistral3, gpt2, qwen2, qwen3, qwen3moe, gemma, gemma2, gemma3, phi3, gpt_oss, olmo2, exaone4,
               glm4, hunyuan_dense, granite_experts, olmoe, starcoder2, stablelm, command_r>
      chosen;

  template <class Equations>
  static result<decoder> make(const detail::config_reader& read, const model_config& config) {
    CRIA_TRY(auto equations, Equations::from_metadata(read, config));
    return decoder(config, std::make_shared<const any_equations>(any_equations{std::move(equations)}));
  }
};

CRIA_INLINE result<decoder> decoder::from_metadata(const gguf::metadata& metadata, std::size_t vocab_size) {
  CRIA_TRY(const model_config config, model_config::from_metadata(metadata, vocab_size));
  const detail::config_reader read(metadata, std::string(config.architecture->name));
  switch (config.architecture->id) {
    case architecture_id::llama: return any_equations::make<llama>(read, config);
    case architecture_id::llama_experts: return any_equations::make<llama_experts>(read, config);
    case architecture_id::smollm3: return any_equations::make<smollm3>(read, config);
    case architecture_id::granite: return any_equations::make<granite>(read, config);
    case architecture_id::minicpm: return any_equations::make<minicpm>(read, config);
    case architecture_id::mistral3: return any_equations::make<mistral3>(read, config);
    case architecture_id::gpt2: return any_equations::make<gpt2>(read, config);
    case architecture_id::qwen2: return any_equations::make<qwen2>(read, config);
    case architecture_id::qwen3: return any_equations::make<qwen3>(read, config);
    case architecture_id::qwen3moe: return any_equations::make<qwen3moe>(read, config);
    case architecture_id::gemma: return any_equations::make<gemma>(read, config);
    case architecture_id::gemma2: return any_equations::make<gemma2>(read, config);
    case architecture_id::gemma3: return any_equations::make<gemma3>(read, config);
    case architecture_id::phi3: return any_equations::make<phi3>(read, config);
    case architecture_id::gpt_oss: return any_equations::make<gpt_oss>(read, config);
    case architecture_id::olmo2: return any_equations::make<olmo2>(read, config);
    case architecture_id::exaone4: return any_equations::make<exaone4>(read, config);
    case architecture_id::glm4: return any_equations::make<glm4>(read, config);
    case architecture_id::hunyuan_dense: return any_equations::make<hunyuan_dense>(read, config);
    case architecture_id::granite_experts: return any_equations::make<granite_experts>(read, config);
    case architecture_id::olmoe: return any_equations::make<olmoe>(read, config);
    case architecture_id::starcoder2: return any_equations::make<starcoder2>(read, config);
    case architecture_id::stablelm: return any_equations::make<stablelm>(read, config);
    case architecture_id::command_r: return any_equations::make<command_r>(read, config);
  }
  return error{errc::unsupported_architecture, "general.architecture", std::string(config.architecture->name)};
}

CRIA_INLINE bool decoder::run(const nn::pass& p, nn::rows_view logits, const stop_query& stop) const {
  const loaded_decoder m{config_, weights_};
  return std::visit(
      [&](const auto& equations) {
        equations.begin(p, m);
        for (std::size_t i = 0; i < config_.n_layers; ++i) {
          if (stop.stop_requested()) return false;
          equations.layer(p, m, i);
        }
        equations.head(p, m, logits);
        return true;
      },
      equations_->chosen);
}

#endif  // CRIA_HAS_DEFINITIONS

}  // namespace cria::inline v0_1_0
